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
	for _, test := range m.rows() {
		fmt.Fprint(w, test)
		for _, kernel := range m.kernels {
			fmt.Fprintf(w, "\t%s", m.cell(kernel, test))
		}
		for range m.without {
			fmt.Fprintf(w, "\t%s", notRun)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // as for all other output here: nobody is left to tell
	m.printSkipped(out)
	m.printFailed(out)
	for _, kernel := range m.kernels {
		if err := m.why[kernel]; err != nil {
			fmt.Fprintf(out, "%s: %v\n", kernel, err)
		}
		if m.results[kernel].failed() || m.why[kernel] != nil {
			fmt.Fprintf(out, "log of %s: %s\n", kernel, strings.Join(m.logs[kernel], ", "))
		}
	}
	for _, name := range m.neverPassed() {
		fmt.Fprintf(out, "no kernel passed %s\n", name)
	}
	if len(m.without) > 0 {
		fmt.Fprintf(out, "not run: %s\n", strings.Join(m.without, ", "))
	}
}

// cell is a test's outcome, with the number of its subtests that ended otherwise.
func (m *matrix) cell(kernel, test string) string {
	res := m.results[kernel]
	all, other := 0, 0
	worst := fail
	if res.outcome(test) == pass {
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
	switch o := res.outcome(test); {
	case other == 0:
		return string(o)
	case o == pass:
		return fmt.Sprintf("%s, %d/%d skip", o, other, all)
	default:
		return fmt.Sprintf("%s %d/%d", o, other, all)
	}
}

// printSkipped prints why tests were skipped, each reason once with its kernels.
func (m *matrix) printSkipped(out io.Writer) {
	where := make(map[string][]string) // kernels by what there is to say
	for _, kernel := range m.kernels {
		for name, r := range m.results[kernel] {
			if r.outcome == skip {
				text := fmt.Sprintf("%s: %s", name, message.ReplaceAllString(r.why(), ""))
				where[text] = append(where[text], kernel)
			}
		}
	}
	for _, text := range slices.Sorted(maps.Keys(where)) {
		fmt.Fprintf(out, "skip on %s: %s\n", strings.Join(where[text], ", "), text)
	}
}

// tooMuch is how many lines of a failed test are left to its log: a test that
// hangs ends with the stacks of all goroutines.
const tooMuch = 50

// printFailed prints what failed tests said. What a test says for its subtests'
// failure is nothing new.
func (m *matrix) printFailed(out io.Writer) {
	for _, kernel := range m.kernels {
		res := m.results[kernel]
		for _, name := range slices.Sorted(maps.Keys(res)) {
			r := res[name]
			if r.outcome == fail {
				printSaid(out, string(fail), kernel, name, r.said)
			}
			if r.first != nil {
				printSaid(out, string(fail)+" at the first try", kernel, name, r.first)
			}
		}
	}
}

// printSaid prints what a test said, or a subtest that said something.
func printSaid(out io.Writer, title, kernel, name string, said []string) {
	if len(said) == 0 && !isTop(name) {
		return
	}
	fmt.Fprintf(out, "%s on %s: %s\n", title, kernel, name)
	for _, line := range said[:min(tooMuch, len(said))] {
		fmt.Fprintf(out, "    %s\n", line)
	}
	if more := len(said) - tooMuch; more > 0 {
		fmt.Fprintf(out, "    and %d lines more\n", more)
	}
}
