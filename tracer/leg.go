package tracer

import "slices"

// legState is a packet on its way.
type legState struct {
	lookups   []*lookupState // whose it is: one, over TCP none as yet, or several
	holders   int            // lookups that are open
	forgotten bool
	response  bool
	attempt   int
	packets   []uint64
	events    []*Event
	message   *Message
	read      bool // what follows of the same content is another packet

	fragment *Fragment // nil: the first, or all, of a datagram
	quote    *Quote    // it is an ICMP error
	tcp      *segment
}

// whole returns a copy of a step with what it shares with the event before it.
// A step is as old as the call that it tells of, and comes when that returns:
// other events may have come meanwhile.
func (l *legState) whole(e *Event) *Event {
	last := l.events[0]
	for _, old := range l.events {
		if old.Time <= e.Time && (old.Time >= last.Time || last.Time > e.Time) {
			last = old
		}
	}
	w := *e
	w.Src, w.Dst, w.Len, w.TTL, w.IPID, w.Tunnel = last.Src, last.Dst, last.Len, last.TTL, last.IPID, last.Tunnel
	w.DNSID, w.DNSFlags, w.DNSLen, w.Response, w.Local = last.DNSID, last.DNSFlags, last.DNSLen, last.Response, last.Local
	w.Checksum = last.Checksum
	w.Checksum.Summed = e.Checksum.Summed
	w.TCP, w.Quote, w.Fragment, w.FragOffset, w.FragLast = last.TCP, last.Quote, last.Fragment, last.FragOffset, last.FragLast
	return &w
}

// carries reports whether e may be the leg's packet by what it is.
func (l *legState) carries(e *Event) bool {
	switch {
	case (l.quote != nil) != (e.Quote != nil) || (l.tcp != nil) != (e.TCP != nil && e.Quote == nil):
		return false
	case l.quote != nil:
		q := e.Quote // NAT may translate one of its addresses on the way
		return l.quote.Type == q.Type && l.quote.Code == q.Code && (l.quote.From == q.From || l.quote.To == q.To)
	case l.response != e.Response:
		return false
	case l.tcp != nil:
		return l.tcp.is(e.TCP)
	case l.fragment != nil:
		return l.fragment.Offset == e.FragOffset
	}
	return e.FragOffset == 0
}

// continues reports whether e may go on where the leg is, by content.
func (l *legState) continues(e *Event) bool {
	return l.carries(e) && l.hasIPID(e.IPID)
}

// again reports whether e is where the leg has been before, with the same hop
// limit and destination: a packet goes by a device, or leaves a host, once,
// unless it goes round in a loop, which costs it hops. So it is another packet.
func (l *legState) again(e *Event) bool {
	if l.sentAgain(e) {
		return true
	}
	switch e.Probe {
	case ProbeNetDevQueue, ProbeNetifRx, ProbeNetifReceiveSkb:
	case ProbeNFEnter, ProbeNFHookSlow:
		if e.Hook != HookOutput {
			return false
		}
	default:
		return false
	}
	return slices.ContainsFunc(l.events, func(old *Event) bool {
		return old.Probe == e.Probe && old.Verdict == e.Verdict && old.NetNS == e.NetNS && old.Ifindex == e.Ifindex && old.Hook == e.Hook &&
			old.TTL == e.TTL && old.Dst == e.Dst && old.Tunnel.depth() == e.Tunnel.depth()
	})
}

// sentAgain reports whether e has a segment where it is sent, with the addresses
// with which it is, although it was in another namespace by then: TCP sends what
// it repeats from the same memory.
func (l *legState) sentAgain(e *Event) bool {
	if l.tcp == nil || !e.Local || e.Freed != nil || e.Tunnel != nil || len(l.events) == 0 {
		return false
	}
	first := l.events[0]
	return first.Local && first.NetNS == e.NetNS && first.Src == e.Src && first.Dst == e.Dst &&
		slices.ContainsFunc(l.events, func(old *Event) bool { return old.NetNS != e.NetNS })
}

// isQuery reports whether the leg is that of a packet from the client.
func (l *legState) isQuery() bool { return !l.response && l.quote == nil }

// isReply reports whether the leg is that of a packet from the server.
func (l *legState) isReply() bool { return l.response && l.quote == nil }

// isHome reports whether a reply's event shows it where the query was first
// seen, with the addresses that the client expects.
func (l *lookupState) isHome(e *Event) bool {
	client, server, netns := l.asked()
	if e.Probe == ProbeKfreeSkb || netns == 0 || e.NetNS != netns {
		return false
	}
	first := l.first() // its addresses are what the reply has before INPUT translates them
	return e.Dst == client && e.Src == server || e.Dst == first.Src && e.Src == first.Dst
}
