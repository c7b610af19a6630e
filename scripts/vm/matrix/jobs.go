package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// job is what one guest runs: all tests on a kernel, or a part of them.
type job struct {
	guest guest
	split *split // nil: all of them
	part  int    // from 1
}

// name is the kernel's, and which part of its tests it is: "7.2-1".
func (j job) name() string {
	if j.split == nil {
		return j.guest.series
	}
	return fmt.Sprintf("%s-%d", j.guest.series, j.part)
}

// split is a kernel's tests in parts that take about as long, one for each guest
// that runs at one time. They are told apart when the first of them starts, by how
// long tests took on the kernels before it.
type split struct {
	of    int
	once  sync.Once
	parts []map[string]bool // the tests of each
}

// jobs returns what to run, in order. Kernels that are left when all guests had
// the same number of them are split, or some guests would have nothing to do.
func jobs(guests []guest, tests int, s settings) (list []job) {
	rest := len(guests) % s.guests
	if strings.Contains(s.run, "/") || tests < minSplit*s.guests {
		rest = 0
	}
	for i, g := range guests {
		if i < len(guests)-rest {
			list = append(list, job{guest: g})
			continue
		}
		parts := &split{of: s.guests}
		for part := range s.guests {
			list = append(list, job{guest: g, split: parts, part: part + 1})
		}
	}
	return list
}

// minSplit is how many tests a part has at least: a boot takes ten seconds.
const minSplit = 5

// suites returns the tests of a job.
func (j job) suites(m *matrix) []suite {
	if j.split == nil {
		return m.suites
	}
	j.split.once.Do(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		j.split.parts = m.share(j.split.of)
	})
	return only(m.suites, j.split.parts[j.part-1])
}

// share deals all tests out, the longest first, each to the part that has the
// least to do.
func (m *matrix) share(of int) []map[string]bool {
	took := m.took()
	tests := slices.SortedStableFunc(maps.Keys(took), func(a, b string) int {
		return cmp.Or(cmp.Compare(took[b], took[a]), cmp.Compare(a, b))
	})
	parts, busy := make([]map[string]bool, of), make([]float64, of)
	for i := range parts {
		parts[i] = make(map[string]bool)
	}
	for _, test := range tests {
		least := slices.Index(busy, slices.Min(busy))
		parts[least][test] = true
		busy[least] += took[test]
	}
	return parts
}

// unknownTime is how long a test is taken to last that ran nowhere yet, seconds.
const unknownTime = 5

// took returns how long each test lasted in the guests so far, seconds: in the
// middle of them, for a test that one guest runs for all the others is the longest
// there, and nothing in the others.
func (m *matrix) took() map[string]float64 {
	took := make(map[string]float64)
	for _, s := range m.suites {
		for _, test := range s.tests {
			var seconds []float64
			for kernel, res := range m.results {
				if r := res[test]; kernel != host && r != nil {
					seconds = append(seconds, r.seconds)
				}
			}
			if len(seconds) == 0 {
				seconds = []float64{unknownTime}
			}
			slices.Sort(seconds)
			took[test] = seconds[(len(seconds)-1)/2]
		}
	}
	return took
}
