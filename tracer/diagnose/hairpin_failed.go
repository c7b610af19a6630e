package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// hairpinFailed finds a DNS pod that asked its own service, was chosen to answer
// itself, and did not get the query. It has to leave by the bridge port that it
// came by, which bridges do in hairpin mode alone (should_deliver in
// net/bridge/br_forward.c); and its source has to be another's on its way back, as
// a host refuses packets from its own address (__fib_validate_source).
func hairpinFailed(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if !c.hairpinned(leg, drop) {
			continue
		}
		f := c.notMasqueraded(leg, drop)
		if f == nil {
			f = c.notSentBack(drop)
		}
		if f != nil {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s dropped the query %v → %v at %s: %s", c.NetNS(drop.NetNS).Name(), drop.Src, drop.Dst, drop.Dev, dropText(drop)))
			return f
		}
	}
	return nil
}

// hairpinned reports whether a query was on its way back to its sender, whose
// address a service's was translated to, and bore its sender's address still.
func (c *Case) hairpinned(leg *tracer.Leg, h *tracer.Hop) bool {
	self := c.Client.Addr()
	return !leg.Response && h.Tunnel == nil && c.Server.Addr() != self && h.Src.Addr() == self && h.Dst.Addr() == self
}

// notMasqueraded explains a query that came back as from the pod itself.
func (c *Case) notMasqueraded(leg *tracer.Leg, drop *tracer.Hop) *tracer.Finding {
	why := reason(drop)
	unnamed := unsaid(drop) && looksAtSource[drop.Drop.Function]
	if drop.NetNS != c.Lookup.NetNS || why != "IP_LOCAL_SOURCE" && !unnamed {
		return nil
	}
	self := c.Client.Addr()
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("%s asked its own service %v, and the query came back to it with its own source %v, not masqueraded", c.NetNS(drop.NetNS).Name(), c.Server, self),
		Mend:       []string{restartProxy},
	}
	if at := translated(leg); at != nil {
		ns := c.NetNS(at.NetNS)
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s translated %v to %v, and not the source", ns.Name(), c.Server, drop.Dst))
		f.Mend = append(f.Mend,
			inNS(ns, "iptables -t nat -S KUBE-POSTROUTING, where a rule with MASQUERADE has to be, which no other keeps packets from"),
			inNS(ns, fmt.Sprintf("%s -t nat -I POSTROUTING -s %v -d %v -j MASQUERADE", iptablesOf(self.Is4()), self, self)))
	}
	return f
}

// notSentBack explains a query that its bridge port did not send back.
func (c *Case) notSentBack(drop *tracer.Hop) *tracer.Finding {
	why, in := reason(drop), drop.Drop.Function
	if why != "" && why != "NOT_SPECIFIED" && why != "NO_TX_TARGET" || in != "br_handle_frame_finish" && in != "br_forward" {
		return nil
	}
	ns := c.NetNS(drop.NetNS)
	return &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary: fmt.Sprintf("%s asked its own service %v, and the bridge port %s in %s does not send back by where a packet came (hairpin mode is off)",
			c.NetNS(c.Lookup.NetNS).Name(), c.Server, drop.Dev, ns.Name()),
		Evidence: []string{fmt.Sprintf("the query was translated to %v, which is behind the port that it came by", drop.Dst)},
		Mend: []string{
			inNS(ns, fmt.Sprintf("bridge link set dev %s hairpin on", drop.Dev)),
			`for all pods: "hairpinMode": true in the CNI's configuration of the bridge plugin (/etc/cni/net.d)`,
		},
	}
}

// translated returns the hop at which a query's destination was rewritten, or nil.
func translated(leg *tracer.Leg) *tracer.Hop {
	for i := range leg.Hops {
		for ch := leg.Hops[i].Change; ch != nil; ch = ch.Also {
			if ch.Kind == tracer.ChangeDNAT {
				return &leg.Hops[i]
			}
		}
	}
	return nil
}

func iptablesOf(v4 bool) string {
	if v4 {
		return "iptables"
	}
	return "ip6tables"
}
