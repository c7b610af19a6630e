package capture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dnspath/dnspath/internal/render"
)

// settled are the outcomes that rest on something that was seen on the client's
// node: no other node can tell better.
func settled(outcome string) bool { return outcome != "lost" && outcome != "incomplete" }

// failed are the ends of a packet that make a lookup's outcome.
func failed(outcome string) bool { return outcome == "dropped" || outcome == "rejected" }

// judge sets the record's outcome from what all nodes saw.
func (w *whole) judge() {
	base := w.parts[0].record
	if settled(base.Outcome) {
		if failed(base.Outcome) && len(w.c.nodes) > 1 {
			base.Detail = on(base.Detail, w.c.nodes[w.parts[0].l.node].name)
		}
		return
	}
	if p := w.fate(); p != nil {
		base.Outcome, base.Detail = p.record.Outcome, on(p.record.Detail, w.c.nodes[p.l.node].name)
		return
	}
	if base.Outcome == "lost" && len(w.c.nodes) > 1 {
		w.tellLoss()
	}
}

// on adds the node to what happened there, unless its namespace is called so.
func on(detail, node string) string {
	switch {
	case detail == "":
		return "on " + node
	case strings.HasSuffix(detail, ", in "+node):
		return detail
	}
	return detail + ", on " + node
}

// fate returns the part in which the newest packet ended, a reply's rather than
// a query's, if its node saw it end and judged by that.
func (w *whole) fate() *part {
	for _, reply := range []bool{true, false} {
		for _, c := range slices.Backward(w.chains) {
			p := w.by[c.last().lookup]
			if c.reply == reply && p != w.parts[0] && failed(p.l.outcome) && w.ended(c.last()) {
				return p
			}
		}
	}
	return nil
}

// ended reports whether a node saw a packet's end. What is freed after it was
// read was a copy.
func (w *whole) ended(r ref) bool {
	hops := w.by[r.lookup].record.Legs[r.leg].Hops
	return slices.ContainsFunc(hops, func(h render.Hop) bool { return h.Drop != nil || h.ICMP != nil }) &&
		!slices.ContainsFunc(hops, func(h render.Hop) bool { return h.Hop == "read" })
}

// tellLoss says of a lost lookup how far its packets came: its newest reply if
// any node saw one, else its newest query. Of TCP, the newest segment that the
// client sent.
func (w *whole) tellLoss() {
	var newest *chain
	for i, c := range w.chains {
		if w.leg(c.last()).icmp || w.parts[0].l.tcp && c.reply || len(w.by[c.last().lookup].record.Legs[c.last().leg].Hops) == 0 {
			continue
		}
		if newest == nil || c.reply || !newest.reply {
			newest = &w.chains[i]
		}
	}
	if newest == nil {
		return
	}
	base, last := w.parts[0].record, newest.last()
	p, g := w.by[last.lookup], w.leg(last)
	if p != w.parts[0] && !newest.reply && p.record.Outcome == "lost" {
		base.Detail = p.record.Detail
	}
	what := "the query"
	if g.kind != "" {
		what = "the newest packet of the query (" + g.kind + ")"
	}
	if newest.reply {
		what, base.Detail = "a reply", "a reply was on its way and did not arrive"
	}
	hops := p.record.Legs[last.leg].Hops
	base.Detail += fmt.Sprintf("; %s was last seen on %s: %s", what, w.c.nodes[p.l.node].name, place(&hops[len(hops)-1]))
	if g.out.wire {
		if said, sure := w.beyond(last); sure {
			base.Detail += "; " + said
		} else {
			base.Incomplete, base.Why = true, append(base.Why, said)
		}
	}
}

// place says in short where a hop was.
func place(h *render.Hop) string {
	parts := []string{h.Hop, h.Hook}
	if h.Hook == "" {
		parts[1] = h.Dev
	}
	s := strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
	if h.NetNSName != "" {
		s += " in " + h.NetNSName
	}
	return s
}

// beyond says what is known of the node that a packet was on its way to, and
// whether that node, if it is known, would have seen it.
func (w *whole) beyond(out ref) (said string, sure bool) {
	g, l := w.leg(out), w.of(out)
	n, ok := w.places[g.to()]
	if !ok || n == several || n == l.node {
		return "it was on its way to " + g.to().String() + ", and no export tells where that is", true
	}
	name := w.c.nodes[n].name
	o, known := w.clocks.between(l.node, n, g.out.at)
	if !known {
		return fmt.Sprintf("%s's export has not seen it, but the two clocks can't be compared", name), false
	}
	s := w.c.nodes[n].covering(g.out.at+o.ns, o.error+slackWire)
	switch {
	case s == nil:
		return fmt.Sprintf("%s's export does not cover that time", name), false
	case s.to == 0:
		return fmt.Sprintf("%s's export is cut short, and does not have it", name), false
	case s.lost != "":
		return fmt.Sprintf("%s's export does not have it, but lost some: %s", name, s.lost), false
	case s.unread != "":
		return fmt.Sprintf("%s's export does not have it, but could not be read as a whole: %s", name, s.unread), false
	case !s.selected:
		return fmt.Sprintf("%s's export does not have it, and does not tell whether it leaves lookups out", name), false
	case s.leavesOut(g.out.server.Port()) != "":
		return fmt.Sprintf("%s's export does not have it, and leaves lookups out: %s", name, s.leavesOut(g.out.server.Port())), false
	case l.tcp && w.conns[conn{n, g.out.client, g.out.server}]:
		return fmt.Sprintf("%s's export has this connection, and not this packet of it", name), false
	case w.alike(out, n):
		return fmt.Sprintf("%s's export has packets like it that can't be told apart", name), false
	}
	return fmt.Sprintf("%s's export covers that time and has not seen it", name), true
}

// covering returns a session in which the node observed all the time around t,
// by its clock, or else one that may have: cut short, so that nobody knows when
// it ended.
func (n *node) covering(t, margin int64) *session {
	var open *session
	for _, s := range n.sessions {
		if !s.started || t-margin < s.from {
			continue
		}
		if s.to == 0 {
			open = s
		} else if t+margin <= s.to {
			return s
		}
	}
	return open
}

// leavesOut returns the flags that may have left a lookup of this port out of a
// session. That of namespaces has not where packets to that address came before.
func (s *session) leavesOut(port uint16) string {
	out := slices.DeleteFunc(slices.Clone(s.selection), func(flag string) bool {
		return strings.HasPrefix(flag, "--netns ") || strings.HasPrefix(flag, "--port ")
	})
	ports := "--port 53" // what is observed by default
	for _, flag := range s.selection {
		if strings.HasPrefix(flag, "--port ") {
			ports = flag
		}
	}
	if list := strings.Split(strings.TrimPrefix(ports, "--port "), ","); !slices.Contains(list, strconv.Itoa(int(port))) {
		out = append(out, ports)
	}
	return strings.Join(out, ", ")
}

// alike reports whether a node saw packets of the same content that nothing has
// claimed.
func (w *whole) alike(out ref, n int) bool {
	l, g := w.of(out), w.leg(out)
	m := w.meetings[l.key(g, &g.out)]
	return m != nil && slices.ContainsFunc(m.ins, func(in ref) bool {
		_, claimed := w.prev[in]
		return !claimed && w.node(in) == n
	})
}

// merge adds to the record what other nodes know beyond the client's.
func (w *whole) merge() {
	base := w.parts[0].record
	for _, p := range w.parts[1:] {
		r := p.record
		if base.Name == "" {
			base.Name, base.QType = r.Name, r.QType
		}
		if base.Rcode == "" {
			base.Rcode, base.Answers, base.Truncated = r.Rcode, r.Answers, r.Truncated
		}
		if base.Defect == "" {
			base.Defect = r.Defect
		}
		if r.Backend != nil {
			base.Backend = r.Backend
		} else if r.Server != nil && base.Server != nil && *r.Server != *base.Server && base.Backend == nil {
			base.Backend = r.Server
		}
		// That a node saw no query, or its trace ended early, matters there alone.
		for _, why := range r.Why {
			base.Why = append(base.Why, w.c.nodes[p.l.node].name+": "+why)
		}
		base.Incomplete = base.Incomplete || r.Incomplete
	}
}
