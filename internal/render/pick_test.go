package render

import (
	"testing"
	"time"
)

func TestPick(t *testing.T) {
	const ms = uint64(time.Millisecond)
	retry := []Link{{Kind: "retry-of", BeforeNS: 300 * ms}}
	for _, c := range []struct {
		name                   string
		r                      Record
		failed, slower, either bool // --failed, --slower 100ms, both
	}{
		{"answered", Record{Outcome: "answered", Rcode: "NOERROR", LatencyNS: ms}, false, false, false},
		{"just in time", Record{Outcome: "answered", Rcode: "NOERROR", LatencyNS: 100 * ms}, false, false, false},
		{"slow", Record{Outcome: "answered", Rcode: "NOERROR", LatencyNS: 100*ms + 1}, false, true, true},
		{"no such name", Record{Outcome: "answered", Rcode: "NXDOMAIN", LatencyNS: ms}, false, false, false},
		{"truncated", Record{Outcome: "answered", Rcode: "NOERROR", Truncated: true, LatencyNS: ms}, false, false, false},
		{"hops missing", Record{Outcome: "answered", Rcode: "NOERROR", Incomplete: true, LatencyNS: ms}, false, false, false},
		{"SERVFAIL", Record{Outcome: "answered", Rcode: "SERVFAIL", LatencyNS: ms}, true, false, true},
		{"unknown code", Record{Outcome: "answered", Rcode: "RCODE13", LatencyNS: ms}, true, false, true},
		{"malformed", Record{Outcome: "answered", Rcode: "NOERROR", Defect: "reply: short", LatencyNS: ms}, true, false, true},
		{"with a finding", Record{Outcome: "answered", Rcode: "NOERROR", LatencyNS: ms, Findings: []Finding{{ID: "search-storm"}}}, true, false, true},
		{"sent twice", Record{Outcome: "answered", Rcode: "NOERROR", LatencyNS: ms, Attempts: 2}, true, false, true},
		{"second try", Record{Outcome: "answered", Rcode: "NOERROR", LatencyNS: ms, Links: retry}, true, true, true},
		{"sibling", Record{Outcome: "answered", Rcode: "NOERROR", LatencyNS: ms, Links: []Link{{Kind: "sibling", BeforeNS: 300 * ms}}}, false, false, false},
		{"dropped", Record{Outcome: "dropped"}, true, true, true},
		{"lost", Record{Outcome: "lost"}, true, true, true},
		{"second try lost", Record{Outcome: "lost", Links: retry}, true, true, true},
		{"another source", Record{Outcome: "unexpected-source"}, true, true, true},
		{"rejected", Record{Outcome: "rejected"}, true, false, true},
		{"incomplete", Record{Outcome: "incomplete", Incomplete: true}, true, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.r.Fate()
			if got := (Pick{Failed: true}).Takes(f); got != c.failed {
				t.Errorf("failed: %v, want %v", got, c.failed)
			}
			if got := (Pick{Slower: 100 * time.Millisecond}).Takes(f); got != c.slower {
				t.Errorf("slower: %v, want %v", got, c.slower)
			}
			if got := (Pick{Failed: true, Slower: 100 * time.Millisecond}).Takes(f); got != c.either {
				t.Errorf("either: %v, want %v", got, c.either)
			}
			if !(Pick{}).Takes(f) {
				t.Error("without a condition it is left out")
			}
		})
	}
}

func TestPickStory(t *testing.T) {
	well, lost := &Record{Outcome: "answered", Rcode: "NOERROR"}, &Record{Outcome: "lost"}
	p := Pick{Failed: true}
	if p.TakesAny([]*Record{well, well}) || !p.TakesAny([]*Record{well, lost, well}) || p.TakesAny(nil) {
		t.Error("a story is to be shown if one of its lookups failed, and not else")
	}
}
