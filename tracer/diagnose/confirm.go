package diagnose

import (
	"fmt"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// unconfirmed reports whether a packet was dropped as its new connection was to be
// entered into conntrack (__nf_conntrack_confirm): the table has an entry that
// it clashes with. Where that was not seen, the packet has an entry that is not in
// the table yet, and no rule dropped it; then the clash itself has to be found.
func (c *Case) unconfirmed(h *tracer.Hop) bool {
	switch {
	case !refused(h) || h.CT == nil || h.Tunnel != nil:
		return false
	case h.Drop.Confirm:
		return true
	case h.CT.Status&ctConfirmed != 0 || c.refusedByRule(h) || h.Drop.By != nil:
		return false
	}
	return h.Drop.Hook == "" || h.Drop.Hook == tracer.HookPostrouting || h.Drop.Hook == tracer.HookInput
}

// clash returns the entry that has the place of another: replies to both would
// look the same; nil if there is none now.
func (c *Case) clash(ns NetNS, ct *tracer.Conntrack) *ConntrackEntry {
	entries, _ := read(c, ns, "conntrack's entries", func() ([]ConntrackEntry, error) { return ns.ConntrackEntries(ct.Orig.Dst.Addr()) })
	for i := range entries {
		if e := &entries[i]; e.Transport == c.Transport && e.Reply == ct.Reply && e.Orig != ct.Orig {
			return e
		}
	}
	return nil
}

// snatPortsExhausted finds a query that was to get another source address, and for
// which no port of that was left: NAT gives up, and conntrack refuses the entry.
func snatPortsExhausted(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, h := range c.Drops() {
		if leg.Response || !c.unconfirmed(h) || h.CT.Reply.Dst.Addr() == h.CT.Orig.Src.Addr() {
			continue
		}
		if f := c.exhausted(leg, h); f != nil {
			return f
		}
	}
	return nil
}

// exhausted says whose ports are used up; nil if there is no proof.
func (c *Case) exhausted(leg *tracer.Leg, h *tracer.Hop) *tracer.Finding {
	ns, ct := c.NetNS(h.NetNS), h.CT
	from := ct.Reply.Dst.Addr()
	e := c.clash(ns, ct)
	if e == nil && !h.Drop.Confirm {
		return nil
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("%s has no source port of %s left for queries to %s: the query is dropped", ns.Name(), from, ct.Reply.Src),
		Evidence: []string{
			fmt.Sprintf("%s dropped the %s as it was to be entered into conntrack: %s", ns.Name(), legName(leg), dropText(h)),
			fmt.Sprintf("it was to go from %s, to %s", ct.Reply.Dst, ct.Reply.Src),
		},
		Mend: []string{
			inNS(ns, "iptables-save -t nat | grep -e SNAT -e MASQUERADE: allow more ports (--to-source ADDR:1024-65535), or more addresses"),
			"have clients reuse a connection: a node-local DNS cache that asks over TCP",
		},
	}
	if e != nil {
		f.Confidence = tracer.ConfidenceConfirmed
		f.Evidence = append(f.Evidence, fmt.Sprintf("that is taken: %s", e.text()))
	}
	if s, ok := read(c, ns, "conntrack's table", ns.Conntrack); ok && s.Stats["insert_failed"] > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("conntrack has refused %d entries there (insert_failed)", s.Stats["insert_failed"]))
	}
	return f
}

// raceWithin is how close two queries of one socket are that race for an entry.
const raceWithin = 10 * time.Millisecond

// conntrackRace finds one of two queries that one socket sent at the same time,
// mostly those for A and AAAA: each gets an entry of its own on another CPU, and
// conntrack refuses the second. Since 5.7 it mostly resolves that (6a757c07e51f).
func conntrackRace(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, h := range c.Drops() {
		if leg.Response || !h.Drop.Confirm || h.CT == nil || h.CT.Reply.Dst != h.CT.Orig.Src {
			continue
		}
		other := c.racing()
		if other == nil {
			continue
		}
		ns := c.NetNS(h.NetNS)
		return &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Summary:    fmt.Sprintf("two queries of one socket (%s) raced through conntrack in %s, which dropped the second", c.Client, ns.Name()),
			Evidence: []string{
				fmt.Sprintf("%s dropped the %s as it was to be entered into conntrack: %s", ns.Name(), legName(leg), dropText(h)),
				fmt.Sprintf("the same socket asked for %s %v before or after it", other.Question.Name, apart(c.Lookup, other)),
			},
			Mend: []string{
				"a kernel of 5.7 or later resolves most of these clashes",
				"a node-local DNS cache, or in the pod's resolv.conf: options single-request-reopen (glibc) or use-vc",
			},
		}
	}
	return nil
}

// racing returns another lookup of the same socket that began at the same time.
func (c *Case) racing() *tracer.Lookup {
	for _, l := range c.story {
		if l != c.Lookup && l.Client == c.Client && l.Server == c.Server && apart(c.Lookup, l) <= raceWithin {
			return l
		}
	}
	return nil
}

func apart(a, b *tracer.Lookup) time.Duration {
	if a.Start < b.Start {
		a, b = b, a
	}
	return time.Duration(a.Start - b.Start)
}
