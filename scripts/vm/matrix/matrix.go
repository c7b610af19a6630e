package main

import (
	"context"
	"errors"
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
	kernels []string            // in the order of the table
	without []string            // kernels that could not be had, and were not run for it
	results map[string]results  // by kernel
	why     map[string]error    // why a kernel has no whole results, by kernel
	logs    map[string][]string // the names of its logs, by kernel

	mu sync.Mutex // guards all of it, and the output
}

// run runs tests on one kernel, all or a part of them, with a log of its own.
func (m *matrix) run(out io.Writer, kernel, name string, tests func(log io.Writer) (results, error)) results {
	res, err := logged(name, tests)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.results[kernel] == nil {
		m.kernels = append(m.kernels, kernel)
		m.results[kernel] = make(results)
	}
	m.results[kernel].add(res)
	m.logs[kernel] = append(m.logs[kernel], logFile(name))
	if err != nil {
		m.why[kernel] = errors.Join(m.why[kernel], err)
		fmt.Fprintf(out, "%s: %v\n", name, err)
	}
	return res
}

func logged(name string, tests func(log io.Writer) (results, error)) (results, error) {
	log, err := os.Create(logFile(name))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return tests(log)
}

func logFile(name string) string {
	return filepath.Join(folder, "log", name+".log")
}

// runGuests runs the suites in all guests, some at one time.
func (m *matrix) runGuests(ctx context.Context, out io.Writer, guests []guest, s settings) {
	next := make(chan job)
	var running sync.WaitGroup
	for range s.guests {
		running.Go(func() {
			for j := range next {
				m.runGuest(ctx, out, j, s)
			}
		})
	}
	tests := 0
	for _, suite := range m.suites {
		tests += len(suite.tests)
	}
	for _, j := range jobs(guests, tests, s) {
		if ctx.Err() == nil {
			next <- j
		}
	}
	close(next)
	running.Wait()
	order := slices.Concat([]string{host}, s.kernels) // the table's, whichever ended first
	slices.SortFunc(m.kernels, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
}

func (m *matrix) runGuest(ctx context.Context, out io.Writer, j job, s settings) {
	begin, suites := time.Now(), j.suites(m)
	res := m.run(out, j.guest.series, j.name(), func(log io.Writer) (results, error) { return runTwice(ctx, log, j.guest, suites, s) })
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, suite := range suites {
		fmt.Fprintf(out, "%-5s %-16s %s\n", j.name(), suite.name, res.of(suite.name))
	}
	fmt.Fprintf(out, "%-5s %s\n", j.name(), time.Since(begin).Round(time.Second))
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
