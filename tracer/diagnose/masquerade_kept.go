package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/dnspath/dnspath/tracer"
)

// Bits of enum ip_conntrack_status (include/uapi/linux/netfilter/nf_conntrack_common.h).
const (
	ctSeenReply = 1 << 1
	ctConfirmed = 1 << 3
	ctSrcNAT    = 1 << 4
	ctDying     = 1 << 9
)

// kept is a source that conntrack chose for a flow's first packet, and keeps,
// though the flow leaves by another device now.
type kept struct {
	leg *tracer.Leg
	hop *tracer.Hop // that leaves by the new device, or was to
	ns  NetNS
	own *Link // that has the source; nil if that can't be read
	ct  *tracer.Conntrack
	why []string // how it is known that the flow left by the old device before
}

// keptSource finds a query whose route has changed since conntrack chose its source.
// The kernel drops the first such query of a masqueraded flow, and its entry
// (nf_nat_oif_changed in net/netfilter/nf_nat_core.c); what has another SNAT leaves
// with the old source, until its entry expires.
func keptSource(c *Case) *tracer.Finding {
	for leg, h := range c.Drops() {
		if k := c.killed(leg, h); k != nil {
			return c.explainKilled(k)
		}
	}
	if c.Outcome != tracer.OutcomeLost {
		return nil
	}
	if k := c.leftAsOther(); k != nil {
		return c.explainKept(k)
	}
	return nil
}

// killed returns the flow of a query that was dropped with its entry, by NAT. That
// the entry is dying tells it from other drops of netfilter, and the device that has
// the source.
func (c *Case) killed(leg *tracer.Leg, h *tracer.Hop) *kept {
	const status = ctConfirmed | ctSrcNAT | ctDying
	postrouting := h.Drop.Hook == tracer.HookPostrouting || h.Drop.Hook == ""
	if leg.Response || !refused(h) || !postrouting || h.Tunnel != nil || h.CT == nil || h.CT.Status&status != status || c.refusedByRule(h) {
		return nil
	}
	ns := c.NetNS(h.NetNS)
	links, ok := read(c, ns, "devices", ns.Links)
	if !ok && h.Drop.Hook == "" {
		return nil
	}
	k := &kept{leg: leg, hop: h, ns: ns, ct: h.CT, own: c.ownAddr(ns, h.CT.Reply.Dst.Addr())}
	if len(links) > 0 && (k.own == nil || k.own.Name == h.Dev) {
		return nil
	}
	return k
}

func (c *Case) explainKilled(k *kept) *tracer.Finding {
	from, ns := k.ct.Reply.Dst.Addr(), k.ns.Name()
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary: fmt.Sprintf("the route of %s to %v has changed to %s since the flow of port %d was masqueraded as %v: NAT drops the query, and forgets the flow",
			ns, k.hop.Dst.Addr(), k.hop.Dev, k.ct.Orig.Src.Port(), from),
		Evidence: []string{
			fmt.Sprintf("%s dropped the %s %v → %v at %s: %s", ns, legName(k.leg), k.hop.Src, k.hop.Dst, k.hop.Dev, dropText(k.hop)),
			fmt.Sprintf("its conntrack entry, which has %v as its source, was deleted with it", k.ct.Reply.Dst),
		},
		Mend: []string{
			"nothing, if the route changed once: the client's next query gets a new entry, with the address of the new device",
			inNS(k.ns, fmt.Sprintf("ip monitor route, to see what changes the route to %v, if that goes on", k.hop.Dst.Addr())),
		},
	}
	if k.own != nil {
		f.Confidence = tracer.ConfidenceConfirmed
		f.Evidence = append(f.Evidence, fmt.Sprintf("%v is the address of %s, not of %s", from, k.own.Name, k.hop.Dev))
	}
	return f
}

// exit is how the queries of a lookup left a namespace that gave them a source.
type exit struct {
	netns    uint32
	dev      string
	from, to netip.AddrPort // the source before, and after
	dst      netip.AddrPort
}

// exitOf returns how a query left, and where; nil if nothing rewrote its source.
func exitOf(leg *tracer.Leg) (*exit, *tracer.Hop) {
	for i := range leg.Hops {
		h := &leg.Hops[i]
		for ch := h.Change; ch != nil; ch = ch.Also {
			if ch.Kind != tracer.ChangeSNAT || ch.To.Addr() == ch.From.Addr() {
				continue
			}
			for j := i; j < len(leg.Hops); j++ {
				if tx := &leg.Hops[j]; tx.NetNS == h.NetNS && tx.Name == "tx" && tx.Tunnel == nil && tx.Src == ch.To {
					return &exit{netns: tx.NetNS, dev: tx.Dev, from: ch.From, to: ch.To, dst: tx.Dst}, tx
				}
			}
		}
	}
	return nil, nil
}

// exitOfLookup is exitOf of the first query that has one.
func exitOfLookup(l *tracer.Lookup) *exit {
	for i := range l.Legs {
		if leg := &l.Legs[i]; !leg.Response && leg.Error == nil {
			if e, _ := exitOf(leg); e != nil {
				return e
			}
		}
	}
	return nil
}

// leftAsOther returns the flow of a lost query that was seen last as it left by one
// device with the address of another, if earlier lookups prove that this has changed.
func (c *Case) leftAsOther() *kept {
	for i := range c.Legs {
		if leg := &c.Legs[i]; leg.Response || leg.Error != nil {
			return nil
		}
	}
	if len(c.Legs) == 0 {
		return nil
	}
	leg := &c.Legs[len(c.Legs)-1]
	e, tx := exitOf(leg)
	if e == nil || tx != &leg.Hops[len(leg.Hops)-1] {
		return nil
	}
	ns := c.NetNS(e.netns)
	k := &kept{leg: leg, hop: tx, ns: ns, ct: entryIn(leg, e), own: c.ownAddr(ns, e.to.Addr())}
	if k.own == nil || k.own.Name == e.dev || k.ct == nil {
		return nil
	}
	if k.why = c.leftBefore(e, k); k.why == nil {
		return nil
	}
	return k
}

// entryIn returns the conntrack entry of a query that left so, if that was answered
// before: then no rule has looked at this query.
func entryIn(leg *tracer.Leg, e *exit) *tracer.Conntrack {
	for i := range leg.Hops {
		ct := leg.Hops[i].CT
		if leg.Hops[i].NetNS == e.netns && leg.Hops[i].Tunnel == nil && ct != nil && ct.Status&ctSeenReply != 0 && ct.Reply.Dst == e.to {
			return ct
		}
	}
	return nil
}

// leftBefore says which earlier lookups prove that a flow left by the device whose
// address it has, or that queries get another one now; nil if none do.
func (c *Case) leftBefore(e *exit, k *kept) []string {
	new := c.device(k.ns, e.dev)
	for p := range c.history.all() {
		x := p.exit
		if x == nil || p.failed() || x.netns != e.netns || x.dst != e.dst || p.start > c.Start || p.end+backendMemory < c.Start {
			continue
		}
		switch {
		case x.from == e.from && x.to == e.to && x.dev == k.own.Name:
			return []string{fmt.Sprintf("%s, asked from the same port, left by %s as %v, and was answered", p.name, x.dev, x.to)}
		case x.dev == e.dev && new != nil && has(new, x.to.Addr()):
			return []string{fmt.Sprintf("%s, asked from %v, left by %s as %v, and was answered", p.name, x.from, x.dev, x.to)}
		}
	}
	return nil
}

func has(l *Link, addr netip.Addr) bool {
	return slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr() == addr })
}

func (c *Case) explainKept(k *kept) *tracer.Finding {
	from, to, ns := k.ct.Orig.Src, k.hop.Src, k.ns.Name()
	return &tracer.Finding{
		Confidence: tracer.ConfidenceLikely,
		Summary: fmt.Sprintf("the query leaves %s by %s with %v, the address of %s: conntrack keeps the source that it chose when the route to %v was another",
			ns, k.hop.Dev, to.Addr(), k.own.Name, k.hop.Dst.Addr()),
		Evidence: append([]string{
			fmt.Sprintf("%s: %s; nothing came back", c.At(k.hop), onTheWire(k.hop)),
			fmt.Sprintf("its conntrack entry is older: it was answered before, so that no rule chose the source %v of %v anew", to, from),
		}, k.why...),
		Mend: []string{
			inNS(k.ns, fmt.Sprintf("conntrack -D -p %s --orig-src %v --orig-port-src %d --orig-dst %v", c.Transport, from.Addr(), from.Port(), k.ct.Orig.Dst.Addr())),
			"or have the client ask from a new port: restart it",
			inNS(k.ns, "use MASQUERADE for it, not SNAT: then the kernel forgets an entry whose route changes"),
		},
	}
}
