// Package kept reads and writes the tables in docs/ that the matrix measured: a
// row for each thing, a column for each kernel. What a run does not measure anew
// stays.
package kept

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Table holds cells, by row and kernel.
type Table map[string]map[string]string

// Set puts something into a cell.
func (t Table) Set(row, kernel, cell string) {
	if t[row] == nil {
		t[row] = make(map[string]string)
	}
	t[row][kernel] = cell
}

// Forget takes a kernel's cells out, and rows that have no others.
func (t Table) Forget(kernel string) {
	for row, of := range t {
		delete(of, kernel)
		if len(of) == 0 {
			delete(t, row)
		}
	}
}

// none stands where a kernel has nothing in a row.
const none = "–"

// Read returns the table in a Markdown text; one without a table gives an empty
// one.
func Read(text []byte) (Table, error) {
	t := make(Table)
	var kernels []string
	_, table := cut(text)
	for line := range strings.Lines(string(table)) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|-") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| \n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if kernels == nil {
			kernels = cells[1:]
			continue
		}
		if len(cells) != len(kernels)+1 {
			return nil, fmt.Errorf("%d cells in %q, want %d", len(cells), line, len(kernels)+1)
		}
		for i, kernel := range kernels {
			if cells[i+1] != none {
				t.Set(cells[0], kernel, cells[i+1])
			}
		}
	}
	return t, nil
}

// cut parts a text before its table, which ends it.
func cut(text []byte) (prose, table []byte) {
	at := bytes.Index(text, []byte("\n|"))
	if at < 0 {
		return text, nil
	}
	return text[:at+1], text[at+1:]
}

// Replace returns the text with t in place of its table, with a column for each
// of the kernels. The first column's head says what the rows are.
func Replace(text []byte, t Table, rows string, kernels []string) []byte {
	prose, _ := cut(text)
	b := bytes.NewBuffer(slices.Clone(prose))
	fmt.Fprintf(b, "| %s | %s |\n|---|%s\n", rows, strings.Join(kernels, " | "), strings.Repeat("---:|", len(kernels)))
	for _, row := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(b, "| %s |", row)
		for _, kernel := range kernels {
			cell := none
			if c, ok := t[row][kernel]; ok {
				cell = c
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}
