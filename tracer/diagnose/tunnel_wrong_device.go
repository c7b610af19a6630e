package diagnose

import (
	"fmt"
	"slices"

	"github.com/dnspath/dnspath/tracer"
)

// tunnelWrongDevice finds a tunnel's packet that its receiver's firewall refused,
// and whose source is none of the peers that the receiver's tunnel knows: the
// sender's tunnel is bound to another of its addresses. CNIs let in the tunnel
// packets of nodes that they know, and no other.
func tunnelWrongDevice(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if !c.fromStranger(drop) {
			continue
		}
		ns, t := c.NetNS(drop.NetNS), outermost(drop.Tunnel)
		own := c.ownTunnel(drop)
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceConfirmed,
			Summary:    fmt.Sprintf("%s refuses the %s packets from %v: that is not the address of a node that it knows", ns.Name(), t.Kind, t.Src.Addr()),
			Evidence:   append(c.ruleEvidence(leg, drop), fmt.Sprintf("%s of %s knows these peers: %v", own.Name, ns.Name(), own.Tunnel.FDB)),
			Mend: []string{
				fmt.Sprintf("on the node that has %v: have the CNI agent choose the address that its peers know (Calico: IP_AUTODETECTION_METHOD, flannel: --iface)", t.Src.Addr()),
			},
		}
		c.boundTo(f, leg, t)
		return f
	}
	return nil
}

// fromStranger reports whether a rule refused a tunnel's packet from an address
// that is no peer of the tunnel here.
func (c *Case) fromStranger(h *tracer.Hop) bool {
	t := outermost(h.Tunnel)
	if t == nil || !refused(h) {
		return false
	}
	own := c.ownTunnel(h)
	return own != nil && len(own.Tunnel.FDB) > 0 && !slices.Contains(own.Tunnel.FDB, t.Src.Addr())
}

// ownTunnel returns the device that takes the tunnel's packet of a hop, or nil.
func (c *Case) ownTunnel(h *tracer.Hop) *Link {
	ns := c.NetNS(h.NetNS)
	links, _ := read(c, ns, "devices", ns.Links)
	match, _ := findTunnel(links, outermost(h.Tunnel))
	return match
}

// boundTo says, where the sender was seen, which device of it the tunnel is bound to.
func (c *Case) boundTo(f *tracer.Finding, leg *tracer.Leg, t *tracer.Tunnel) {
	for i := range leg.Hops {
		h := &leg.Hops[i]
		if h.Name != "tx" || outermost(h.Tunnel) == nil || outermost(h.Tunnel).Src.Addr() != t.Src.Addr() {
			continue
		}
		ns := c.NetNS(h.NetNS)
		l := c.ownAddr(ns, t.Src.Addr())
		if l == nil {
			return
		}
		tunnel := c.tunnelDevice(ns, t)
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s of %s sends from %v, the address of %s", tunnel, ns.Name(), t.Src.Addr(), l.Name))
		return
	}
}
