package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// masqueradeWrongSource finds a query whose source was rewritten to an address that
// is not that of the device it left by: one that a node of the cluster has no route
// to, or that conntrack has kept since the flow left by another device.
func masqueradeWrongSource(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	if f := keptSource(c); f != nil {
		return f
	}
	for leg, drop := range c.Drops() {
		if w := c.wrongSource(leg, drop); w != nil {
			return c.explainSource(drop, w)
		}
	}
	return nil
}

// rewritten is a query's source that was rewritten to one that can't be answered.
type rewritten struct {
	*tracer.Change
	ns  NetNS // that did it
	own *Link // its device that has the address, nil if none has
	dev string
}

// wrongSource returns what makes a reply's destination one that has no route where
// it was dropped; nil if there is another reason. An address of the device that the
// query left by is what MASQUERADE chooses: then the route to it is missing.
func (c *Case) wrongSource(leg *tracer.Leg, drop *tracer.Hop) *rewritten {
	if !leg.Response || drop.Tunnel != nil || !isRoutingDrop(drop) {
		return nil
	}
	for query, h := range c.Hops() {
		ch := snatTo(h, drop)
		if query.Response || query.Error != nil || ch == nil {
			continue
		}
		ns := c.NetNS(h.NetNS)
		links, ok := read(c, ns, "devices", ns.Links)
		if !ok || len(links) == 0 {
			return nil
		}
		w := &rewritten{Change: ch, ns: ns, own: c.ownAddr(ns, ch.To.Addr()), dev: leftBy(query, h)}
		if w.own != nil && (w.dev == "" || w.own.Name == w.dev) {
			return nil
		}
		return w
	}
	return nil
}

// snatTo returns the change of a hop that rewrote the source to where a reply goes.
func snatTo(h, reply *tracer.Hop) *tracer.Change {
	for ch := h.Change; ch != nil; ch = ch.Also {
		if ch.Kind == tracer.ChangeSNAT && ch.To == reply.Dst && ch.To.Addr() != ch.From.Addr() {
			return ch
		}
	}
	return nil
}

// leftBy names the device by which a packet left after a hop; empty if that was not
// seen.
func leftBy(leg *tracer.Leg, from *tracer.Hop) string {
	past := false
	for i := range leg.Hops {
		h := &leg.Hops[i]
		past = past || h == from
		if past && h.NetNS == from.NetNS && h.Name == "tx" {
			return h.Dev
		}
	}
	return ""
}

func (c *Case) explainSource(drop *tracer.Hop, w *rewritten) *tracer.Finding {
	to, peer := w.To.Addr(), c.NetNS(drop.NetNS)
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceConfirmed,
		Summary: fmt.Sprintf("NAT in %s rewrote the source of the query, %v, to %v, for which %s has no route: it can't answer",
			w.ns.Name(), w.From.Addr(), to, peer.Name()),
	}
	if w.own == nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("no device of %s has %v", w.ns.Name(), to))
	} else {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%v is the address of %s, and the query left by %s", to, w.own.Name, w.dev))
	}
	if w.By != nil {
		f.Evidence = append(f.Evidence, "rewritten by "+w.By.String())
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("%s dropped the reply %v → %v: %s", peer.Name(), drop.Src, drop.Dst, dropText(drop)))
	if r, ok := parseRule(w.By); ok && r.remove(w.By.Rule) != "" {
		f.Mend = append(f.Mend, inNS(w.ns, r.remove(w.By.Rule)))
	} else {
		f.Mend = append(f.Mend, inNS(w.ns, "iptables -t nat -S and nft list ruleset, to find the rule with SNAT or MASQUERADE, and keep it off packets to pods"))
	}
	f.Mend = append(f.Mend, "if a service of the node made the rule: kube-proxy's --cluster-cidr, or nonMasqueradeCIDRs of ip-masq-agent, must have the range of the pods")
	return f
}
