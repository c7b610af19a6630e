package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dnspath/dnspath/scripts/vm/costs"
)

// costsFile is where the verifier's costs are kept.
const costsFile = "docs/verifier.md"

// costsTest is the test that measures them.
const costsTest = "internal/kernel TestVerifierCost"

// costLine is what the test logs for each program.
var costLine = regexp.MustCompile(`^\w+\.go:\d+: (\S+) +(\d+) instructions$`)

// writeCosts writes what the test measured in this run: a guest can't.
func (m *matrix) writeCosts() error {
	text, err := os.ReadFile(costsFile)
	if err != nil {
		return err
	}
	table, err := costs.Read(text)
	if err != nil {
		return fmt.Errorf("read %s: %w", costsFile, err)
	}
	written := false
	for _, kernel := range m.kernels {
		if kernel == host || m.results[kernel].outcome(costsTest) != pass {
			continue
		}
		table.Forget(kernel)
		for name, r := range m.results[kernel] {
			if name != costsTest && !strings.HasPrefix(name, costsTest+"/") {
				continue
			}
			for _, line := range r.said {
				f := costLine.FindStringSubmatch(line)
				if f == nil {
					continue
				}
				n, err := strconv.Atoi(f[2])
				if err != nil {
					return fmt.Errorf("read %q: %w", line, err)
				}
				table.Set(f[1], kernel, n)
				written = true
			}
		}
	}
	if !written {
		return errors.New("nothing was measured: no guest passed TestVerifierCost")
	}
	kernels := strings.Fields(allKernels)
	for _, k := range m.kernels {
		if k != host && !slices.Contains(kernels, k) {
			kernels = append(kernels, k)
		}
	}
	return os.WriteFile(costsFile, costs.Replace(text, table, kernels), 0o644)
}
