package diagnose

import (
	"fmt"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// hungUp returns where the client of a lookup over TCP was first seen to end the
// connection without an answer, and its refusal of what came after; nil for what
// was not seen. A process that closes a socket has its host send a FIN, and refuse
// with a RST what data comes then (net/ipv4/tcp_input.c tcp_rcv_state_process).
func (c *Case) hungUp() (end, refusal *tracer.Hop) {
	if c.Transport != tracer.TransportTCP || c.Outcome != tracer.OutcomeDropped && c.Outcome != tracer.OutcomeLost {
		return nil, nil
	}
	var server *tracer.Hop // its own end of the connection
	for i := range c.Legs {
		leg := &c.Legs[i]
		if leg.Error != nil || len(leg.Hops) == 0 || leg.Segment != "FIN" && leg.Segment != "RST" {
			continue
		}
		switch first := &leg.Hops[0]; {
		case leg.Response && (server == nil || first.Time < server.Time):
			server = first
		case leg.Response:
		case end == nil || first.Time < end.Time:
			end, refusal = first, end
		case leg.Segment == "RST" && refusal == nil:
			refusal = first
		}
	}
	if end == nil || server != nil && server.Time < end.Time { // of a server that ends it other rules tell
		return nil, nil
	}
	return end, refusal
}

// orphanedIn are the functions that free what comes for a connection whose socket
// was closed: while the FIN is not acknowledged (tcp_rcv_state_process, for which
// later kernels give the reason TCP_ABORT_ON_DATA), and after that
// (net/ipv4/tcp_minisocks.c tcp_timewait_state_process, which gives none).
var orphanedIn = map[string]bool{"tcp_v4_rcv": true, "tcp_v6_rcv": true, "tcp_v4_do_rcv": true, "tcp_v6_do_rcv": true}

// afterHangingUp reports whether a reply was dropped since its client had closed
// the connection.
func (c *Case) afterHangingUp(drop *tracer.Hop) bool {
	end, _ := c.hungUp()
	if end == nil || end.Time > drop.Time {
		return false
	}
	switch reason(drop) {
	case "TCP_ABORT_ON_DATA":
		return true
	case "", "NOT_SPECIFIED":
		return orphanedIn[drop.Drop.Function]
	}
	return false
}

// hungUpSoon finds a client that closed its connection sooner than any resolver
// gives up. That it did not just say that it will ask no more, and wait on, is
// certain if it refused what came.
func (c *Case) hungUpSoon() *tracer.Finding {
	end, refusal := c.hungUp()
	asked, drop := c.asked(), c.lateReply()
	if end == nil || asked == nil || end.Time-asked.Time >= uint64(soonestTry) || c.Outcome == tracer.OutcomeDropped && drop == nil {
		return nil
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceLikely,
		Summary:    fmt.Sprintf("the client %s closed the connection %v after it had asked, and did not wait for the reply", c.Client, took(asked, end)),
		Evidence:   []string{c.At(end)},
		Mend:       []string{"nothing: clients stop waiting when they end, or when another server has answered"},
	}
	if late := c.refused(f, end, refusal, drop); late != nil {
		f.Confidence = tracer.ConfidenceSeen
	}
	return f
}

// refused adds to the evidence what came when the client had hung up, and returns
// where; nil if nothing was seen to.
func (c *Case) refused(f *tracer.Finding, end, refusal, drop *tracer.Hop) *tracer.Hop {
	switch {
	case drop != nil:
		f.Evidence = append(f.Evidence, fmt.Sprintf("the reply came %v after that, and found no socket: %s", took(end, drop), dropText(drop)))
		return drop
	case refusal != nil:
		f.Evidence = append(f.Evidence, fmt.Sprintf("the server sent something yet, which the client's host refused %v after that (RST)", took(end, refusal)))
		return refusal
	}
	return nil
}

// silentAfter is for how long a server must have said nothing to be called silent,
// if its client hung up: it may have been about to answer.
const silentAfter = 400 * time.Millisecond

// hungUpOnSlow finds a server that had not replied when its client closed the
// connection, as resolvers do after a while, and was heard after that, or may have been.
func (c *Case) hungUpOnSlow() *tracer.Finding {
	end, refusal := c.hungUp()
	asked := c.asked()
	if end == nil || asked == nil || end.Time-asked.Time < uint64(soonestTry) {
		return nil
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("the DNS server at %v had not replied when the client closed the connection, %v after it had asked", c.to(), took(asked, end)),
	}
	at := c.arrived()
	if at != nil {
		f.Mend = []string{"see what keeps the server: kubectl top pod, its limits of CPU, more replicas", logs(c.NetNS(at.NetNS), nil)}
	} else if at = c.sentOff(); at != nil {
		f.Confidence = tracer.ConfidenceLikely
		f.Mend = []string{fmt.Sprintf("on the node of %s: see with dnspath how long the server takes", c.to().Addr())}
	}
	if at == nil || took(asked, at) > took(asked, end)/2 {
		return nil
	}
	f.Evidence = []string{fmt.Sprintf("the query was there %v after it was sent: %s", took(asked, at), c.At(at))}
	if c.refused(f, end, refusal, nil) == nil {
		if took(asked, end) >= silentAfter && c.answeredUpstream() == 0 && !c.asksOthers() {
			return nil
		}
		f.Confidence = tracer.ConfidenceLikely
	}
	c.slowUpstream(f)
	return f
}

// arrived returns where the query was first at its server's socket, which the server
// may have read later: over TCP some answer one query after the other.
func (c *Case) arrived() *tracer.Hop {
	for leg, h := range c.Hops() {
		if leg.IsMessage() && !leg.Response && (h.Name == "socket" || h.Name == "read") && h.Drop == nil {
			return h
		}
	}
	return nil
}

// asksOthers reports whether the server has been seen to ask others: it may wait for
// them, if not for this query then for one before it on the connection.
// One that asked a question which it was asked itself just then may do so by chance.
func (c *Case) asksOthers() bool {
	const often = 3
	n := 0
	for p := range c.history.all() {
		if p.backend == c.to() && p.asked {
			if n++; n == often {
				return true
			}
		}
	}
	return false
}

// spokeLate reports whether a server was heard when its client had hung up.
func (c *Case) spokeLate() bool {
	_, refusal := c.hungUp()
	return refusal != nil
}

// sentOff returns where the last query was seen last, if that is where it left for
// a server that is not seen here; else nil.
func (c *Case) sentOff() (last *tracer.Hop) {
	for leg, h := range c.Hops() {
		if leg.IsMessage() && !leg.Response {
			last = h
		}
	}
	if last == nil || last.Name != "tx" || last.Drop != nil {
		return nil
	}
	return last
}
