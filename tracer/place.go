package tracer

import (
	"container/heap"
	"net/netip"
	"slices"
)

// lookupState is a lookup that is still open.
type lookupState struct {
	legs     []*legState
	keys     []flowKey
	older    []*lookupState // by keys: the next older lookup of the same flow
	question *Message       // of the first query seen
	start    uint64
	last     uint64 // newest event
	sent     uint64 // start of the newest query leg
	due      uint64 // when to look at it next
	at       int    // its place in Correlator.due
	reached  bool   // a reply reached the client
	arrived  uint64 // when it was first seen to
	cut      bool   // events beyond the bounds were thrown away
	cutShort bool   // the trace ended before its time was up
	why      []string
}

// legState is a packet on its way.
type legState struct {
	lookup   *lookupState
	response bool
	attempt  int
	packets  []uint64
	events   []*Event
	message  *Message
	read     bool // what follows of the same content is another packet
}

// flowOf returns the key of a packet: the client is where queries come from.
func flowOf(e *Event, f Flow) flowKey {
	if e.Response {
		return flowKey{client: f.Dst, server: f.Src, id: e.DNSID}
	}
	return flowKey{client: f.Src, server: f.Dst, id: e.DNSID}
}

func (l *lookupState) olderBy(key flowKey) *lookupState {
	if i := slices.Index(l.keys, key); i >= 0 {
		return l.older[i]
	}
	return nil
}

// place finds or makes the leg that e belongs to, and adds it there.
func (c *Correlator) place(e *Event) {
	if c.closed.has(e.Packet) {
		c.count.Stragglers++
		return
	}
	leg := c.packets[e.Packet]
	if e.Step {
		if leg == nil { // it was never on its way
			c.count.Stragglers++
			return
		}
		e = leg.whole(e)
	}
	if e.Packet == 0 || leg == nil || leg.response != e.Response || leg.again(e) {
		message := messageOf(e)
		leg = c.find(e, message)
		if leg == nil {
			return // the end of a packet that was never on its way, or one too many
		}
	}
	c.extend(leg, e)
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
	return &w
}

// messageOf reads the DNS message that e captured, or returns nil.
func messageOf(e *Event) *Message {
	if len(e.Captured) <= int(e.DNSOffset) {
		if e.Short && e.Captured != nil {
			return ParseMessage(nil, int(e.DNSLen))
		}
		return nil
	}
	return ParseMessage(e.Captured[e.DNSOffset:], int(e.DNSLen))
}

// find returns the leg for a packet that is not known by its identity.
func (c *Correlator) find(e *Event, m *Message) *legState {
	var l *lookupState
	for _, key := range keysOf(e) {
		if l = c.match(key, m); l != nil {
			break
		}
	}
	if l != nil && e.Response && l.reached && l.continued(e) == nil {
		// A second reply to a lookup that has one: a copy, kept with it.
		return c.newLeg(l, e, m)
	}
	if l != nil {
		if leg := l.continued(e); leg != nil {
			return leg
		}
		if !e.Response && l.reached { // answered: the same question again is a lookup of its own
			l = nil
		}
	}
	if l == nil {
		if e.Freed != nil || e.Probe == ProbeRead || e.Probe == ProbeUDPConsume {
			return nil
		}
		if e.Response && c.answered.has(flowOf(e, Flow{e.Src, e.Dst})) {
			c.count.Stragglers++
			return nil
		}
		l = c.open(e)
	}
	return c.newLeg(l, e, m)
}

// keysOf returns the keys under which the lookup of e may be known: the
// packet's own addresses, and those that conntrack translates them to.
func keysOf(e *Event) []flowKey {
	keys := []flowKey{flowOf(e, Flow{e.Src, e.Dst})}
	if e.CT == nil || e.Tunnel != nil {
		return keys
	}
	for _, f := range []Flow{e.CT.Orig, {Src: e.CT.Reply.Dst, Dst: e.CT.Reply.Src}} {
		keys = append(keys, flowKey{client: f.Src, server: f.Dst, id: e.DNSID})
	}
	return keys
}

// match returns the newest open lookup of a flow that asks what m asks.
func (c *Correlator) match(key flowKey, m *Message) *lookupState {
	for l := c.flows[key]; l != nil; l = l.olderBy(key) {
		if l.asks(m) {
			return l
		}
	}
	return nil
}

// asks reports whether m may be about the question of l. Names are compared
// with their case, which servers echo (0x20); replies may lack a question.
func (l *lookupState) asks(m *Message) bool {
	q := l.question
	if m == nil || q == nil || m.Name == "" || q.Name == "" {
		return true
	}
	return m.Name == q.Name && m.Type == q.Type
}

// continued returns the leg of l that a packet without known identity goes on
// with: one with the same inner IP ID and direction that no process has read
// and that has not been here before. What is freed is the end of the newest.
func (l *lookupState) continued(e *Event) *legState {
	for i := len(l.legs) - 1; i >= 0; i-- {
		leg := l.legs[i]
		if leg.response == e.Response && leg.events[0].IPID == e.IPID &&
			(e.Freed != nil || !leg.read && !leg.again(e)) {
			return leg
		}
	}
	return nil
}

// again reports whether e is where the leg has been before, with the same hop
// limit and destination: a packet goes by a device, or leaves a host, once,
// unless it goes round in a loop, which costs it hops. So it is another packet.
func (l *legState) again(e *Event) bool {
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
			old.TTL == e.TTL && old.Dst == e.Dst && (old.Tunnel == nil) == (e.Tunnel == nil)
	})
}

// newLeg starts a leg with e, or returns nil if the lookup has too many.
func (c *Correlator) newLeg(l *lookupState, e *Event, m *Message) *legState {
	if len(l.legs) >= maxLegs {
		l.cut = true
		c.count.Cut++
		return nil
	}
	leg := &legState{lookup: l, response: e.Response, message: m}
	for _, other := range l.legs {
		if !other.response {
			leg.attempt = max(leg.attempt, other.attempt)
		}
	}
	if !e.Response {
		leg.attempt++
		l.sent = e.Time
	}
	l.legs = append(l.legs, leg)
	return leg
}

// extend adds e to a leg, and learns from it what finds the packets to come.
func (c *Correlator) extend(leg *legState, e *Event) {
	l := leg.lookup
	l.start, l.last = min(l.start, e.Time), max(l.last, e.Time)
	if e.Packet != 0 && !slices.Contains(leg.packets, e.Packet) {
		leg.packets = append(leg.packets, e.Packet)
		c.packets[e.Packet] = leg
	}
	if len(leg.events) >= maxLegEvents {
		l.cut = true
		c.count.Cut++
		return
	}
	if n := len(leg.events); n == 0 || leg.events[n-1].Src != e.Src || leg.events[n-1].Dst != e.Dst || e.CT != nil {
		for _, key := range keysOf(e) {
			c.index(key, l)
		}
	}
	leg.events = append(leg.events, e)
	c.held++
	if leg.message == nil {
		leg.message = messageOf(e)
	}
	if !leg.response && l.question == nil {
		l.question = leg.message
	}
	if read, _ := readAt(leg.events, len(leg.events)-1); read {
		leg.read = true
	}
	if leg.response && !l.reached && l.isHome(e) {
		l.reached, l.arrived = true, e.Time
		l.due = l.deadline(c)
		heap.Fix(&c.due, l.at)
	}
}

// asked returns the addresses that the client used, and the namespace where the
// query was first seen, or zero.
func (l *lookupState) asked() (client, server netip.AddrPort, netns uint32) {
	if first := l.first(); first != nil {
		f := first.sent()
		return f.Src, f.Dst, first.NetNS
	}
	return netip.AddrPort{}, netip.AddrPort{}, 0
}

// sent returns the addresses with which the packet was sent, if this is its
// first event: what is first seen at a device, netfilter has had already, and
// conntrack knows what it was before.
func (e *Event) sent() Flow {
	if e.Local && !e.Response && e.CT != nil && e.Tunnel == nil &&
		e.CT.Reply == (Flow{Src: e.Dst, Dst: e.Src}) { // the entry is this packet's
		return e.CT.Orig
	}
	return Flow{Src: e.Src, Dst: e.Dst}
}

// first returns the first event of the first query, or nil.
func (l *lookupState) first() *Event {
	for _, leg := range l.legs {
		if !leg.response {
			return leg.events[0]
		}
	}
	return nil
}

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

// deadline is when the lookup is over, as far as is known now: soon after a
// reply has arrived, else when its time is up since the newest attempt.
func (l *lookupState) deadline(c *Correlator) uint64 {
	if l.reached {
		return l.arrived + c.linger
	}
	return max(l.sent, l.start) + c.timeout + c.grace
}
