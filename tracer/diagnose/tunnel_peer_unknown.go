package diagnose

import (
	"fmt"
	"net/netip"

	"github.com/dnspath/dnspath/tracer"
)

// tunnelPeerUnknown finds a packet that a VXLAN device could not send, since its
// forwarding table has no entry for the next hop's hardware address (vxlan_xmit;
// the reason has a name since 6.11).
func tunnelPeerUnknown(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if drop.Drop.Function != "vxlan_xmit" || c.elsewhere(leg, drop) {
			continue
		}
		ns := c.NetNS(drop.NetNS)
		l := c.device(ns, drop.Dev)
		// A device that is told by each packet's route (VNI 0) drops those without one here too.
		named := drop.Drop.Reason == "NO_TX_TARGET"
		if !named && (!unsaid(drop) || l == nil || l.Tunnel == nil || l.Tunnel.VNI == 0) {
			continue
		}
		next := c.nextHop(leg, drop)
		mac := c.macOf(ns, drop.Dev, next)
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Summary:    fmt.Sprintf("%s of %s does not know which node %v is: it has no forwarding entry for it", drop.Dev, ns.Name(), next),
			Evidence:   []string{fmt.Sprintf("%s dropped the %s to %v: %s", ns.Name(), legName(leg), drop.Dst.Addr(), dropText(drop))},
			Mend: []string{
				fmt.Sprintf("restart the CNI agent of %s, which should have made the entry", ns.Name()),
				inNS(ns, fmt.Sprintf("bridge fdb append %s dev %s dst NODE, where NODE is the address of the node that has %v", mac, drop.Dev, next)),
			},
		}
		if l != nil && l.Tunnel != nil && len(l.Tunnel.FDB) == 0 {
			f.Confidence = tracer.ConfidenceConfirmed
			f.Evidence = append(f.Evidence, fmt.Sprintf("bridge fdb in %s has no peer of %s at all", ns.Name(), drop.Dev))
		} else if l != nil && l.Tunnel != nil {
			f.Evidence = append(f.Evidence, fmt.Sprintf("bridge fdb in %s knows these peers of %s: %v", ns.Name(), drop.Dev, l.Tunnel.FDB))
		}
		return f
	}
	return nil
}

// macOf returns the hardware address of a neighbour, MAC if it is not known.
func (c *Case) macOf(ns NetNS, dev string, addr netip.Addr) string {
	neighbours, _ := read(c, ns, "neighbours", ns.Neighbours)
	for _, n := range neighbours {
		if n.Addr == addr && n.Dev == dev && n.MAC != "" {
			return n.MAC
		}
	}
	return "MAC"
}
