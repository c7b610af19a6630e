package diagnose

import (
	"fmt"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// tunnelChecksum finds a packet that died of a wrong checksum on its way through
// a tunnel. The commonest cause is a bug of Linux, there since 5.7 at the least:
// NAT of a tunnel's own packets takes the pending checksum within for that of
// the header that it rewrites (net/core/utils.c, inet_proto_csum_replace2).
func tunnelChecksum(c *Case) *tracer.Finding {
	for leg, drop := range c.Drops() {
		if !isChecksumDrop(drop) {
			continue
		}
		broke, b := brokeInTunnel(leg)
		if b == nil && drop.Tunnel == nil {
			continue
		}
		f := &tracer.Finding{Confidence: tracer.ConfidenceSeen}
		died := fmt.Sprintf("%s dropped the %s for it: %s", c.NetNS(drop.NetNS).Name(), legName(leg), dropText(drop))
		if b == nil {
			f.Summary = fmt.Sprintf("a checksum of the %s's %s packet is wrong", legName(leg), drop.Tunnel.Kind)
			f.Evidence = []string{"it was wrong where it was seen first", died}
			f.Mend = []string{"on the node that sends: ethtool -K DEV tx-checksum-ip-generic off, where DEV is the tunnel's device"}
			return f
		}
		c.explainBreak(f, leg, broke, b)
		f.Evidence = append(f.Evidence, died)
		return f
	}
	return nil
}

// isChecksumDrop reports whether a wrong checksum of UDP or TCP was the reason.
func isChecksumDrop(h *tracer.Hop) bool {
	return reason(h) == "UDP_CSUM" || reason(h) == "TCP_CSUM"
}

// brokeInTunnel returns where a checksum became wrong, or was wrong when it was
// first seen, of a packet in a tunnel.
func brokeInTunnel(leg *tracer.Leg) (*tracer.Hop, *tracer.SumBreak) {
	for i := range leg.Hops {
		h := &leg.Hops[i]
		for j := range h.Breaks {
			if b := &h.Breaks[j]; h.Tunnel != nil && b.Header != "ipv4" {
				return h, b
			}
		}
	}
	return nil, nil
}

// explainBreak says where a checksum became wrong, and what mends that.
func (c *Case) explainBreak(f *tracer.Finding, leg *tracer.Leg, h *tracer.Hop, b *tracer.SumBreak) {
	ns := c.NetNS(h.NetNS)
	which := "inner"
	if b.Depth > 0 {
		which = "outer"
	}
	header := strings.ToUpper(b.Header)
	f.Evidence = append(f.Evidence, fmt.Sprintf("%s %s checksum at %s: 0x%04x, should be 0x%04x", which, header, c.At(h), b.Field, b.Want))
	if b.WasAt != nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("it was %s at %s", b.Was, c.At(b.WasAt)))
	}
	dev := c.tunnelDevice(ns, h.Tunnel)
	off := fmt.Sprintf("ethtool -K %s tx-checksum-ip-generic off", dev)
	if b.Depth == 0 || !b.From.IsValid() {
		f.Summary = fmt.Sprintf("the %s %s checksum of the %s became wrong in its %s tunnel, in %s", which, header, legName(leg), h.Tunnel.Kind, ns.Name())
		f.Mend = []string{off}
		return
	}
	f.Summary = fmt.Sprintf("NAT of the %s tunnel's own packets in %s rewrote %v → %v and left the outer %s checksum wrong (a bug of Linux)",
		h.Tunnel.Kind, ns.Name(), b.From, b.To, header)
	f.Mend = []string{
		off + ", in " + ns.Name(),
		fmt.Sprintf("or keep packets to UDP port %d out of NAT", h.Tunnel.Dst.Port()),
	}
}

// tunnelDevice names the device of a tunnel in a namespace, DEV if it is not known.
func (c *Case) tunnelDevice(ns NetNS, t *tracer.Tunnel) string {
	links, _ := read(c, ns, "devices", ns.Links)
	name := ""
	for _, l := range links {
		if l.Kind != t.Kind || l.Tunnel == nil || l.Tunnel.VNI != t.VNI {
			continue
		}
		if name != "" {
			return "DEV"
		}
		name = l.Name
	}
	if name == "" {
		return "DEV"
	}
	return name
}

// dropText says why and where a packet was dropped.
func dropText(h *tracer.Hop) string {
	d := h.Drop
	switch {
	case d.Reason != "" && d.Function != "":
		return d.Reason + " in " + d.Function
	case d.Reason != "":
		return d.Reason
	case d.Function != "":
		return "in " + d.Function
	}
	return d.Meaning
}
