package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// gsoDrop finds several segments of TCP in one packet (GSO) that the kernel could
// not part: skb_gso_segment() had an error, in validate_xmit_skb (net/core/dev.c)
// or ip_finish_output_gso (net/ipv4/ip_output.c). Queries and answers that fit into
// one segment pass.
func gsoDrop(c *Case) *tracer.Finding {
	if !c.Failed() || c.Transport != tracer.TransportTCP {
		return nil
	}
	for leg, drop := range c.Drops() {
		size := segmentSize(leg, drop)
		confidence := tracer.ConfidenceSeen
		switch reason(drop) {
		case "SKB_GSO_SEG", "SKB_BAD_GSO":
		case "", "NOT_SPECIFIED": // the same function drops what it can't compute a checksum for
			if drop.Drop.Function != "validate_xmit_skb" || size == 0 {
				continue
			}
			confidence = tracer.ConfidenceLikely
		default:
			continue
		}
		ns := c.NetNS(drop.NetNS)
		f := &tracer.Finding{
			Confidence: confidence,
			Summary:    fmt.Sprintf("%s could not part a TCP packet of the %s%s into segments (GSO), for %s", ns.Name(), direction(leg), inTunnel(drop), devOr(drop.Dev)),
			Evidence:   []string{fmt.Sprintf("%s dropped it: %s", ns.Name(), dropText(drop))},
		}
		if size > 0 {
			f.Evidence = append(f.Evidence, fmt.Sprintf("it was %d bytes long, to be parted into segments of %d", drop.Len, size))
		}
		c.explainParting(f, drop)
		f.Mend = c.partBefore(f, leg, drop)
		return f
	}
	return nil
}

// segmentSize is the payload of each segment in a packet that was dropped, in
// bytes; 0 if it was one segment, or that is not known.
func segmentSize(leg *tracer.Leg, drop *tracer.Hop) uint16 {
	size := uint16(0)
	for i := range leg.Hops {
		h := &leg.Hops[i]
		if h.Checksum.GSOSize > 0 || h.Name == "tx" || h.Name == "rx" {
			size = h.Checksum.GSOSize
		}
		if h == drop {
			break
		}
	}
	return size
}

// direction says whether a leg is of the query or of the reply, of TCP too.
func direction(leg *tracer.Leg) string {
	if leg.Response {
		return "reply"
	}
	return "query"
}

// explainParting says whether it was the kernel that had to part a packet, since
// its device does not: then nothing else fails where it was dropped.
func (c *Case) explainParting(f *tracer.Finding, drop *tracer.Hop) {
	feature := "tx-tcp-segmentation"
	if drop.Dst.Addr().Is6() {
		feature = "tx-tcp6-segmentation"
	}
	ns := c.NetNS(drop.NetNS)
	if l := c.device(ns, drop.Dev); drop.Tunnel == nil && l != nil && l.Features != nil && !l.Features[feature] {
		f.Confidence = tracer.ConfidenceConfirmed
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s of %s does not part packets itself (%s is off)", drop.Dev, ns.Name(), feature))
	}
}

// partBefore says what has packets parted before they come to where that fails: at
// the tunnel's device, before there is a tunnel around them; else where they
// became several in one. It adds the features that say so to the evidence. Since
// 4.17 TCP makes such packets even with gso off: tcp_tso_segs() goes by the
// device's gso_max_segs.
func (c *Case) partBefore(f *tracer.Finding, leg *tracer.Leg, drop *tracer.Hop) (mend []string) {
	ns := c.NetNS(drop.NetNS)
	if drop.Tunnel != nil {
		dev := c.tunnelDevice(ns, drop.Tunnel)
		if l := c.device(ns, dev); l != nil && l.Features["tx-tcp-segmentation"] {
			f.Evidence = append(f.Evidence, fmt.Sprintf("tcp-segmentation-offload of %s in %s is on: what goes into the tunnel is not parted there", dev, ns.Name()))
		}
		mend = append(mend, inNS(ns, fmt.Sprintf("ethtool -K %s tso off", dev)))
	}
	for i := range leg.Hops {
		h := &leg.Hops[i]
		if h.Checksum.GSOSize == 0 {
			continue
		}
		from := c.NetNS(h.NetNS)
		if h.Name == "rx" && i > 0 && leg.Hops[i-1].NetNS != h.NetNS && leg.Hops[i-1].NetNS != 0 { // put together as it was received
			return append(mend, inNS(from, fmt.Sprintf("ethtool -K %s gro off", devOr(h.Dev))))
		}
		return append(mend, inNS(from, fmt.Sprintf("ip link set %s gso_max_segs 1, for connections from now on", devOr(h.Dev))))
	}
	if len(mend) == 0 {
		mend = []string{"where it was sent: ip link set DEV gso_max_segs 1, for connections from now on"}
	}
	return mend
}
