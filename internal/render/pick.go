package render

import (
	"math"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// Pick says which lookups are worth showing: those that one of its conditions
// holds for. The zero value takes all.
type Pick struct {
	Failed bool          // those that did not end well
	Slower time.Duration // those that were not answered within this time
}

// Fate is how a lookup ended, for a Pick.
type Fate struct {
	Well bool          // it was seen to be answered, and nothing is wrong with that
	Took time.Duration // until its answer; the longest of all durations if none came
}

// Takes reports whether a lookup that ended so is shown.
func (p Pick) Takes(f Fate) bool {
	return p == Pick{} || p.Failed && !f.Well || p.Slower > 0 && f.Took > p.Slower
}

// TakesAny reports whether one of the lookups of a story is shown. Then all are:
// what the others did is why it failed, or took long.
func (p Pick) TakesAny(story []*Record) bool {
	for _, r := range story {
		if p.Takes(r.Fate()) {
			return true
		}
	}
	return false
}

// Fate tells how the lookup ended. Not well: without an answer; incomplete, for
// nobody saw it end well; malformed; with an error code, but for NXDOMAIN, which
// says for certain that there is no such name; with a cause that a finding names;
// with a query that was sent again, for the first had no answer in time.
//
// So is a retry from another port, or with another ID: its first try had no good
// answer. Its time counts from there, as its client's does.
func (r *Record) Fate() Fate {
	f := Fate{Well: r.Outcome == string(tracer.OutcomeAnswered) && r.Defect == "" && len(r.Findings) == 0}
	f.Well = f.Well && r.Attempts < 2 && (r.Rcode == "" || r.Rcode == "NOERROR" || r.Rcode == "NXDOMAIN")
	switch tracer.Outcome(r.Outcome) {
	case tracer.OutcomeAnswered:
		f.Took = time.Duration(r.LatencyNS)
	case tracer.OutcomeRejected, tracer.OutcomeIncomplete: // it was told at once, or nobody knows
	default:
		f.Took = math.MaxInt64
		return f
	}
	for _, link := range r.Links {
		if link.Kind == string(tracer.LinkRetryOf) {
			f.Well = false
			f.Took += time.Duration(link.BeforeNS)
		}
	}
	return f
}
