package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// matrix is what came of all tests on all kernels.
type matrix struct {
	whole   bool // no kernel and no test was left out on the command line
	suites  []suite
	kernels []string           // in the order of the table
	without []string           // kernels that could not be had, and were not run for it
	results map[string]results // by kernel
	why     map[string]error   // why a kernel has no whole results, by kernel

	mu sync.Mutex // guards all of it, and the output
}

// run runs tests on one kernel, with a log of its own.
func (m *matrix) run(out io.Writer, kernel string, tests func(log io.Writer) (results, error)) {
	m.mu.Lock()
	m.kernels = append(m.kernels, kernel)
	m.mu.Unlock()
	res, err := logged(kernel, tests)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.results[kernel] = res
	if err != nil {
		m.why[kernel] = err
		fmt.Fprintf(out, "%s: %v\n", kernel, err)
	}
}

func logged(kernel string, tests func(log io.Writer) (results, error)) (results, error) {
	log, err := os.Create(logFile(kernel))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return tests(log)
}

func logFile(kernel string) string {
	return filepath.Join(folder, "log", kernel+".log")
}

// runGuests runs the suites in all guests, some at one time.
func (m *matrix) runGuests(ctx context.Context, out io.Writer, guests []guest, s settings) {
	next := make(chan guest)
	var running sync.WaitGroup
	for range s.guests {
		running.Go(func() {
			for g := range next {
				m.runGuest(ctx, out, g, s)
			}
		})
	}
	for _, g := range guests {
		if ctx.Err() == nil {
			next <- g
		}
	}
	close(next)
	running.Wait()
	order := slices.Concat([]string{host}, s.kernels) // the table's, whichever ended first
	slices.SortFunc(m.kernels, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
}

func (m *matrix) runGuest(ctx context.Context, out io.Writer, g guest, s settings) {
	begin := time.Now()
	m.run(out, g.series, func(log io.Writer) (results, error) { return runSuites(ctx, log, g, m.suites, s) })
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, suite := range m.suites {
		fmt.Fprintf(out, "%-5s %-16s %s\n", g.series, suite.name, m.results[g.series].of(suite.name))
	}
	fmt.Fprintf(out, "%-5s %s\n", g.series, time.Since(begin).Round(time.Second))
}

// ok says whether no test failed and, in a whole run, each passed somewhere.
func (m *matrix) ok() bool {
	failed := slices.ContainsFunc(m.kernels, func(k string) bool { return m.results[k].failed() })
	return !failed && len(m.why) == 0 && (len(m.without) > 0 || len(m.neverPassed()) == 0)
}

// neverPassed returns the tests of a whole run, and their subtests, that no
// kernel passed.
func (m *matrix) neverPassed() []string {
	if !m.whole {
		return nil
	}
	passed := make(map[string]bool)
	for _, s := range m.suites {
		for _, t := range s.tests {
			passed[t] = false
		}
	}
	for _, res := range m.results {
		for name, r := range res {
			passed[name] = passed[name] || r.outcome == pass
		}
	}
	maps.DeleteFunc(passed, func(_ string, ok bool) bool { return ok })
	return slices.Sorted(maps.Keys(passed))
}

// backends begins the name of tests whose subtests are ways to observe, each of
// them a row of the table.
const backends = "TestBackend"

// rows returns the table's rows: each test, and below it those of its subtests
// (of the first level) that went differently on different kernels.
func (m *matrix) rows() (rows []string) {
	for _, s := range m.suites {
		for _, test := range s.tests {
			rows = append(rows, test)
			all := strings.HasPrefix(test, s.name+" "+backends)
			for _, sub := range m.subtests(test) {
				if all || m.differs(test, sub) {
					rows = append(rows, sub)
				}
			}
		}
	}
	return rows
}

// subtests returns a test's subtests of the first level, on any kernel: those
// that are not a subtest's. Their names may have slashes of their own.
func (m *matrix) subtests(test string) []string {
	found := make(map[string]bool)
	for _, res := range m.results {
		for name := range res {
			found[name] = strings.HasPrefix(name, test+"/")
		}
	}
	maps.DeleteFunc(found, func(name string, of bool) bool {
		for i := len(test) + 1; of && i < len(name); i++ {
			if name[i] == '/' && found[name[:i]] {
				return true
			}
		}
		return !of
	})
	return slices.Sorted(maps.Keys(found))
}

// differs says whether a subtest ended differently on the kernels that ran its
// test to an end that is not a skip.
func (m *matrix) differs(test, sub string) bool {
	seen := make(map[outcome]bool)
	for _, res := range m.results {
		if o := res.outcome(test); o == pass || o == fail {
			seen[res.outcome(sub)] = true
		}
	}
	return len(seen) > 1
}
