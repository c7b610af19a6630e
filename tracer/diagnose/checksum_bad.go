package diagnose

import (
	"fmt"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// checksumBad finds a packet that died of a wrong checksum of its own, not of a
// tunnel's making: who sends it computes none, or something rewrote it and forgot.
func checksumBad(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if drop.Tunnel != nil {
			continue
		}
		if _, b := brokeInTunnel(leg); b != nil {
			continue
		}
		broke, b := brokeOutside(leg)
		if !isChecksumDrop(drop) && (b == nil || !verifies(drop)) {
			continue
		}
		f := &tracer.Finding{Confidence: tracer.ConfidenceSeen}
		died := fmt.Sprintf("%s dropped the %s for it: %s", c.NetNS(drop.NetNS).Name(), legName(leg), dropText(drop))
		if b == nil {
			f.Summary = fmt.Sprintf("the %s came to %s with a wrong checksum", legName(leg), c.NetNS(drop.NetNS).Name())
			f.Evidence = []string{died, "where it became wrong was not seen"}
			f.Mend = []string{"where it is sent: ethtool -K DEV tx off, where DEV is the device that it leaves by"}
			return f
		}
		c.explainForgotten(f, leg, broke, b)
		f.Evidence = append(f.Evidence, died)
		return f
	}
	return nil
}

// verifies reports whether a packet was dropped, without a reason, where checksums
// are looked at.
func verifies(h *tracer.Hop) bool {
	switch reason(h) {
	case "", "NOT_SPECIFIED":
		switch h.Drop.Function {
		case "__udp4_lib_rcv", "__udp6_lib_rcv", "udp_queue_rcv_one_skb", "udpv6_queue_rcv_one_skb", "udp_recvmsg", "udpv6_recvmsg",
			"udp_rcv", "udpv6_rcv", "__first_packet_length", "tcp_v4_rcv", "tcp_v6_rcv":
			return true
		}
	}
	return false
}

// brokeOutside returns where a checksum of UDP or TCP became wrong, or was wrong
// when it was first seen, of a packet outside a tunnel.
func brokeOutside(leg *tracer.Leg) (*tracer.Hop, *tracer.SumBreak) {
	for i := range leg.Hops {
		h := &leg.Hops[i]
		for j := range h.Breaks {
			if b := &h.Breaks[j]; h.Tunnel == nil && b.Header != "ipv4" {
				return h, b
			}
		}
	}
	return nil, nil
}

// explainForgotten says who sent a wrong checksum, or where a right one became wrong.
func (c *Case) explainForgotten(f *tracer.Finding, leg *tracer.Leg, h *tracer.Hop, b *tracer.SumBreak) {
	ns, header := c.NetNS(h.NetNS), strings.ToUpper(b.Header)
	f.Evidence = append(f.Evidence, fmt.Sprintf("%s checksum at %s: 0x%04x, should be 0x%04x", header, c.At(h), b.Field, b.Want))
	if b.WasAt == nil {
		f.Summary = fmt.Sprintf("%s sends the %s with a wrong %s checksum", ns.Name(), legName(leg), header)
		f.Mend = []string{inNS(ns, fmt.Sprintf("ethtool -K %s tx off, if its device should have computed it; else mend the program that sends it", h.Dev))}
		if h.Name == "rx" {
			f.Summary = fmt.Sprintf("the %s came to %s with a wrong %s checksum", legName(leg), ns.Name(), header)
			f.Mend = []string{fmt.Sprintf("where %v sends it: ethtool -K DEV tx off, where DEV is the device that it leaves by", h.Src.Addr())}
		}
		return
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("it was %s at %s", b.Was, c.At(b.WasAt)))
	f.Summary = fmt.Sprintf("the %s checksum of the %s became wrong between %s and %s", header, legName(leg), c.At(b.WasAt), c.At(h))
	if b.From.IsValid() {
		f.Summary = fmt.Sprintf("something in %s rewrote %v → %v, and left the %s checksum wrong", ns.Name(), b.From, b.To, header)
	}
	f.Mend = []string{inNS(ns, "bpftool net and nft list ruleset: find what rewrites it, and have it mend the checksum")}
}
