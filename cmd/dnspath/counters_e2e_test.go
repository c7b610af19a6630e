//go:build e2e

package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/internal/lab"
)

// A query that nobody listens for is counted where it died, in a namespace in
// which no packet was seen before.
func TestCounters(t *testing.T) {
	l := raiseBare(t, lab.Config{})
	for _, flags := range [][]string{{"--passive"}, nil} {
		o := observe(t, slices.Concat(labOnly(l), flags)...)
		err := lab.AskServer(t.Context(), l.Client, netip.AddrPortFrom(l.DNSA.Addr, 53), "nobody.example.test.")
		if err == nil {
			t.Fatal("somebody answered")
		}
		x := endWrong(t, o)
		var evidence []string
		for _, r := range x.lookups {
			for _, f := range r.Findings {
				evidence = append(evidence, f.Evidence...)
			}
		}
		if !slices.ContainsFunc(evidence, func(line string) bool { return strings.HasPrefix(line, "UdpNoPorts of dns-a rose by 1 in the ") }) {
			t.Errorf("evidence is %q, want that UdpNoPorts rose", evidence)
		}
	}
}
