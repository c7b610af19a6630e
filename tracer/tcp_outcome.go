package tracer

import (
	"fmt"
	"slices"
	"time"
)

// takeUnread gives a lookup that has no answer the beginning of one, if that is
// all that has come, and what its connection has carried besides and nobody could
// read: it may have been the answer.
func (c *Correlator) takeUnread(l *lookupState) {
	if l.reached {
		return
	}
	if m := l.conn.server.msg; m != nil && m.lookup == nil && l.answer == nil && m.mayAnswer(l) {
		l.answer, m.lookup = m, l
		for _, leg := range m.legs {
			c.own(l, leg)
		}
	}
	unread, server := false, &l.conn.server
	for _, leg := range l.conn.legs {
		if leg.holders == 0 && !leg.forgotten && (l.request == nil || leg.response) {
			unread = true
			if leg.response { // the others' answers may be there too
				server.missed = max(server.missed, leg.events[0].Time)
			}
			c.own(l, leg)
		}
	}
	if unread || l.request != nil && l.answer == nil && server.unreadAfter(l.sent) {
		l.why = append(l.why, "not all that the connection carried could be read")
	}
}

// mayAnswer reports whether the beginning of a message may be that of the answer
// to l: it has its ID, or there is nobody else to answer.
func (m *tcpMessage) mayAnswer(l *lookupState) bool {
	if len(m.data) >= 4 {
		return be16(m.data, 2) == l.id
	}
	return len(l.conn.unanswered()) == 1
}

// unasked reports whether a lookup is none: a connection that was opened, and
// over which nobody asked anything, as health checks do.
func (l *lookupState) unasked() bool {
	return l.request == nil && len(l.why) == 0 && l.connected() && !l.tooLate()
}

// tooLate reports whether the client's host refused the SYN-ACK: nobody waited
// for it any more. A process that ends a connection by a reset sets the ACK flag
// (net/ipv4/tcp_output.c tcp_send_active_reset), a refusal does not (RFC 9293
// section 3.10.7.1).
func (l *lookupState) tooLate() bool {
	return slices.ContainsFunc(l.legs, func(leg *legState) bool {
		return leg.isQuery() && leg.tcp.kind == "RST" && len(leg.events) > 0 && !leg.events[0].TCP.ACK
	})
}

// connected reports whether the handshake was done, as far as the client knows.
func (l *lookupState) connected() bool {
	return slices.ContainsFunc(l.legs, func(leg *legState) bool {
		return leg.isReply() && leg.tcp.kind == "SYN-ACK" && slices.ContainsFunc(leg.events, l.isHome)
	})
}

// judgeStream judges a lookup over TCP by what was seen of it, if that says anything.
func (l *lookupState) judgeStream(out *Lookup) bool {
	_, server, _ := l.asked()
	if l.reached && l.answer.survives(l) {
		out.Outcome, out.Latency, l.decided = OutcomeAnswered, l.arrived-l.start, l.arrived
		return true
	}
	for _, leg := range l.legs {
		if fate := leg.fate(); leg.isReply() && fate != nil && l.foreign(fate) && out.noSocket(fate) {
			out.Outcome, out.Detail, l.decided = OutcomeUnexpectedSource, unexpected(fate, server), fate.Time
			return true
		}
	}
	if reset := l.reset(); reset != nil {
		first := reset.events[0]
		out.Outcome, out.Detail, out.FateNetNS = OutcomeRejected, fmt.Sprintf("TCP reset by %v", first.Src), first.NetNS
		l.decided = first.Time
		return true
	}
	if l.judgeSegments(out) {
		return true
	}
	if closed := l.closing(true); closed != nil && l.request != nil && len(l.why) == 0 {
		out.Outcome, out.Detail, l.decided = OutcomeRejected, "the server closed the connection without an answer", closed.events[0].Time
		if l.answer != nil && !l.answer.done {
			out.Detail = "the server closed the connection in the midst of its answer"
		}
		return true
	}
	return false
}

// survives reports whether all of an answer has reached the client by segments
// that were not dropped there.
func (m *tcpMessage) survives(l *lookupState) bool {
	kept := *m
	kept.legs = slices.DeleteFunc(slices.Clone(m.legs), func(leg *legState) bool { return leg.segmentFate() != nil })
	return kept.isHome(l)
}

// reset returns the leg of the server's RST, if that is what ended the
// connection, or nil.
func (l *lookupState) reset() *legState {
	end := l.closing(false)
	if end != nil && end.response && end.tcp.kind == "RST" {
		return end
	}
	return nil
}

// closing returns the leg that began to end the connection: a FIN or a RST, by
// whomever; with byServer nil if it was not a FIN of the server.
func (l *lookupState) closing(byServer bool) *legState {
	var first *legState
	for _, leg := range l.legs {
		if leg.quote != nil || !slices.ContainsFunc(leg.events, func(e *Event) bool { return e.TCP.FIN || e.TCP.RST }) {
			continue
		}
		if first == nil || leg.events[0].Time < first.events[0].Time {
			first = leg
		}
	}
	if first != nil && byServer && (!first.response || first.tcp.kind == "RST") {
		return nil
	}
	return first
}

// judgeSegments judges by the newest segment whose end was seen, of those that
// the lookup was waiting for: without a question those of the handshake.
func (l *lookupState) judgeSegments(out *Lookup) bool {
	for _, leg := range slices.Backward(l.legs) {
		if leg.quote != nil || (leg.tcp.kind == "data") != (l.request != nil) || leg.tcp.kind == "FIN" || leg.tcp.kind == "RST" {
			continue
		}
		if e := leg.rejection(); e != nil && !leg.response {
			out.Outcome, out.Detail, out.FateNetNS, l.decided = OutcomeRejected, "ICMP "+e.ICMP.String(), e.NetNS, e.Time
			return true
		}
		if !leg.response && l.judgeQuotes(out, func(q *legState) bool { return q.refuses(leg) }) {
			return true
		}
		fate := leg.segmentFate()
		if fate == nil || leg.response && out.noSocket(fate) && l.goneFrom(fate) {
			continue
		}
		switch l.afterDrop(leg, fate) {
		case resentArrived:
		case resentUnknown:
			const why = "the reply was too big for its way (MTU), and it is not known whether what was sent again arrived"
			out.Outcome, out.Detail, out.Why = OutcomeIncomplete, why, append(out.Why, why)
			return true
		default:
			out.Outcome, out.Detail, out.FateNetNS, l.decided = OutcomeDropped, leg.carried()+": "+out.describe(fate), fate.NetNS, fate.Time
			return true
		}
	}
	return false
}

// carried names what a segment has.
func (l *legState) carried() string {
	switch {
	case l.tcp.kind == "data" && l.response:
		return "the reply"
	case l.tcp.kind == "data":
		return "the query"
	}
	return "the " + l.tcp.kind
}

// segmentFate is fate for a segment: one that TCP had, and threw away as it had
// its bytes already, has arrived.
func (l *legState) segmentFate() *Event {
	fate := l.fate()
	if fate != nil && fate.Freed != nil && arrivedAtTCP[fate.Freed.Reason] {
		return nil
	}
	return fate
}

// arrivedAtTCP are the reasons (include/net/dropreason-core.h) for which TCP
// throws a segment away whose bytes it has, or does not need any more.
var arrivedAtTCP = map[string]bool{
	"TCP_OLD_DATA": true, "TCP_OLD_ACK": true, "TCP_OLD_SEQUENCE": true, "TCP_OFOMERGE": true, "TCP_ACK_UNSENT_DATA": true,
	"TCP_RESET": true, "TCP_FASTOPEN": true, "TCP_FLAGS": true,
}

// streamDetail says how far a lookup over TCP came that got no answer.
func (l *lookupState) streamDetail() string {
	syns := 0
	for _, leg := range l.legs {
		if leg.isQuery() && leg.tcp.kind == "SYN" {
			syns++
		}
	}
	switch {
	case l.request == nil && l.tooLate():
		return "the SYN-ACK came when the client had given up"
	case l.request == nil && l.synAck() != nil:
		return "a SYN-ACK was on its way and did not arrive"
	case l.request == nil:
		return fmt.Sprintf("SYN sent %s, no SYN-ACK was seen", times(syns))
	case l.answer != nil:
		return "a reply was on its way and did not arrive"
	}
	if end := l.closing(false); end != nil && !end.response {
		return fmt.Sprintf("the client closed the connection without an answer after %v", time.Duration(end.events[0].Time-l.sent).Round(time.Millisecond))
	}
	return "connected, and no reply was seen"
}

func (l *lookupState) synAck() *legState {
	for _, leg := range l.legs {
		if leg.isReply() && leg.tcp.kind == "SYN-ACK" {
			return leg
		}
	}
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// goneFrom reports whether a packet with the right addresses was dropped where
// the client had been.
func (l *lookupState) goneFrom(fate *Event) bool {
	client, server, netns := l.asked()
	return fate.NetNS == netns && fate.Dst == client && fate.Src == server
}
