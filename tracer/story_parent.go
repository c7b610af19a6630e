package tracer

import (
	"slices"
)

// cause ties m to the lookup that made its client ask: one for the same question
// that had reached that client, as a server, and waits for its answer. Of several
// it is the oldest that has caused none yet. It reports whether there is one.
func (s *stories) cause(m *member) bool {
	if p, how := parentByKin(m); p != nil {
		s.adopt(p, m, how)
		return true
	}
	s.parents = s.questions.find(s.parents[:0], s.questionKey(m), maxLook, func(o *member) bool {
		return o.question == m.question && mayCause(o, m) && !differ(o.reader(m.client, m.start), m.pid())
	})
	if len(s.parents) == 1 {
		s.adopt(s.parents[0], m, "")
		return true
	}
	for _, p := range slices.Backward(s.parents) {
		if p.children == 0 {
			s.adopt(p, m, HowInferred)
			return true
		}
	}
	return false
}

// parentByKin returns the parent of a lookup that m goes on with, and how that
// is known: a retry, or the same at another server, or over TCP, has the same cause.
func parentByKin(m *member) (p *member, how string) {
	for _, t := range m.ties {
		if t.to.parent == nil || t.to.question != m.question || !mayCause(t.to.parent, m) {
			continue
		}
		for _, u := range t.to.ties {
			if u.kind == LinkParent {
				return u.to, u.how
			}
		}
	}
	return nil, ""
}

func (s *stories) adopt(p, m *member, how string) {
	p.children++
	m.parent = p
	s.bind(m, p, LinkParent, how)
}

// mayCause reports whether p was with m's client when m was asked, and not yet
// answered.
func mayCause(p, m *member) bool {
	if p.state == nil || p.start > m.start || p.server == m.server {
		return false
	}
	at := p.deliveredTo(m.client, m.start)
	if at == 0 {
		return false
	}
	// One that asks again is no server of itself, unless the same process reads and asks.
	return p.client != m.client || p.reader(m.client, m.start) != 0 && p.reader(m.client, m.start) == m.pid()
}

// deliveredTo returns when the query of p was first seen to be with a server, by
// a time, if no reply of it was seen by then; else 0.
func (m *member) deliveredTo(server client, by uint64) (at uint64) {
	for _, leg := range m.state.legs {
		if len(leg.events) == 0 || leg.quote != nil || leg.tcp != nil && leg.tcp.kind != "data" {
			continue
		}
		first := leg.events[0]
		switch {
		case first.Time > by:
			continue
		case leg.response:
			return 0
		case at != 0:
			continue
		}
		for _, e := range slices.Backward(leg.events) {
			if e.Time <= by && e.arrivedAt(server) {
				at = e.Time
				break
			}
		}
	}
	return at
}

// arrivedAt reports whether an event shows a query at a server, or where what the
// server sends is seen first: on its way to the server's address, or to a socket.
func (e *Event) arrivedAt(server client) bool {
	if e.Tunnel != nil || e.Freed != nil && !readers[e.Freed.Function] {
		return false
	}
	return e.NetNS == server.netns && (e.Dst.Addr() == server.addr || server.local && e.delivers())
}

// delivers reports whether an event is of a packet that stays in this namespace.
func (e *Event) delivers() bool {
	switch e.Probe {
	case ProbeSkDataReady, ProbeRead, ProbeUDPConsume, ProbeUDPEnqueue, ProbeDeliver, ProbeDeliver6:
		return true
	}
	return e.Hook == HookInput || e.Freed != nil && readers[e.Freed.Function]
}

// reader returns the process that had read the query of m there by a time; 0 unknown.
func (m *member) reader(server client, by uint64) uint32 {
	if m.out != nil {
		return readerIn(m.out, server.netns)
	}
	if m.state == nil || !server.local {
		return 0
	}
	for _, leg := range m.state.legs {
		for _, e := range leg.events {
			read := e.Probe == ProbeRead || e.Probe == ProbeUDPConsume || e.Freed != nil && readers[e.Freed.Function]
			if leg.isQuery() && read && e.PID != 0 && e.NetNS == server.netns && e.Time <= by {
				return e.PID
			}
		}
	}
	return 0
}

// readerIn returns the process that read the query in a namespace; 0 unknown.
func readerIn(l *Lookup, netns uint32) uint32 {
	for i := range l.Legs {
		for _, h := range l.Legs[i].Hops {
			if !l.Legs[i].Response && h.Name == "read" && h.PID != 0 && h.NetNS == netns {
				return h.PID
			}
		}
	}
	return 0
}
