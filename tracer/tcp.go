package tracer

import (
	"slices"
	"time"
)

// connIdle is how long a connection may be silent before it is forgotten. What
// it carries later is taken for the middle of a connection, as when a trace begins.
const connIdle = uint64(2 * time.Minute)

// connState is a TCP connection to a DNS port.
type connState struct {
	keys     []flowKey
	client   half           // what the client sends
	server   half           // what the server sends
	legs     []*legState    // of its open lookups, and those that are nobody's yet
	lookups  []*lookupState // open, in the order of their questions
	first    *lookupState   // opened by the SYN; nil once there is a question
	last     uint64         // newest event
	over     bool           // somebody has closed or reset it
	begun    bool           // its SYN was seen
	opened   bool           // the SYN has opened a lookup
	replied  bool           // a question was answered
	answered uint16         // its ID
	gone     bool           // it is forgotten
}

// appointment is when to look whether a connection is still needed.
type appointment struct {
	conn *connState
	due  uint64
}

// segment is what a leg over TCP carries.
type segment struct {
	conn  *connState
	kind  string // as in Leg.Segment
	seq   uint32
	read  uint16 // bytes of its payload that were taken in
	again bool   // its bytes were seen before
}

// is reports whether t may be the same segment.
func (s *segment) is(t *TCP) bool { return s.seq == t.Seq && s.kind == segmentKind(t) }

// segmentKind names a segment by what matters most of it.
func segmentKind(t *TCP) string {
	switch {
	case t.RST:
		return "RST"
	case t.SYN && t.ACK:
		return "SYN-ACK"
	case t.SYN:
		return "SYN"
	case t.Len > 0:
		return "data"
	}
	return "FIN"
}

// half returns what one side of the connection sends.
func (n *connState) half(response bool) *half {
	if response {
		return &n.server
	}
	return &n.client
}

// unanswered returns the open lookups without a whole answer.
func (n *connState) unanswered() []*lookupState {
	var open []*lookupState
	for _, l := range n.lookups {
		if !l.reached {
			open = append(open, l)
		}
	}
	return open
}

// drop takes a lookup that has closed, and the legs that nobody holds any more,
// out of the connection.
func (n *connState) drop(l *lookupState) {
	if n.first == l {
		n.first = nil
	}
	n.lookups = slices.DeleteFunc(n.lookups, func(o *lookupState) bool { return o == l })
	n.sweep()
}

// sweep takes out the legs that are forgotten.
func (n *connState) sweep() {
	n.legs = slices.DeleteFunc(n.legs, func(leg *legState) bool { return leg.forgotten })
}

// findSegment is find for a TCP segment.
func (c *Correlator) findSegment(e *Event) *legState {
	conn := c.connOf(e)
	if conn == nil {
		if conn = c.connect(e); conn == nil {
			c.count.Stragglers++
			return nil
		}
	}
	conn.last = max(conn.last, e.Time)
	for _, leg := range slices.Backward(conn.legs) {
		if leg.continues(e) && (e.Freed != nil || !leg.again(e)) {
			if leg.forgotten {
				c.count.Stragglers++
				return nil
			}
			return leg
		}
	}
	if e.Freed != nil {
		return nil
	}
	if leg := conn.readBy(e); leg != nil {
		return leg
	}
	return c.newSegment(conn, e)
}

// readBy returns the segment that a process reads with e from another packet's
// buffer, or nil. What comes to a socket that is in use is appended to the packet
// that waits for it last, since 5.0: often to a mere acknowledgement, which has
// the same sequence number (net/ipv4/tcp_ipv4.c, tcp_add_backlog).
func (n *connState) readBy(e *Event) *legState {
	if e.Probe != ProbeRead {
		return nil
	}
	for _, leg := range n.legs {
		if leg.carries(e) && !leg.forgotten && !leg.read && leg.waitsIn(e.NetNS) {
			return leg
		}
	}
	return nil
}

// waitsIn reports whether a packet was last seen in this namespace, and not to end there.
func (l *legState) waitsIn(netns uint32) bool {
	if len(l.events) == 0 {
		return false
	}
	last := l.events[len(l.events)-1]
	return last.NetNS == netns && last.Freed == nil
}

// connOf returns the connection that a segment is of, or nil. A SYN with
// another sequence number than the last one's begins a new connection.
func (c *Correlator) connOf(e *Event) *connState {
	var buf [3]flowKey
	for _, key := range keysOf(e, &buf) {
		if conn := c.conns[key]; conn != nil {
			if segmentKind(e.TCP) == "SYN" && conn.client.next != e.TCP.Seq+1 && !conn.opensWith(e.TCP.Seq) {
				continue
			}
			return conn
		}
	}
	return nil
}

// opensWith reports whether a SYN with this sequence number has opened the connection.
func (n *connState) opensWith(seq uint32) bool { return n.client.synced && n.client.isn == seq }

// connect starts a connection with a segment of one that is not known, if that
// is worth it: a SYN, or a message in the middle.
func (c *Correlator) connect(e *Event) *connState {
	kind := segmentKind(e.TCP)
	if e.Freed != nil || kind == "FIN" || kind == "RST" {
		return nil
	}
	key := flowOf(e, Flow{e.Src, e.Dst})
	if kind != "SYN" && c.wasOver.has(key) {
		return nil
	}
	for c.idle.len() >= c.maxLookups {
		c.forget(c.idle.pop().conn)
	}
	conn := &connState{last: e.Time}
	if kind == "SYN" {
		conn.begun = true
		conn.client.start(e.TCP.Seq)
		c.wasOver.remove(key)
	}
	c.idle.push(appointment{conn, conn.last + connIdle})
	c.indexConn(key, conn)
	return conn
}

func (c *Correlator) indexConn(key flowKey, conn *connState) {
	if c.conns[key] == conn || conn.gone {
		return
	}
	conn.keys = append(conn.keys, key)
	c.conns[key] = conn
}

// newSegment starts a leg, and says whose it is as far as the segment's kind
// tells; who sent or gets a payload, only its bytes tell.
func (c *Correlator) newSegment(conn *connState, e *Event) *legState {
	leg := &legState{response: e.Response, tcp: &segment{conn: conn, kind: segmentKind(e.TCP), seq: e.TCP.Seq}, attempt: 1}
	for _, other := range conn.legs {
		if other.response == leg.response && other.tcp.seq == leg.tcp.seq && other.tcp.kind == leg.tcp.kind {
			leg.attempt++
		}
	}
	leg.tcp.again = leg.attempt > 1
	owners := conn.unanswered()
	switch leg.tcp.kind {
	case "SYN":
		if !conn.opened { // else its lookup's time is up, or over
			conn.opened = true
			conn.first = c.open(e)
			conn.first.conn = conn
			conn.lookups = append(conn.lookups, conn.first)
			owners = []*lookupState{conn.first}
		}
	case "SYN-ACK":
		conn.server.start(e.TCP.Seq)
	case "data":
		owners = nil
	}
	if e.TCP.FIN || e.TCP.RST {
		c.over(conn)
	}
	if len(conn.legs) >= maxConnLegs {
		conn.sweep()
	}
	if leg.tcp.kind != "data" && len(owners) == 0 || len(conn.legs) >= maxConnLegs {
		if e.Packet != 0 {
			c.closed.add(e.Packet) // it says nothing about any lookup
		}
		c.count.Stragglers++
		return nil
	}
	conn.legs = append(conn.legs, leg)
	for _, l := range owners {
		c.hold(l, leg)
	}
	return leg
}

// over notes that a connection is being closed.
func (c *Correlator) over(conn *connState) {
	if !conn.over {
		conn.over = true
		c.ending.push(appointment{conn, conn.last + c.linger})
	}
}

// own gives a leg that is already under way to a lookup.
func (c *Correlator) own(l *lookupState, leg *legState) {
	if leg.forgotten || slices.Contains(l.legs, leg) || !c.hold(l, leg) {
		return
	}
	l.span(leg)
}

// span widens the lookup's time to that of a leg.
func (l *lookupState) span(leg *legState) {
	for _, e := range leg.events {
		l.start, l.last = min(l.start, e.Time), max(l.last, e.Time)
	}
}

// review forgets the connection of an appointment if nobody needs it any more,
// or makes another one.
func (c *Correlator) review(a appointment) {
	conn := a.conn
	switch {
	case conn.gone:
	case conn.over && len(conn.lookups) == 0:
		c.forget(conn)
	case conn.over:
		c.ending.push(appointment{conn, a.due + c.timeout})
	case len(conn.lookups) > 0 || conn.last+connIdle > a.due:
		c.idle.push(appointment{conn, a.due + connIdle})
	default:
		c.forget(conn)
	}
}

// forget takes a connection out of all indices. Its open lookups go on without.
func (c *Correlator) forget(conn *connState) {
	if conn.gone {
		return
	}
	conn.gone = true
	for _, key := range conn.keys {
		if c.conns[key] == conn {
			delete(c.conns, key)
		}
		if conn.over {
			c.wasOver.add(key)
		}
	}
	for _, leg := range conn.legs {
		if leg.holders == 0 {
			c.forgetLeg(leg)
		}
	}
	conn.sweep()
}
