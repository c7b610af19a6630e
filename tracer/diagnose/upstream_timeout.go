package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/tracer"
)

// upstreamTimeout finds a server that asked upstream and got no answer. The cause
// is that of its own lookup, which the finding repeats.
func upstreamTimeout(c *Case) *tracer.Finding {
	if c.Reply != nil && !c.Reply.Refuses() || c.Reply == nil && c.Outcome != tracer.OutcomeLost {
		return nil
	}
	child := c.failedUpstream()
	if child == nil {
		return c.failedBefore()
	}
	server := c.NetNS(child.NetNS).Name()
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("the DNS server at %v (%s) got no answer from its upstream %v", c.to(), server, child.Server),
		Evidence:   []string{c.toldClient(), fmt.Sprintf("it had asked %v for %s: %s", child.Server, child.Question.Name, ending(child))},
		Mend:       []string{fmt.Sprintf("in %s: dig @%s %s, and see why that fails", server, child.Server.Addr(), child.Question.Name)},
	}
	if c.oneOfMany() {
		f.Confidence = tracer.ConfidenceLikely
		f.Evidence = append(f.Evidence, "others had asked it the same just then: which of its own lookups was for this one is not known")
	}
	if late := c.answeredLate(); late != nil && late != child {
		f.Evidence = append(f.Evidence, fmt.Sprintf("it asked %v again, and got the answer when its client's time was up", late.Server))
	} else if late != nil {
		f.Summary = fmt.Sprintf("the DNS server at %v (%s) got the answer of its upstream %v when its client's time was up", c.to(), server, child.Server)
	}
	for _, cause := range child.Findings {
		if cause.ID == Unexplained {
			continue
		}
		f.Mend = cause.Mend
		if !c.oneOfMany() {
			f.Confidence = cause.Confidence
		}
		f.Evidence = append(f.Evidence, fmt.Sprintf("which failed by %s: %s", cause.ID, cause.Summary))
		break
	}
	return f
}

// remembersFailure is for how long servers that got no answer from upstream may
// say so without asking again: resolvers remember failures (RFC 9520 section 3.2:
// at least a second, at most five minutes), mostly for seconds.
const remembersFailure = uint64(30e9)

// failedBefore finds a server that refuses without asking, soon after it has got
// no answer from upstream: for the same name, or if it has had no answer for
// anybody since.
func (c *Case) failedBefore() *tracer.Finding {
	if c.Reply == nil || c.Reply.Rcode != dns.RcodeServerFailure || c.asksUpstream() {
		return nil
	}
	if _, at := c.delivered(); at != nil && c.asksUnseen(at, nil) {
		return nil
	}
	answers := false
	for p := range c.history.all() {
		if p.backend != c.to() || p.end > c.Start || c.Start-p.end > remembersFailure {
			continue
		}
		answers = answers || p.outcome == tracer.OutcomeAnswered && !p.refused
		if !p.asked || answers && !strings.EqualFold(p.name, c.Question.Name) {
			continue // it is not known to have failed, or works
		}
		for _, cause := range p.findings {
			if cause.ID == "upstream-timeout" {
				return &tracer.Finding{
					Confidence: tracer.ConfidenceLikely, Summary: cause.Summary, Mend: cause.Mend,
					Evidence: []string{c.toldClient(), "it asked nobody this time: servers remember failures for a while", "it had failed to get an answer for " + p.name + " before"},
				}
			}
		}
	}
	return nil
}

// toldClient says what the server told its client.
func (c *Case) toldClient() string {
	if c.Reply == nil {
		return "it did not answer its client"
	}
	return "it answered " + dns.RcodeToString[c.Reply.Rcode]
}

// to is where the query went in the end.
func (c *Case) to() netip.AddrPort {
	if c.Backend.IsValid() {
		return c.Backend
	}
	return c.Server
}

// ending says how a lookup ended.
func ending(l *tracer.Lookup) string {
	if l.Detail == "" {
		return string(l.Outcome)
	}
	return string(l.Outcome) + ": " + l.Detail
}

// asksUpstream reports whether the server was seen to ask others for the answer.
func (c *Case) asksUpstream() bool {
	for range c.Linked(tracer.LinkChild) {
		return true
	}
	return false
}

// asksUnseen reports whether the server may have asked others for the answer without
// its being known: of a client in its own network namespace nobody knows which of the
// two asks. One of which all is seen, and that asks nobody, does not.
func (c *Case) asksUnseen(at *tracer.Hop, server *Socket) bool {
	if at.NetNS != c.Lookup.NetNS || c.asksUpstream() {
		return false
	}
	for p := range c.history.all() {
		another := server != nil && server.PID != 0 && p.pid != 0 && p.pid != uint32(server.PID)
		if p.netns == at.NetNS && p.server != c.Server && !another {
			return true
		}
	}
	return c.asksOthers()
}

// oneOfMany reports whether the server was asked the same by several at once: which
// of its own lookups was for this one is a guess then.
func (c *Case) oneOfMany() bool {
	return slices.ContainsFunc(c.Links, func(k tracer.Link) bool { return k.Kind == tracer.LinkChild && k.How == tracer.HowInferred })
}

// answeredUpstream returns how many lookups that the server made for this one
// were answered while there was time.
func (c *Case) answeredUpstream() (n int) {
	for child := range c.Linked(tracer.LinkChild) {
		if child.Outcome == tracer.OutcomeAnswered && !c.tooLate(child) {
			n++
		}
	}
	return n
}

// tooLate reports whether a lookup that the server made for this one ended when
// nobody waited for this one any more.
func (c *Case) tooLate(child *tracer.Lookup) bool {
	return c.Outcome == tracer.OutcomeLost && c.Waited > 0 && child.End > c.lastQuery()+c.Waited
}

// answeredLate returns a lookup that the server made for this one, and that was
// answered too late; nil if there is none.
func (c *Case) answeredLate() *tracer.Lookup {
	for child := range c.Linked(tracer.LinkChild) {
		if child.Outcome == tracer.OutcomeAnswered && c.tooLate(child) {
			return child
		}
	}
	return nil
}

// failedUpstream returns the last lookup that the server made for this one and
// that failed, or else one that was answered too late, if none was answered in
// time; else nil.
func (c *Case) failedUpstream() (failed *tracer.Lookup) {
	for child := range c.Linked(tracer.LinkChild) {
		switch child.Outcome {
		case tracer.OutcomeAnswered:
			if !c.tooLate(child) {
				return nil
			}
		case tracer.OutcomeIncomplete:
		default:
			failed = child
		}
	}
	if failed == nil {
		return c.answeredLate()
	}
	return failed
}

// upstreamUnclear reports whether a lookup that the server made for this one may
// be why it failed.
func (c *Case) upstreamUnclear() bool { return c.asksUpstream() && c.answeredUpstream() == 0 }
