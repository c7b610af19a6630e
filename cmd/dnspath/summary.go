package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dnspath/dnspath/internal/render"
)

// summary counts the lookups that were asked for, those too that --failed and
// --slower leave out.
type summary struct {
	since    time.Time
	outcomes map[string]uint64
	rcodes   map[string]uint64
	findings map[string]uint64
	causes   causes
	latency  *hdrhistogram.Histogram // ns, of those answered
}

// Latencies that are told apart: from a microsecond to an hour, by two digits.
const (
	shortest = int64(time.Microsecond)
	longest  = int64(time.Hour)
	digits   = 2
)

func newSummary(since time.Time) *summary {
	return &summary{
		since: since, outcomes: map[string]uint64{}, rcodes: map[string]uint64{}, findings: map[string]uint64{},
		causes: newCauses(), latency: hdrhistogram.New(shortest, longest, digits),
	}
}

func (s *summary) add(r *render.Record) {
	s.outcomes[r.Outcome]++
	if r.Rcode != "" {
		s.rcodes[r.Rcode]++
	}
	for i := range r.Findings {
		s.findings[r.Findings[i].ID]++
		s.causes.add(&r.Findings[i])
	}
	if r.Outcome == "answered" && r.LatencyNS > 0 {
		// never an error: the value is within the bounds
		_ = s.latency.RecordValue(min(max(int64(r.LatencyNS), shortest), longest))
	}
}

// fill adds to a record of what was counted.
func (s *summary) fill(r *render.StatsRecord) {
	r.Rcodes, r.Findings = s.rcodes, s.findings
	if s.latency.TotalCount() > 0 {
		r.Latency = &render.Quantiles{P50: s.quantile(50), P90: s.quantile(90), P99: s.quantile(99), Max: uint64(s.latency.Max())}
	}
}

func (s *summary) quantile(percent float64) uint64 {
	return uint64(s.latency.ValueAtQuantile(percent))
}

// write says in a few lines how lookups ended, and why.
func (s *summary) write(w io.Writer, now time.Time) {
	total := uint64(0)
	for _, n := range s.outcomes {
		total += n
	}
	fmt.Fprintf(w, "dnspath: %d lookups in %s: %s\n", total, now.Sub(s.since).Round(time.Millisecond), counts(s.outcomes))
	if len(s.rcodes) > 0 {
		fmt.Fprintf(w, "dnspath: replies: %s", counts(s.rcodes))
		if s.latency.TotalCount() > 0 {
			fmt.Fprintf(w, "; latency: median %v, 90 %% within %v, 99 %% within %v, at most %v", s.shown(50), s.shown(90), s.shown(99), s.shown(100))
		}
		fmt.Fprintln(w)
	}
	s.causes.write(w)
}

// shown is a quantile with the digits that it has.
func (s *summary) shown(percent float64) time.Duration {
	d := time.Duration(s.latency.ValueAtQuantile(percent))
	unit := time.Microsecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// counts lists how often what was, the most frequent first.
func counts(m map[string]uint64) string {
	names := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), strings.Compare(a, b))
	})
	if len(names) == 0 {
		return "none"
	}
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%d %s", m[name], name)
	}
	return strings.Join(parts, ", ")
}
