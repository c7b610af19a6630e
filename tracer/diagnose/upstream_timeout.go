package diagnose

import "github.com/dnspath/dnspath/tracer"

// answeredUpstream returns how many lookups that the server made for this one
// were answered.
func (c *Case) answeredUpstream() (n int) {
	for child := range c.Linked(tracer.LinkChild) {
		if child.Outcome == tracer.OutcomeAnswered {
			n++
		}
	}
	return n
}

// failedUpstream returns the last lookup that the server made for this one and
// that failed, if none was answered; else nil.
func (c *Case) failedUpstream() (failed *tracer.Lookup) {
	for child := range c.Linked(tracer.LinkChild) {
		switch child.Outcome {
		case tracer.OutcomeAnswered:
			return nil
		case tracer.OutcomeIncomplete:
		default:
			failed = child
		}
	}
	return failed
}

// upstreamUnclear reports whether a lookup that the server made for this one may
// be why it failed.
func (c *Case) upstreamUnclear() bool {
	unclear := false
	for range c.Linked(tracer.LinkChild) {
		unclear = true
	}
	return unclear && c.answeredUpstream() == 0
}
