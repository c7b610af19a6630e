package tracer

import (
	"hash/maphash"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// asked is who asked what, of a lookup.
type asked struct {
	client
	port   uint16
	server netip.AddrPort
	question
	id    uint16
	start uint64
	tcp   bool
}

// client is who asks, whatever the port. Where the network namespace is only
// that in which the query was first seen on its way, local is false.
type client struct {
	netns uint32
	local bool
	addr  netip.Addr
}

// question is what a lookup asks; its name without case.
type question struct {
	name         string
	qtype, class uint16
}

func askedBy(l *lookupState) asked {
	addr, server, netns := l.asked()
	first := l.first()
	a := asked{
		client: client{netns: netns, local: first.Local || first.Hook == HookOutput && first.Tunnel == nil, addr: addr.Addr()}, port: addr.Port(), server: server,
		start: l.start, tcp: l.conn != nil,
	}
	if q := l.question; q != nil { // else it is a handshake so far
		a.question, a.id = question{name: strings.ToLower(q.Name), qtype: q.Type, class: q.Class}, q.ID
	}
	return a
}

func endedAs(l *lookupState, out *Lookup) *ended {
	e := &ended{ref: out.Ref(), last: out.End}
	if l.reached {
		e.reply, e.arrived = out.Reply, l.arrived
	}
	e.failed = out.Outcome == OutcomeDropped || out.Outcome == OutcomeRejected
	return e
}

// answer returns what the client was told so far, and when; 0: nothing.
func (m *member) answer() (reply *Message, at uint64) {
	switch {
	case m.state == nil:
		return m.reply, m.arrived
	case !m.state.reached:
		return nil, 0
	case m.state.answer != nil:
		return m.state.answer.message, m.state.arrived
	}
	for _, leg := range m.state.legs {
		if leg.isReply() && leg.message != nil {
			return leg.message, m.state.arrived
		}
	}
	return nil, m.state.arrived
}

// answeredJustBefore returns what o's client was told, if that is why m may have
// been asked: it was told before, and not long ago. Else nil.
func answeredJustBefore(o, m *member) *Message {
	if reply, at := o.answer(); at != 0 && at <= m.start && m.start-at <= nearby {
		return reply
	}
	return nil
}

// reference identifies the lookup, which may be open.
func (m *member) reference() Ref {
	if m.state == nil {
		return m.ref
	}
	client, server, _ := m.state.asked()
	return Ref{Start: m.state.start, Client: client, Server: server, DNSID: m.id}
}

// pid returns the process at the client's end; 0 unknown. The kernel says who
// sends a packet when it is sent: that is among its first events.
func (m *member) pid() uint32 {
	if m.state == nil || m.process != 0 || !m.local {
		return m.process
	}
	for _, leg := range m.state.legs {
		if !leg.isQuery() {
			continue
		}
		for _, e := range leg.events[:min(len(leg.events), maxSending)] {
			if e.PID != 0 && e.NetNS == m.netns && e.Freed == nil && e.Probe != ProbeRead {
				m.process = e.PID
				return m.process
			}
		}
		break
	}
	return 0
}

// maxSending is how many events a packet may have until it has left its sender:
// tables and chains of two hooks are most of them.
const maxSending = 24

// sameClient reports whether one client may have asked both.
func sameClient(a, b *member) bool {
	return a.client == b.client && a.class == b.class && !differ(a.pid(), b.pid())
}

// differ reports whether two processes are known not to be the same.
func differ(a, b uint32) bool { return a != 0 && b != 0 && a != b }

// index finds lookups by a hash. Its users compare what they find.
type index struct {
	heads map[uint64]*member // the newest of each hash
	which int                // of member.chain
}

// chain has a member's neighbours among those with its hash.
type chain struct {
	key          uint64
	newer, older *member
	in           bool
}

func newIndex(which int) index { return index{heads: map[uint64]*member{}, which: which} }

func (x *index) add(m *member, key uint64) {
	older := x.heads[key]
	m.chain[x.which] = chain{key: key, older: older, in: true}
	if older != nil {
		older.chain[x.which].newer = m
	}
	x.heads[key] = m
}

func (x *index) remove(m *member) {
	c := m.chain[x.which]
	if !c.in {
		return
	}
	if c.older != nil {
		c.older.chain[x.which].newer = c.newer
	}
	switch {
	case c.newer != nil:
		c.newer.chain[x.which].older = c.older
	case c.older != nil:
		x.heads[c.key] = c.older
	default:
		delete(x.heads, c.key)
	}
	m.chain[x.which] = chain{}
}

// find appends those of a hash that match, the newest first. It looks at so many.
func (x *index) find(to []*member, key uint64, look int, match func(*member) bool) []*member {
	m := x.heads[key]
	for range look {
		if m == nil {
			break
		}
		if match(m) {
			to = append(to, m)
		}
		m = m.chain[x.which].older
	}
	return to
}

func (s *stories) clientKey(m *member) uint64 {
	return maphash.Comparable(s.seed, struct {
		client
		label string
	}{m.client, m.name[:labelEnd(m.name)]})
}

func (s *stories) questionKey(m *member) uint64 { return maphash.Comparable(s.seed, m.question) }

// labelEnd returns where the first label of a name ends.
func labelEnd(name string) int {
	next, end := dns.NextLabel(name, 0)
	if end && !dns.IsFqdn(name) {
		return len(name)
	}
	return max(next-1, 0)
}

// remember keeps a lookup that has ended findable for a while.
func (s *stories) remember(m *member) {
	if s.newest != nil {
		s.newest.next = m
	} else {
		s.oldest = m
	}
	s.newest = m
	s.remembered++
	if s.remembered > maxRemembered {
		s.forgetOldest()
	}
}

// forget lets go of those that no lookup to come can refer to.
func (s *stories) forget() {
	for s.oldest != nil && s.oldest.last+nearby < s.now {
		s.forgetOldest()
	}
}

func (s *stories) forgetOldest() {
	m := s.oldest
	s.clients.remove(m)
	s.oldest, m.next = m.next, nil
	if s.oldest == nil {
		s.newest = nil
	}
	s.remembered--
}
