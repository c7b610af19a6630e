//go:build e2e

package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
)

// A query that nobody listens for is counted where it died, in a namespace in
// which no packet was seen before.
func TestCounters(t *testing.T) {
	onGuests(t, lab.AnotherGuest)
	l := raiseBare(t, lab.Config{})
	for _, flags := range [][]string{{"--passive"}, nil} {
		o := observe(t, slices.Concat(labOnly(l), flags)...)
		for range 3 { // on a slow machine there may be no sample yet from before the first
			if err := lab.AskServer(t.Context(), l.Client, netip.AddrPortFrom(l.DNSA.Addr, 53), "nobody.example.test."); err == nil {
				t.Fatal("somebody answered")
			}
			time.Sleep(lab.Patience(500 * time.Millisecond))
		}
		x := endWrong(t, o)
		var evidence []string
		for _, r := range x.lookups {
			for _, f := range r.Findings {
				evidence = append(evidence, f.Evidence...)
			}
		}
		if !slices.ContainsFunc(evidence, func(line string) bool { return strings.HasPrefix(line, "UdpNoPorts of dns-a rose by ") }) {
			t.Errorf("evidence is %q, want that UdpNoPorts rose", evidence)
		}
	}
}
