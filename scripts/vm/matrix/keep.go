package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/scripts/vm/kept"
)

// page is a table in docs/ that is kept from run to run.
type page struct {
	file string
	rows string                             // the head of its first column
	fill func(m *matrix, t kept.Table) bool // with what was measured; false if nothing was
}

var pages = []page{
	{"docs/verifier.md", "program", (*matrix).costs},
	{"docs/findings-kernels.md", "finding", (*matrix).findings},
}

// keep writes what guests measured in this run into the pages: they can't.
func (m *matrix) keep() error {
	any := false
	for _, p := range pages {
		text, err := os.ReadFile(p.file)
		if err != nil {
			return err
		}
		table, err := kept.Read(text)
		if err != nil {
			return fmt.Errorf("read %s: %w", p.file, err)
		}
		if !p.fill(m, table) {
			continue
		}
		any = true
		kernels := strings.Fields(allKernels)
		for _, k := range m.kernels {
			if k != host && !slices.Contains(kernels, k) {
				kernels = append(kernels, k)
			}
		}
		if err := os.WriteFile(p.file, kept.Replace(text, table, p.rows, kernels), 0o644); err != nil {
			return err
		}
	}
	if !any {
		return errors.New("nothing was measured: no guest passed TestVerifierCost, or ran TestFindings")
	}
	return nil
}

// costsTest measures the verifier's costs, and costLine is what it logs for each
// program.
const costsTest = "internal/kernel TestVerifierCost"

var costLine = regexp.MustCompile(`^\w+\.go:\d+: (\S+) +(\d+) instructions$`)

func (m *matrix) costs(t kept.Table) bool {
	written := false
	for _, kernel := range m.kernels {
		if kernel == host || m.results[kernel].outcome(costsTest) != pass {
			continue
		}
		t.Forget(kernel)
		for name, r := range m.results[kernel] {
			if name != costsTest && !strings.HasPrefix(name, costsTest+"/") {
				continue
			}
			for _, line := range r.said {
				if f := costLine.FindStringSubmatch(line); f != nil {
					t.Set(f[1], kernel, f[2])
					written = true
				}
			}
		}
	}
	return written
}

// findingsTest makes each failure, and has it named by way of tracepoints alone
// (passive) and of all that the kernel lets be seen (all).
const findingsTest = "cmd/dnspath TestFindings"

// findings says of each failure that a guest made how it was named there.
func (m *matrix) findings(t kept.Table) bool {
	written := false
	for _, kernel := range m.kernels {
		if kernel == host {
			continue
		}
		for name, r := range m.results[kernel] {
			id, ok := strings.CutPrefix(name, findingsTest+"/")
			if way := path.Base(id); !ok || way == "passive" || way == "all" {
				continue
			}
			if cell := m.named(kernel, name); cell != "" && r.outcome != skip {
				t.Set(id, kernel, cell)
				written = true
			}
		}
	}
	return written
}

// named says by which ways of observing a failure was named.
func (m *matrix) named(kernel, name string) string {
	res := m.results[kernel]
	passive, all := res.outcome(name+"/passive") == pass, res.outcome(name+"/all") == pass
	switch {
	case res.outcome(name) == fail:
		return "FAIL"
	case passive && all:
		return "both"
	case all:
		return "probes"
	case passive:
		return "tracepoints"
	}
	return ""
}

// printFindings prints which failures were named, where the tests of just that ran.
func (m *matrix) printFindings(out io.Writer) {
	t := kept.Table{}
	if m.whole || !m.findings(t) {
		return
	}
	guests := slices.DeleteFunc(slices.Clone(m.kernels), func(k string) bool { return k == host })
	fmt.Fprintf(out, "\n%s", kept.Replace(nil, t, "finding", guests))
}
