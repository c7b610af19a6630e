package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// print prints the table, and then what does not fit into it.
func (m *matrix) print(out io.Writer) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "test\t%s\n", strings.Join(append(slices.Clone(m.kernels), m.without...), "\t"))
	for _, s := range m.suites {
		for _, test := range s.tests {
			fmt.Fprint(w, test)
			for _, kernel := range m.kernels {
				fmt.Fprintf(w, "\t%s", m.cell(kernel, test))
			}
			for range m.without {
				fmt.Fprintf(w, "\t%s", notRun)
			}
			fmt.Fprintln(w)
		}
	}
	_ = w.Flush() // as for all other output here: nobody is left to tell
	m.printReasons(out, skip)
	m.printReasons(out, fail)
	for _, kernel := range m.kernels {
		if m.results[kernel].any(fail) || slices.Contains(m.broken, kernel) {
			fmt.Fprintf(out, "log of %s: %s\n", kernel, logFile(kernel))
		}
	}
	for _, name := range m.neverPassed() {
		fmt.Fprintf(out, "no kernel passed %s\n", name)
	}
}

// cell is a test's outcome, with the number of its subtests that ended otherwise.
func (m *matrix) cell(kernel, test string) string {
	res := m.results[kernel]
	all, other := 0, 0
	worst := fail
	if res.of(test) == pass {
		worst = skip
	}
	for name, r := range res {
		if strings.HasPrefix(name, test+"/") {
			all++
			if r.outcome == worst {
				other++
			}
		}
	}
	switch o := res.of(test); {
	case other == 0:
		return string(o)
	case o == pass:
		return fmt.Sprintf("%s, %d/%d skip", o, other, all)
	default:
		return fmt.Sprintf("%s %d/%d", o, other, all)
	}
}

// printReasons prints why tests were skipped or failed. What a test says for
// its subtests' failure is nothing new.
func (m *matrix) printReasons(out io.Writer, o outcome) {
	for _, kernel := range m.kernels {
		res := m.results[kernel]
		for _, name := range slices.Sorted(maps.Keys(res)) {
			if r := res[name]; r.outcome == o && (r.why != "" || isTop(name)) {
				fmt.Fprintf(out, "%s: %s: %s: %s\n", kernel, o, name, r.why)
			}
		}
	}
}
