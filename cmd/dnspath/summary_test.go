package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

func TestSummary(t *testing.T) {
	since := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	s := newSummary(since)
	for i := range 100 {
		s.add(&render.Record{Outcome: "answered", Rcode: "NOERROR", LatencyNS: uint64(i+1) * uint64(time.Millisecond)})
	}
	s.add(&render.Record{Outcome: "answered", Rcode: "SERVFAIL", LatencyNS: uint64(2 * time.Second)})
	refused := render.Finding{ID: "policy-drop", Summary: "a firewall drops it", Confidence: "confirmed", Mend: []string{"iptables -D FORWARD 1", "or else"}}
	s.add(&render.Record{Outcome: "dropped", Findings: []render.Finding{refused, {ID: "unexplained", Summary: "no known cause", Confidence: "seen"}}})
	s.add(&render.Record{Outcome: "dropped", Findings: []render.Finding{refused}})
	refused.Mend = []string{"iptables -D FORWARD 2"} // another rule
	s.add(&render.Record{Outcome: "dropped", Findings: []render.Finding{refused}})
	var b strings.Builder
	s.write(&b, since.Add(3*time.Second))
	const want = `dnspath: 104 lookups in 3s: 101 answered, 3 dropped
dnspath: replies: 100 NOERROR, 1 SERVFAIL; latency: median 51.1ms, 90 % within 91.2ms, 99 % within 100ms, at most 2s
dnspath: 2 × policy-drop: a firewall drops it (confirmed)
dnspath:     mend: iptables -D FORWARD 1
dnspath: 1 × policy-drop: a firewall drops it (confirmed)
dnspath:     mend: iptables -D FORWARD 2
dnspath: 1 × unexplained: no known cause (seen)
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestSummaryOfNothing(t *testing.T) {
	var b strings.Builder
	newSummary(time.Time{}).write(&b, time.Time{})
	if b.String() != "dnspath: 0 lookups in 0s: none\n" {
		t.Errorf("got %s", b.String())
	}
}

// TestManyCauses holds that the list stays short, and loses none.
func TestManyCauses(t *testing.T) {
	c := newCauses()
	for i := range 2 * maxCauses {
		c.add(&render.Finding{ID: "stale-endpoint", Mend: []string{fmt.Sprint("conntrack -D ", i)}})
	}
	var b strings.Builder
	c.write(&b)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if want := fmt.Sprintf("dnspath: and %d more findings, of rarer causes", 2*maxCauses-causesShown); len(lines) != 2*causesShown+1 || lines[len(lines)-1] != want {
		t.Errorf("%d lines, the last %q; want %d and %q", len(lines), lines[len(lines)-1], 2*causesShown+1, want)
	}
}
