package tracer

import (
	"net/netip"
	"slices"
)

// lookupState is a lookup that is still open.
type lookupState struct {
	legs     []*legState
	keys     []flowKey
	older    []*lookupState // by keys: the next older lookup of the same flow
	question *Message       // of the first query seen
	id       uint16         // DNS ID
	start    uint64
	last     uint64 // newest event
	sent     uint64 // start of the newest query leg
	reached  bool   // a reply reached the client
	arrived  uint64 // when it was first seen to
	decided  uint64 // time of the event that says how it ended
	cut      bool   // events beyond the bounds were thrown away
	cutShort bool   // the trace ended before its time was up
	why      []string
	member   *member // in stories

	// Over TCP.
	conn    *connState  // nil: UDP
	request *tcpMessage // its query; nil as long as there is but a handshake
	answer  *tcpMessage
	after   *member // whose truncated answer the connection may be made for

	// Its place among the lookups that wait for the same thing.
	list       *dueList
	prev, next *lookupState
	due        uint64 // when its time is up
}

// flowOf returns the key of a packet: the client is where queries come from.
func flowOf(e *Event, f Flow) flowKey {
	key := flowKey{client: f.Src, server: f.Dst, id: e.DNSID}
	if e.Response {
		key.client, key.server = f.Dst, f.Src
	}
	if e.TCP != nil {
		key.id, key.kind = 0, flowConn
	}
	return key
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
	if e.Packet == 0 || leg == nil || !leg.carries(e) || leg.again(e) {
		if leg = c.find(e); leg == nil {
			return // the end of a packet that was never on its way, or one too many
		}
	}
	c.extend(leg, e)
}

// find returns the leg for a packet that is not known by its identity.
func (c *Correlator) find(e *Event) *legState {
	switch {
	case e.Quote != nil:
		return c.findQuote(e)
	case e.TCP != nil:
		return c.findSegment(e)
	case e.FragOffset > 0:
		return c.findFragment(e)
	}
	return c.findDatagram(e, messageOf(e))
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

// findDatagram is find for a DNS message over UDP, or the fragment that begins it.
func (c *Correlator) findDatagram(e *Event, m *Message) *legState {
	var l *lookupState
	var buf [3]flowKey
	for _, key := range keysOf(e, &buf) {
		if l = c.match(key, m); l != nil {
			break
		}
	}
	if l != nil {
		if leg := l.continued(e); leg != nil {
			return leg
		}
		if !e.Response && l.reached { // answered: the same question again is a lookup of its own
			l = nil
		}
	}
	if e.taken() || l == nil && e.Freed != nil { // of a packet that was seen nowhere: of a lookup before
		return nil
	}
	if l == nil {
		if e.Response && c.answered.has(flowOf(e, Flow{e.Src, e.Dst})) {
			c.count.Stragglers++
			if e.Packet != 0 {
				c.closed.add(e.Packet) // its client may read it while it waits for the answer to something else
			}
			return nil
		}
		l = c.open(e)
	}
	return c.newLeg(l, e, m) // a second reply to a lookup that has one is a copy, kept with it
}

// taken reports whether e is the end of a packet that was not dropped: somebody
// read it, or was done with it.
func (e *Event) taken() bool {
	return e.Probe == ProbeConsumeSkb && !freedSilently(e) || e.Probe == ProbeRead || e.Probe == ProbeUDPConsume
}

// keysOf returns the keys under which the lookup of e may be known: the
// packet's own addresses, and those that conntrack translates them to. They are put in keys.
func keysOf(e *Event, keys *[3]flowKey) []flowKey {
	keys[0] = flowOf(e, Flow{e.Src, e.Dst})
	if e.CT == nil || e.Tunnel != nil {
		return keys[:1]
	}
	for i, f := range [...]Flow{e.CT.Orig, {Src: e.CT.Reply.Dst, Dst: e.CT.Reply.Src}} {
		key := flowOf(e, f)
		key.client, key.server = f.Src, f.Dst // the original direction is the query's
		keys[i+1] = key
	}
	return keys[:]
}

// sameKeys reports whether two events of one leg have the same keys.
func sameKeys(a, b *Event) bool {
	return a.Src == b.Src && a.Dst == b.Dst && (a.Tunnel == nil) == (b.Tunnel == nil) &&
		(a.CT == b.CT || a.CT != nil && b.CT != nil && a.CT.Orig == b.CT.Orig && a.CT.Reply == b.CT.Reply)
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
		if leg.continues(e) && (e.Freed != nil || !leg.read && !leg.again(e)) {
			return leg
		}
	}
	return nil
}

// newLeg starts a leg with e, or returns nil if the lookup has too many.
func (c *Correlator) newLeg(l *lookupState, e *Event, m *Message) *legState {
	leg := &legState{response: e.Response, message: m}
	if e.FragOffset > 0 {
		leg.fragment = &Fragment{Offset: e.FragOffset, Last: e.FragLast}
	}
	for _, other := range l.legs {
		if !other.response && other.quote == nil {
			leg.attempt = max(leg.attempt, other.attempt)
		}
	}
	if !e.Response && leg.fragment == nil {
		leg.attempt++
	}
	if !c.hold(l, leg) {
		return nil
	}
	if !e.Response && leg.fragment == nil {
		l.sent = e.Time
		c.postpone(l)
	}
	return leg
}

// hold gives a leg to a lookup. It returns false if that has too many.
func (c *Correlator) hold(l *lookupState, leg *legState) bool {
	if len(l.legs) >= maxLegs {
		l.cut = true
		c.count.Cut++
		return false
	}
	l.legs = append(l.legs, leg)
	leg.lookups = append(leg.lookups, l)
	leg.holders++
	return true
}

// extend adds e to a leg, and learns from it what finds the packets to come.
func (c *Correlator) extend(leg *legState, e *Event) {
	for _, l := range leg.lookups {
		l.start, l.last = min(l.start, e.Time), max(l.last, e.Time)
	}
	if e.Packet != 0 && !slices.Contains(leg.packets, e.Packet) {
		leg.packets = append(leg.packets, e.Packet)
		c.packets[e.Packet] = leg
	}
	if len(leg.events) >= maxLegEvents {
		for _, l := range leg.lookups {
			l.cut = true
		}
		c.count.Cut++
		return
	}
	if n := len(leg.events); leg.quote == nil && (n == 0 || !sameKeys(leg.events[n-1], e)) {
		c.learn(leg, e)
	}
	leg.events = append(leg.events, e)
	c.held++
	if leg.quote != nil {
		return
	}
	if leg.tcp != nil {
		c.readSegment(leg, e)
	} else {
		c.readDatagram(leg, e)
	}
	if read, _ := readAt(leg.events, len(leg.events)-1); read {
		leg.read = true
	}
	for _, l := range leg.lookups {
		if leg.response && !l.reached && l.isHome(e) && l.wholeAt(leg, e) {
			l.reached, l.arrived = true, e.Time
			c.postpone(l)
			if leg.message != nil && leg.message.TC {
				c.stories.truncate(l)
			}
		}
	}
}

// learn makes the lookups of a leg, or its connection, findable by the addresses of e.
func (c *Correlator) learn(leg *legState, e *Event) {
	var buf [3]flowKey
	for _, key := range keysOf(e, &buf) {
		if leg.tcp != nil {
			c.indexConn(key, leg.tcp.conn)
			continue
		}
		for _, l := range leg.lookups {
			c.index(key, l)
			key.id, key.kind = 0, flowAny
			c.index(key, l)
		}
	}
}

// readDatagram takes in what e says of the message.
func (c *Correlator) readDatagram(leg *legState, e *Event) {
	if leg.message == nil && leg.fragment == nil {
		leg.message = messageOf(e)
	}
	l := leg.lookups[0]
	if !leg.response && l.question == nil && leg.message != nil {
		l.question = leg.message
		c.stories.ask(l)
	}
}

// wholeAt reports whether, with e, all of a reply has come as far as e.
func (l *lookupState) wholeAt(leg *legState, e *Event) bool {
	switch {
	case leg.tcp != nil:
		return l.answer != nil && l.answer.done && l.answer.isHome(l)
	case e.Fragment:
		return e.Probe == ProbeSkDataReady || l.assembled(e.IPID)
	}
	return true
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
		if leg.isQuery() && len(leg.events) > 0 {
			return leg.events[0]
		}
	}
	return nil
}

// deadline is when the lookup is over, as far as is known now: soon after a
// reply has arrived, else when its time is up since the newest attempt.
func (l *lookupState) deadline(c *Correlator) uint64 {
	if l.reached {
		return l.arrived + c.linger
	}
	return max(l.sent, l.start) + c.timeout + c.grace
}
