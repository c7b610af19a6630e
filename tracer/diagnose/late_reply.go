package diagnose

import (
	"fmt"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// soonestTry is how long the least patient of resolvers waits for an answer:
// c-ares, 250 ms. A client that has closed its socket before did not wait.
const soonestTry = 250 * time.Millisecond

// lateReply returns the drop of a reply that came to its client's address, and
// found that the client had closed its socket; nil if that is not how the lookup
// ended.
func (c *Case) lateReply() *tracer.Hop {
	if c.Outcome != tracer.OutcomeDropped && c.Outcome != tracer.OutcomeLost {
		return nil
	}
	for leg, drop := range c.Drops() {
		home := drop.NetNS == c.Lookup.NetNS && drop.Dst == c.Client && drop.Src == c.Server
		if leg.IsMessage() && leg.Response && home && (c.noSocket(leg, drop) || c.afterHangingUp(drop)) {
			return drop
		}
	}
	return nil
}

// asked returns the first hop of a query; nil if none was seen.
func (c *Case) asked() *tracer.Hop {
	for leg, h := range c.Hops() {
		if leg.IsMessage() && !leg.Response {
			return h
		}
	}
	return nil
}

// clientGone finds a reply that came soon, when its client had closed its socket
// already: it had ended, or had its answer from another server.
func clientGone(c *Case) *tracer.Finding {
	if end, _ := c.hungUp(); end != nil {
		return c.hungUpSoon()
	}
	if f := c.leftUnread(); f != nil {
		return f
	}
	drop, asked := c.lateReply(), c.asked()
	if drop == nil || asked == nil || drop.Time-asked.Time >= uint64(soonestTry) && !c.answeredBefore() {
		return nil
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("the client %s did not wait for the reply, which came after %v", c.Client, took(asked, drop)),
		Evidence:   []string{fmt.Sprintf("no socket had %v any more, when the reply of %v came: %s", c.Client, c.Server, dropText(drop))},
		Mend:       []string{"nothing: clients stop waiting when they end, or when another server has answered"},
	}
	if c.answeredBefore() {
		f.Evidence = append(f.Evidence, "its socket has had the answer before: the query was sent again, and that was not read yet")
	}
	for twin := range c.Linked(tracer.LinkSibling) {
		if twin.Question.Type == c.Question.Type && twin.Outcome == tracer.OutcomeAnswered {
			f.Evidence = append(f.Evidence, fmt.Sprintf("it had asked %v as well, which answered", twin.Server))
		}
	}
	return f
}

// answeredBefore reports whether the client's socket has had the answer already: the
// query was sent again before it was read.
func (c *Case) answeredBefore() bool {
	for p := range c.history.all() {
		if p.client == c.Client && p.server == c.Server && p.outcome == tracer.OutcomeAnswered && p.name == c.Question.Name && p.qtype == c.Question.Type {
			return true
		}
	}
	return false
}

// leftUnread finds a reply that came to its client's socket, which was closed with
// the reply in it.
func (c *Case) leftUnread() *tracer.Finding {
	asked := c.asked()
	if asked == nil || c.Outcome != tracer.OutcomeDropped && c.Outcome != tracer.OutcomeLost {
		return nil
	}
	for i := range c.Legs {
		leg := &c.Legs[i]
		if !leg.Response || !leg.IsMessage() {
			continue
		}
		purged := unread(leg)
		if purged == nil || purged.NetNS != c.Lookup.NetNS {
			continue
		}
		come := c.before(purged)
		if come == nil {
			continue
		}
		return &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Summary:    fmt.Sprintf("the client %s closed its socket without reading the reply, which had come after %v", c.Client, took(asked, come)),
			Evidence:   []string{fmt.Sprintf("the reply was in the socket, which was closed %v later: %s", took(come, purged), dropText(purged))},
			Mend:       []string{"nothing: clients stop waiting when they end, or when another server has answered"},
		}
	}
	return nil
}

// serverSlow finds a reply that came when its client had given up, since the
// server took most of the time.
func serverSlow(c *Case) *tracer.Finding {
	drop, asked := c.lateReply(), c.asked()
	if drop == nil {
		return c.hungUpOnSlow()
	}
	if asked == nil || drop.Time-asked.Time < uint64(soonestTry) {
		return nil
	}
	in, out := c.Served()
	where := "in " + c.NetNS(drop.NetNS).Name()
	if in != nil {
		where = "in " + c.NetNS(in.NetNS).Name()
	} else if in, out = c.away(); in == nil {
		return nil
	}
	if out.Time-in.Time < (drop.Time-asked.Time)/2 {
		return nil
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("the DNS server at %v took %v to reply, and the client had given up", c.to(), took(in, out)),
		Evidence: []string{
			fmt.Sprintf("its reply left %v after it had got the query, %s", took(in, out), where),
			fmt.Sprintf("it came to the client %v after that had asked, and found no socket: %s", took(asked, drop), dropText(drop)),
		},
	}
	ns := c.NetNS(out.NetNS)
	f.Mend = []string{"see what keeps the server: kubectl top pod, its limits of CPU, more replicas", logs(ns, nil)}
	if out.Name == "rx" {
		f.Confidence = tracer.ConfidenceLikely
		f.Summary = fmt.Sprintf("the reply of %v came %v after the query had left, and the client had given up", c.to(), took(in, out))
		f.Evidence[0] = fmt.Sprintf("the query was seen last at %s; the reply, first, at %s, %v later", c.At(in), c.At(out), took(in, out))
		f.Mend = []string{fmt.Sprintf("on the node of %s: see with dnspath how long the server takes", c.to().Addr())}
	}
	c.slowUpstream(f)
	return f
}

// slowUpstream adds which of the server's own lookups took most of its time.
func (c *Case) slowUpstream(f *tracer.Finding) {
	for child := range c.Linked(tracer.LinkChild) {
		if child.Latency >= uint64(soonestTry)/2 {
			f.Evidence = append(f.Evidence, fmt.Sprintf("it waited for its upstream %v for %v", child.Server, time.Duration(child.Latency).Round(time.Millisecond)))
			f.Mend = append([]string{fmt.Sprintf("see why %v is slow: dig @%s %s", child.Server, child.Server.Addr(), child.Question.Name)}, f.Mend...)
		}
	}
}

// away returns where a query was seen last, and its reply first, that went to a
// server which is not seen here; nil if either is missing.
func (c *Case) away() (last, first *tracer.Hop) {
	for leg, h := range c.Hops() {
		switch {
		case !leg.IsMessage() || h.Drop != nil:
		case leg.Response && first == nil:
			first = h
		case !leg.Response:
			last = h
		}
	}
	if first == nil || last == nil || first.Name != "rx" || last.Name != "tx" || first.NetNS != last.NetNS || last.Time > first.Time {
		return nil, nil
	}
	return last, first
}
