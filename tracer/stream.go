package tracer

import "slices"

// Limits of what is kept of a TCP stream.
const (
	maxConnLegs = 1024
	maxAhead    = 64 // segments that came before those that they follow
)

// half is what one side of a TCP connection sends: DNS messages, each behind its
// length in two bytes (RFC 1035 section 4.2.2), cut into segments anywhere.
type half struct {
	synced bool   // next is where a known byte follows
	isn    uint32 // of the SYN, if that was seen
	next   uint32 // sequence number behind all that was taken in, in order
	ahead  []aheadOf
	msg    *tcpMessage // the one that is not whole yet
	hole   hole
	missed uint64 // time of the newest that nobody could read
}

// aheadOf is a segment before whose bytes others are missing.
type aheadOf struct {
	leg     *legState
	seq     uint32
	payload []byte
	size    int
}

// tcpMessage is a DNS message in a stream.
type tcpMessage struct {
	start   uint32 // sequence number of its length
	size    int    // with the length; 0 as long as that is not known
	have    int    // bytes that have come, captured or not
	data    []byte // those that were captured, up to the first that was not
	legs    []*legState
	lookup  *lookupState // whose it is; nil not known yet
	message *Message     // as far as it can be read
	done    bool
}

// start says that a SYN with this sequence number was seen.
func (h *half) start(isn uint32) {
	if !h.synced {
		h.synced, h.isn, h.next = true, isn, isn+1
	}
}

// has reports whether all bytes of a segment have come before.
func (h *half) has(t *TCP) bool {
	return (h.synced || h.hole.open) && int32(h.next-t.Seq) >= int32(t.Len)
}

// readSegment takes in what e says of the stream.
func (c *Correlator) readSegment(leg *legState, e *Event) {
	s := leg.tcp
	s.conn.last = max(s.conn.last, e.Time)
	if l := s.conn.first; s.kind == "SYN" && l != nil && len(l.legs) == 1 && len(leg.events) == 1 {
		c.stories.connect(l)
	}
	if e.TCP.Len == 0 || s.read >= e.TCP.Len {
		return
	}
	var payload []byte
	if int(e.DNSOffset) < len(e.Captured) {
		payload = e.Captured[e.DNSOffset:min(len(e.Captured), int(e.DNSOffset)+int(e.TCP.Len))]
	}
	if len(payload) == 0 && !s.conn.half(leg.response).has(e.TCP) {
		return
	}
	fresh := s.read == 0 // else it has grown: receivers join segments (GRO)
	s.read = e.TCP.Len
	c.feed(aheadOf{leg, e.TCP.Seq, payload, int(e.TCP.Len)}, fresh)
}

// feed takes in a segment's payload, and those that have waited for it.
func (c *Correlator) feed(a aheadOf, fresh bool) {
	h := a.leg.tcp.conn.half(a.leg.response)
	if !h.synced && !h.resume(a) {
		c.leave(h, a, fresh)
		return
	}
	switch behind := int(int32(h.next - a.seq)); {
	case behind < 0:
		if h.ahead = append(h.ahead, a); len(h.ahead) > maxAhead {
			h.skip()
		} else {
			return
		}
	case behind > 0:
		c.repeat(h, a, fresh)
		if behind >= a.size {
			return
		}
		c.take(h, aheadOf{a.leg, h.next, a.payload[min(behind, len(a.payload)):], a.size - behind})
	default:
		c.take(h, a)
	}
	for i := h.follows(); i >= 0; i = h.follows() {
		next := h.ahead[i]
		h.ahead = slices.Delete(h.ahead, i, i+1)
		c.feed(next, true)
	}
}

// follows returns which of the segments that came too early is next, or -1.
func (h *half) follows() int {
	return slices.IndexFunc(h.ahead, func(a aheadOf) bool {
		behind := int32(h.next - a.seq)
		return h.synced && behind >= 0 || h.hole.open && behind > 0
	})
}

// skip gives up the bytes before the first segment that came too early.
func (h *half) skip() {
	first := h.ahead[0]
	for _, a := range h.ahead {
		if int32(a.seq-first.seq) < 0 {
			first = a
		}
	}
	h.msg = nil
	h.synced = startsMessage(first.payload, first.leg.response)
	h.next = first.seq
	if !h.synced {
		h.ahead = nil
	}
}

// startsMessage reports whether a segment seems to begin with a DNS message: its
// length, then a header with the right QR bit and a known opcode, and one question
// that can be read, as far as it is there.
func startsMessage(b []byte, response bool) bool {
	const prefix = 2
	if len(b) < prefix+headerLen {
		return false
	}
	length, flags, questions := be16(b, 0), be16(b, prefix+2), be16(b, prefix+4)
	if length < headerLen || flags>>15 == 1 != response || flags>>11&0xf > 6 || questions != 1 {
		return false
	}
	m := ParseMessage(b[prefix:min(len(b), prefix+int(length))], int(length))
	return m.Name != "" || m.Partial && m.Defect == ""
}

// take adds bytes that follow on the last to the messages that they are of.
func (c *Correlator) take(h *half, a aheadOf) {
	var mine []*tcpMessage
	for a.size > 0 {
		if h.msg == nil {
			h.msg = &tcpMessage{start: h.next}
		}
		m := h.msg
		n := m.take(a.payload, a.size)
		if n == 0 { // a length that was not captured: where the next message begins is not known
			h.tear(m.start, a)
			break
		}
		m.add(a.leg)
		a.payload, a.size = a.payload[min(n, len(a.payload)):], a.size-n
		h.next += uint32(n)
		c.recognise(a.leg.tcp.conn, m, a.leg.response)
		mine = append(mine, m)
		if m.done {
			h.msg = nil
		}
	}
	if len(mine) > 0 && mine[len(mine)-1].done {
		c.settle(mine)
	}
}

// take adds the part of a payload that is the message's, and returns how many
// bytes that is: 0 if it can't be told.
func (m *tcpMessage) take(payload []byte, size int) int {
	var n int
	if m.have < 2 {
		if n = min(2-m.have, size); n > len(payload) {
			return 0
		}
	} else {
		n = min(m.size-m.have, size)
	}
	if len(m.data) == m.have {
		m.data = append(m.data, payload[:min(n, len(payload))]...)
	}
	if m.have += n; m.have == 2 {
		m.size = 2 + int(be16(m.data, 0))
	}
	m.done = m.have == m.size
	return n
}

// recognise reads as much of a message as has come, and finds its lookup.
func (c *Correlator) recognise(conn *connState, m *tcpMessage, response bool) {
	if !response && m.lookup == nil {
		c.ask(conn, m)
	}
	if m.done || len(m.data) >= 2+headerLen {
		message := ParseMessage(m.data[min(2, len(m.data)):], m.size-2)
		if m.done || message.Name != "" {
			m.message = message
		}
	}
	if m.done && len(m.data) < min(m.size, 2+headerLen) && response && m.lookup == nil { // whose it is was not captured
		conn.server.missed = max(conn.server.missed, m.legs[len(m.legs)-1].events[0].Time)
		return
	}
	if m.message != nil && response && m.lookup == nil {
		if m.lookup = conn.asked(m.message); m.lookup != nil {
			m.lookup.answer = m
			conn.answered, conn.replied = m.message.ID, true
		} else if m.done && !(conn.replied && conn.answered == m.message.ID) {
			c.orphan(conn, m)
		}
	}
	l := m.lookup
	if l == nil {
		return
	}
	for _, leg := range m.legs {
		c.own(l, leg)
	}
	if m.message != nil && !response {
		l.question, l.id = m.message, m.message.ID
		c.stories.ask(l)
	}
	c.arrive(l)
}

// arrive notes that all of a lookup's answer has reached the client, if it has.
func (c *Correlator) arrive(l *lookupState) {
	if m := l.answer; m != nil && m.done && !l.reached && m.isHome(l) {
		l.reached, l.arrived = true, l.last
		c.postpone(l)
	}
}

// orphan makes a lookup of an answer whose question was not seen, as the first
// of a connection whose beginning was not. Further messages of a zone transfer
// are none (RFC 5936 section 2.2).
func (c *Correlator) orphan(conn *connState, m *tcpMessage) {
	if conn.begun || m.message.Name == "" {
		return
	}
	l := c.open(m.legs[0].events[0])
	l.conn, l.answer, l.id, m.lookup = conn, m, m.message.ID, l
	conn.lookups = append(conn.lookups, l)
	conn.answered, conn.replied = l.id, true
}

// ask makes a lookup of a question: that of the handshake, if it is the first.
func (c *Correlator) ask(conn *connState, m *tcpMessage) {
	began := m.legs[0].events[0]
	l := conn.first
	if l == nil {
		l = c.open(began)
		l.conn = conn
		conn.lookups = append(conn.lookups, l)
	}
	conn.first = nil
	l.request, m.lookup = m, l
	l.sent = began.Time
	c.postpone(l)
}

// asked returns the oldest lookup that a message may be the answer to, or nil.
func (n *connState) asked(m *Message) *lookupState {
	for _, l := range n.lookups {
		if l.request != nil && l.answer == nil && l.question != nil && l.id == m.ID && l.asks(m) {
			return l
		}
	}
	return nil
}

// repeat gives a segment whose bytes have come before to the lookups whose
// messages they are; one that is not fresh has grown since it was first seen.
func (c *Correlator) repeat(h *half, a aheadOf, fresh bool) {
	a.leg.tcp.again = a.leg.tcp.again || fresh
	for _, l := range a.leg.tcp.conn.lookups {
		for _, m := range []*tcpMessage{l.request, l.answer} {
			if m != nil && m != h.msg && m.overlaps(a) {
				m.add(a.leg)
				c.own(l, a.leg)
			}
		}
		c.arrive(l) // segments that have waited for others may be home already
	}
	if m := h.msg; m != nil && m.overlaps(a) {
		m.add(a.leg)
		if m.lookup != nil {
			c.own(m.lookup, a.leg)
		}
	}
	// What nobody could read may have been of this segment's bytes.
	if fresh && a.leg.holders == 0 && h.missed == 0 && !h.hole.has(a) && (h.msg == nil || !slices.Contains(h.msg.legs, a.leg)) {
		c.forgetLeg(a.leg)
	}
}

// add notes that a segment has bytes of the message.
func (m *tcpMessage) add(leg *legState) {
	if !slices.Contains(m.legs, leg) {
		m.legs = append(m.legs, leg)
	}
}

// overlaps reports whether a segment has bytes of the message, in the same direction.
func (m *tcpMessage) overlaps(a aheadOf) bool {
	if len(m.legs) == 0 || m.legs[0].response != a.leg.response {
		return false
	}
	return int32(m.start-(a.seq+uint32(a.size))) < 0 && int32(a.seq-(m.start+uint32(max(m.size, m.have)))) < 0
}

// settle forgets the segments of whole messages that belong to no open lookup.
func (c *Correlator) settle(messages []*tcpMessage) {
	for _, m := range messages {
		for _, leg := range m.legs {
			if leg.holders == 0 && !leg.forgotten {
				c.forgetLeg(leg)
			}
		}
	}
}

// isHome reports whether all bytes of a message have reached the lookup's client.
func (m *tcpMessage) isHome(l *lookupState) bool {
	var pieces []piece
	for _, leg := range m.legs {
		for _, e := range leg.events {
			if from := int32(e.TCP.Seq - m.start); l.isHome(e) {
				pieces = append(pieces, piece{uint32(max(from, 0)), uint32(max(from+int32(e.TCP.Len), 0))})
			}
		}
	}
	at, gap := missing(pieces)
	return !gap && int(at) >= m.size
}
