package tracer

import (
	"fmt"
	"net/netip"
	"slices"
)

// finish makes a Lookup of an open one.
func (l *lookupState) finish(c *Correlator) *Lookup {
	for _, leg := range l.legs {
		slices.SortStableFunc(leg.events, func(a, b *Event) int {
			switch {
			case a.Time < b.Time:
				return -1
			case a.Time > b.Time:
				return 1
			}
			return 0
		})
	}
	out := &Lookup{Start: l.start, End: l.last, DNSID: l.id, Transport: TransportUDP, Why: l.why}
	if l.conn != nil {
		out.Transport = TransportTCP
	}
	out.Client, out.Server, _ = l.asked()
	if first := l.first(); first != nil && (first.Local || first.Hook == HookOutput) {
		out.NetNS = first.NetNS
	}
	l.setMessages(out)
	l.setPeers(out)
	for _, leg := range l.legs {
		out.Legs = append(out.Legs, leg.leg())
		if l.transmits(leg) {
			out.Attempts++
		}
	}
	if c.lossDuring(l) {
		out.Why = append(out.Why, "events were lost while it was under way")
	}
	if l.cut {
		out.Why = append(out.Why, "it had more events than are kept of one lookup")
	}
	l.judge(out)
	l.doubt(c, out)
	if out.Outcome == OutcomeLost {
		out.Waited = c.timeout
	}
	out.Incomplete = len(out.Why) > 0
	return out
}

// doubt takes back a verdict that events which were lost could have changed: what
// came after the event that decided it, such as another attempt, or the end of a
// reply that was seen at the client's door and not at its socket.
func (l *lookupState) doubt(c *Correlator, out *Lookup) {
	until, detail := l.deadline(c), "events were lost after that: "+out.Detail
	switch {
	case out.Outcome == OutcomeLost || out.Outcome == OutcomeIncomplete: // these take losses into account
		return
	case out.Outcome == OutcomeAnswered && l.delivered():
		return
	case out.Outcome == OutcomeAnswered:
		until, detail = max(l.last, l.arrived+c.linger), "a reply came to the client, and events were lost after that"
	}
	if !c.lossBetween(l.decided, until) {
		return
	}
	out.Outcome, out.Detail, out.FateNetNS, out.Latency = OutcomeIncomplete, detail, 0, 0
	if why := "events were lost while it was under way"; !slices.Contains(out.Why, why) {
		out.Why = append(out.Why, why)
	}
}

// delivered reports whether a reply over UDP was seen at the client's socket.
func (l *lookupState) delivered() bool {
	return slices.ContainsFunc(l.legs, func(leg *legState) bool {
		return leg.isReply() && leg.tcp == nil && slices.ContainsFunc(leg.events, l.isHome) && (leg.wasQueued() || leg.wasRead())
	})
}

// lossBetween reports whether events of that time were lost.
func (c *Correlator) lossBetween(from, to uint64) bool {
	return slices.ContainsFunc(c.gaps, func(g gap) bool { return g.from <= to && g.to >= from })
}

// lossDuring reports whether events were lost while l was under way, or while a
// reply to it was still to come.
func (c *Correlator) lossDuring(l *lookupState) bool {
	return c.lossBetween(l.start, l.last) || !l.reached && c.lossBetween(l.start, l.deadline(c))
}

// transmits reports whether a leg is a transmission of the query: over TCP of its
// first bytes, and, if there are none, of the SYN.
func (l *lookupState) transmits(leg *legState) bool {
	switch {
	case !leg.isQuery() || leg.fragment != nil:
		return false
	case leg.tcp == nil:
		return true
	case l.request == nil:
		return leg.tcp.kind == "SYN"
	}
	return leg.tcp.kind == "data" && int32(leg.tcp.seq-l.request.start) <= 0
}

func (l *lookupState) setMessages(out *Lookup) {
	if l.answer != nil {
		out.Reply, out.ReplyLen = l.answer.message, l.answer.size-2
	}
	if l.request != nil {
		out.Question = l.request.message
	}
	for _, leg := range l.legs {
		switch {
		case leg.message == nil || leg.quote != nil:
		case !leg.response && (out.Question == nil || out.Question.Response):
			out.Question = leg.message
		case leg.response && out.Reply == nil:
			out.Reply, out.ReplyLen = leg.message, int(leg.events[0].DNSLen)
			if out.Question == nil {
				out.Question = leg.message
			}
		}
	}
	if out.Question == nil {
		out.Question = &Message{ID: out.DNSID, Partial: true}
	}
}

// setPeers fills in who took part: the process at the client's end, and the
// server that the query reached in the end.
func (l *lookupState) setPeers(out *Lookup) {
	for _, leg := range l.legs {
		if leg.quote != nil {
			continue
		}
		if leg.response {
			if out.Client == (netip.AddrPort{}) { // no query was seen
				last := leg.events[len(leg.events)-1]
				out.Client, out.Server = last.Dst, last.Src
			}
			continue
		}
		last := leg.events[len(leg.events)-1]
		if last.Dst != out.Server && out.Server.IsValid() {
			out.Backend = last.Dst
		}
	}
	for _, leg := range l.legs {
		if leg.quote != nil {
			continue
		}
		for _, e := range leg.events {
			read := e.Probe == ProbeRead || e.Probe == ProbeUDPConsume || e.Freed != nil && readers[e.Freed.Function]
			sent := e.Probe == ProbeNetDevQueue || e.Probe == ProbeIPSendSkb || e.Probe == ProbeIP6SendSkb
			// A read at the client's end is certain; who sent the query is what the kernel said first.
			if e.PID != 0 && e.NetNS == out.NetNS && out.NetNS != 0 && (leg.response && read || !leg.response && sent && out.PID == 0) {
				out.PID, out.Comm = e.PID, e.Comm
			}
		}
	}
}

// judge sets the outcome from what was seen. Only the absence of a reply needs
// completeness to mean anything: a reply or a drop that was seen was there.
func (l *lookupState) judge(out *Lookup) {
	reply, query := l.lastLegs()
	switch {
	case query == nil:
		out.Outcome, out.Detail = OutcomeIncomplete, "its query was not seen"
		out.Why = append(out.Why, "its query was not seen")
	case l.conn != nil && l.judgeStream(out):
	case l.conn == nil && reply != nil && l.judgeReply(out, reply):
	case l.conn == nil && l.judgeQueries(out):
	case l.judgeErrors(out):
	case l.cutShort:
		out.Outcome, out.Detail = OutcomeIncomplete, "the trace ended before its time was up"
		out.Why = append(out.Why, "the trace ended before its time was up")
	case len(out.Why) > 0:
		out.Outcome, out.Detail = OutcomeIncomplete, "no reply was seen, but events were lost"
	case l.conn != nil:
		out.Outcome, out.Detail = OutcomeLost, l.streamDetail()
	default:
		out.Outcome, out.Detail = OutcomeLost, l.lostDetail(query, reply)
	}
}

// lastLegs returns the last query, and the first reply that came to its end, else
// the last; nil if there was none.
func (l *lookupState) lastLegs() (reply, query *legState) {
	for _, leg := range l.legs {
		switch {
		case leg.quote != nil || leg.fragment != nil:
		case !leg.response:
			query = leg
		case reply == nil || !l.endsWell(reply):
			reply = leg
		}
	}
	return reply, query
}

// endsWell reports whether a reply's leg ends at the client.
func (l *lookupState) endsWell(leg *legState) bool {
	return slices.ContainsFunc(leg.events, l.isHome) && leg.fate() == nil
}

// foreign reports whether e shows a reply at the client, from a source that it has not asked.
func (l *lookupState) foreign(e *Event) bool {
	client, server, netns := l.asked()
	return netns != 0 && e.NetNS == netns && e.Dst == client && e.Src != server
}

// judgeReply judges by the reply, if it says anything.
func (l *lookupState) judgeReply(out *Lookup, reply *legState) bool {
	inPieces := l.inPieces(reply)
	if inPieces && l.reached { // a fragment's end is not the datagram's
		l.decided = l.arrived
		out.Outcome, out.Latency = OutcomeAnswered, l.arrived-l.start
		return true
	}
	_, server, _ := l.asked()
	if fate, what := l.replyFate(reply); fate != nil {
		l.decided = fate.Time
		out.Outcome, out.Detail, out.FateNetNS = OutcomeDropped, what+": "+out.describe(fate), fate.NetNS
		if l.foreign(fate) && out.noSocket(fate) {
			out.Outcome, out.Detail, out.FateNetNS = OutcomeUnexpectedSource, unexpected(fate, server), 0
		}
		return true
	}
	if at := l.arrival(reply); at != 0 && !inPieces {
		out.Outcome, out.Latency, l.decided = OutcomeAnswered, at-l.start, l.arrived
		return true
	}
	// A source that is wrong on arrival may be translated still (INPUT), but not once a process has read it.
	for i, e := range reply.events {
		if read, _ := readAt(reply.events, i); read && l.foreign(e) {
			l.decided = e.Time
			out.Outcome, out.Detail = OutcomeUnexpectedSource, unexpected(e, server)
			return true
		}
	}
	return false
}

// replyFate returns the event that ended a reply, or one of its fragments, or nil,
// and which of them that was.
func (l *lookupState) replyFate(reply *legState) (fate *Event, what string) {
	if fate := reply.fate(); fate != nil {
		return fate, "the reply"
	}
	for _, leg := range l.legs {
		if leg.fragment == nil || !sameDatagram(reply, leg) {
			continue
		}
		if fate := leg.fate(); fate != nil {
			return fate, fmt.Sprintf("the reply's fragment at offset %d", leg.fragment.Offset)
		}
	}
	return nil, ""
}

// noSocket reports whether a packet was dropped since no socket wanted it: it
// had come all the way, and its addresses are final. Before 5.17 there is no
// reason, only the function, and what the packet's checksum tells.
func (l *Lookup) noSocket(e *Event) bool {
	if e.Freed == nil {
		return false
	}
	switch e.Freed.Reason {
	case "NO_SOCKET":
		return true
	case "", unspecified:
		return noSocketIn[e.Freed.Function] && l.dropAt(e).Inferred == ""
	}
	return false
}

// noSocketIn are the functions that free, without a reason, what no socket wants.
var noSocketIn = map[string]bool{"__udp4_lib_rcv": true, "__udp6_lib_rcv": true, "tcp_v4_rcv": true, "tcp_v6_rcv": true}

func unexpected(e *Event, server netip.AddrPort) string {
	return fmt.Sprintf("the reply came from %v, the client had asked %v", e.Src, server)
}

// arrival returns when a reply reached the client: when it was queued to the
// socket, else when it was last seen before it was read; 0 if it did not.
func (l *lookupState) arrival(reply *legState) (at uint64) {
	if !slices.ContainsFunc(reply.events, l.isHome) {
		return 0
	}
	_, _, netns := l.asked()
	for _, e := range reply.events {
		if e.NetNS == netns && (e.Probe != ProbeConsumeSkb || readers[e.Freed.Function]) {
			at = e.Time
		}
	}
	return at
}

// judgeQueries judges by the newest query leg whose end was seen.
func (l *lookupState) judgeQueries(out *Lookup) bool {
	for i := len(l.legs) - 1; i >= 0; i-- {
		leg := l.legs[i]
		if !leg.isQuery() {
			continue
		}
		if e := leg.rejection(); e != nil {
			out.Outcome, out.Detail, out.FateNetNS, l.decided = OutcomeRejected, "ICMP "+e.ICMP.String(), e.NetNS, e.Time
			return true
		}
		if l.judgeQuotes(out, func(q *legState) bool { return q.refuses(leg) }) {
			return true
		}
		if fate := leg.fate(); fate != nil {
			out.Outcome, out.Detail, out.FateNetNS, l.decided = OutcomeDropped, "the query: "+out.describe(fate), fate.NetNS, fate.Time
			return true
		}
	}
	return false
}

// fate returns the event that ended the packet, or nil if it went on or
// reached a process: what is freed after that was a copy.
func (l *legState) fate() *Event {
	for i := len(l.events) - 1; i >= 0; i-- {
		switch e := l.events[i]; {
		case joined(e):
		case e.Probe == ProbeKfreeSkb, freedSilently(e), e.Probe == ProbeTCPBadCsum:
			if l.wasRead() {
				return nil
			}
			return e
		case e.Probe == ProbeConsumeSkb:
		default:
			return nil
		}
	}
	return nil
}

func (l *legState) wasRead() bool {
	for i := range l.events {
		if read, _ := readAt(l.events, i); read {
			return true
		}
	}
	return false
}

func (l *legState) wasQueued() bool {
	return slices.ContainsFunc(l.events, func(e *Event) bool {
		return e.Probe == ProbeSkDataReady || e.Probe == ProbeUDPEnqueue && e.Verdict == VerdictOK
	})
}

// rejection returns the ICMP error "destination unreachable" that this node
// sent about the packet, or nil. One about a tunnel's packet goes to the
// tunnel's end, and never reaches the client.
func (l *legState) rejection() *Event {
	for _, e := range l.events {
		if e.ICMP != nil && e.Tunnel == nil && e.ICMP.Type == icmpUnreachable && e.ICMP.Code != icmpFragNeeded {
			return e
		}
	}
	return nil
}

// describe says in one phrase how a packet ended.
func (l *Lookup) describe(e *Event) string {
	d := l.dropAt(e)
	s := d.String()
	if d.Hook != "" {
		s += fmt.Sprintf(" (%s)", d.Hook)
	}
	return s
}

// lostDetail says how far the packets of a lost lookup came.
func (l *lookupState) lostDetail(query, reply *legState) string {
	if detail := l.fragmentDetail(); detail != "" {
		return detail
	}
	if reply != nil {
		return "a reply was on its way and did not arrive"
	}
	if query.wasRead() {
		return "the server read the query and sent no reply"
	}
	if query.wasQueued() {
		return "the query reached the server's socket, and no reply was seen"
	}
	return "no reply was seen"
}
