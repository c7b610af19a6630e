package main

import (
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
	s.add(&render.Record{Outcome: "dropped", Findings: []render.Finding{{ID: "policy-drop"}, {ID: "rp-filter-drop"}}})
	s.add(&render.Record{Outcome: "dropped", Findings: []render.Finding{{ID: "policy-drop"}}})
	var b strings.Builder
	s.write(&b, since.Add(3*time.Second))
	const want = `dnspath: 103 lookups in 3s: 101 answered, 2 dropped
dnspath: replies: 100 NOERROR, 1 SERVFAIL; latency: median 51.1ms, 90 % within 91.2ms, 99 % within 100ms, at most 2s
dnspath: causes: 2 policy-drop, 1 rp-filter-drop
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
