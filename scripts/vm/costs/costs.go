// Package costs reads and writes docs/verifier.md: what each kernel's verifier
// spends on each BPF program.
package costs

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Table holds instructions processed, by program and kernel series.
type Table map[string]map[string]int

// Set notes what a kernel spent on a program.
func (t Table) Set(program, kernel string, instructions int) {
	if t[program] == nil {
		t[program] = make(map[string]int)
	}
	t[program][kernel] = instructions
}

// Forget takes a kernel's numbers out, and programs that have no others.
func (t Table) Forget(kernel string) {
	for program, of := range t {
		delete(of, kernel)
		if len(of) == 0 {
			delete(t, program)
		}
	}
}

// Kernel returns the numbers of one kernel, by program.
func (t Table) Kernel(kernel string) map[string]int {
	of := make(map[string]int)
	for program, numbers := range t {
		if n, ok := numbers[kernel]; ok {
			of[program] = n
		}
	}
	return of
}

// head begins the table's first line; what is above it is prose.
const head = "| program |"

// none stands where a kernel does not load a program.
const none = "–"

// Read returns the table in a Markdown text; one without a table gives an empty
// one.
func Read(text []byte) (Table, error) {
	t := make(Table)
	var kernels []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|-") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| \n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if strings.HasPrefix(line, head) {
			kernels = cells[1:]
			continue
		}
		if len(cells) != len(kernels)+1 {
			return nil, fmt.Errorf("%d cells in %q, want %d", len(cells), line, len(kernels)+1)
		}
		for i, kernel := range kernels {
			if cells[i+1] == none {
				continue
			}
			n, err := strconv.Atoi(cells[i+1])
			if err != nil {
				return nil, fmt.Errorf("program %s on %s: %w", cells[0], kernel, err)
			}
			t.Set(cells[0], kernel, n)
		}
	}
	return t, nil
}

// Replace returns the text with t in place of its table, with a column for each
// of the kernels.
func Replace(text []byte, t Table, kernels []string) []byte {
	prose, _, _ := bytes.Cut(text, []byte(head))
	b := bytes.NewBuffer(slices.Clone(prose))
	fmt.Fprintf(b, "%s %s |\n|---|%s\n", head, strings.Join(kernels, " | "), strings.Repeat("---:|", len(kernels)))
	for _, program := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(b, "| %s |", program)
		for _, kernel := range kernels {
			cell := none
			if n, ok := t[program][kernel]; ok {
				cell = strconv.Itoa(n)
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}
