package diagnose

import (
	"fmt"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// checksumBad finds a packet whose own checksum of UDP or TCP is wrong, and not
// because of a tunnel: who sent it made it so, or something that rewrote the packet
// and left the checksum as it was. Such a packet may die where it is looked at; or
// conntrack calls it invalid (udp_error, tcp_error; where it comes in, unless
// net.netfilter.nf_conntrack_checksum is 0), so that NAT passes it by, and rules
// for invalid packets drop it.
func checksumBad(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for i := range c.Legs {
		leg := &c.Legs[i]
		if leg.Error != nil || len(leg.Hops) == 0 {
			continue
		}
		if f := c.diedOfSum(leg); f != nil {
			return f
		}
	}
	return nil
}

// diedOfSum says how a packet's own checksum was the end of it; nil if it was not.
func (c *Case) diedOfSum(leg *tracer.Leg) *tracer.Finding {
	last := &leg.Hops[len(leg.Hops)-1]
	broke, b := brokeOutside(leg)
	f := &tracer.Finding{Confidence: tracer.ConfidenceSeen}
	var end string
	switch {
	case last.Drop != nil && last.Tunnel == nil && (isChecksumDrop(last) || b != nil && verifies(last)):
		if _, inside := brokeInTunnel(leg); inside != nil {
			return nil
		}
		end = fmt.Sprintf("%s dropped the %s for it: %s", c.NetNS(last.NetNS).Name(), legName(leg), dropText(last))
	case b == nil:
		return nil
	case c.droppedInvalid(leg, last):
		end = fmt.Sprintf("conntrack of %s calls such a packet invalid, and a rule dropped it: %s", c.NetNS(last.NetNS).Name(), dropText(last))
		if by := last.Drop.By; by != nil {
			end += ", by " + by.String()
		}
		f.Confidence = tracer.ConfidenceLikely
	case c.passedByNAT(leg):
		if c.wentOn(leg, c.atTranslator(leg)) {
			f.Confidence = tracer.ConfidenceConfirmed
		} else {
			f.Confidence = tracer.ConfidenceLikely
		}
		end = fmt.Sprintf("conntrack calls such a packet invalid, and so nothing translated %s: the %s still bore it at %s", c.Server, legName(leg), c.At(last))
	case c.leftWrong(last):
		f.Confidence = tracer.ConfidenceLikely
		end = fmt.Sprintf("the %s left so by %s, and nothing more was seen of it: who gets it drops it", legName(leg), c.At(last))
	default:
		return nil
	}
	c.explainSum(f, leg, broke, b)
	f.Evidence = append(f.Evidence, end)
	return f
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

// brokeOutside returns where a packet's own checksum became wrong, or was wrong
// when it was first seen, outside any tunnel; nil if it was mended since.
func brokeOutside(leg *tracer.Leg) (at *tracer.Hop, sum *tracer.SumBreak) {
	for i := range leg.Hops {
		h := &leg.Hops[i]
		for _, s := range h.Sums {
			if sum != nil && s.Depth == 0 && s.Header == sum.Header && (s.Verdict == tracer.SumOK || s.Verdict == tracer.SumPartial) {
				at, sum = nil, nil
			}
		}
		for j := range h.Breaks {
			if b := &h.Breaks[j]; h.Tunnel == nil && b.Depth == 0 && b.Header != "ipv4" {
				at, sum = h, b
			}
		}
	}
	return at, sum
}

// complete reports whether a packet's own checksum was seen to be wrong and not
// pending in a namespace: conntrack does not look at one that is pending.
func complete(leg *tracer.Leg, netns uint32) bool {
	for i := range leg.Hops {
		for _, s := range leg.Hops[i].Sums {
			if leg.Hops[i].NetNS == netns && s.Depth == 0 && s.Header != "ipv4" && s.Verdict == tracer.SumBad {
				return true
			}
		}
	}
	return false
}

// droppedInvalid reports whether netfilter dropped a packet that conntrack had
// called invalid for its checksum, as far as the rule that did it tells: a policy,
// or one that is not known. One for such packets is conntrackInvalid's.
func (c *Case) droppedInvalid(leg *tracer.Leg, h *tracer.Hop) bool {
	if !refused(h) || h.Tunnel != nil || h.CT != nil || h.NoTrack || !complete(leg, h.NetNS) {
		return false
	}
	if _, b := brokeOutside(leg); b == nil {
		return false
	}
	by := h.Drop.By
	return by == nil || by.Rule == ""
}

// passedByNAT reports whether a query went on with the address of a service that
// iptables or nftables translates: they do so by conntrack, IPVS does not.
func (c *Case) passedByNAT(leg *tracer.Leg) bool {
	if leg.Response || c.Backend.IsValid() && c.Backend != c.Server {
		return false
	}
	at := c.atTranslator(leg)
	if at == nil || at.CT != nil || at.NoTrack || !complete(leg, at.NetNS) || at.Drop != nil {
		return false
	}
	ns := c.NetNS(at.NetNS)
	s, ok := read(c, ns, "services", func() (*Service, error) { return ns.Service(c.Transport, c.Server) })
	return ok && s != nil && s.By != "" && s.By != "IPVS" && !s.NoTrack && len(s.Endpoints) > 0 && !c.isLocal(ns, at)
}

// leftWrong reports whether a packet was last seen to leave, and its lookup was lost.
func (c *Case) leftWrong(last *tracer.Hop) bool {
	return c.Outcome == tracer.OutcomeLost && last.Name == "tx" && last.Tunnel == nil
}

// explainSum says where a checksum became wrong, if that was seen, and what mends it.
func (c *Case) explainSum(f *tracer.Finding, leg *tracer.Leg, h *tracer.Hop, b *tracer.SumBreak) {
	if b == nil {
		f.Summary = fmt.Sprintf("the %s checksum of the %s is wrong", upper(c.Transport), legName(leg))
		f.Evidence = []string{"where it became wrong was not seen"}
		f.Mend = []string{"ethtool -K DEV tx off, where DEV is the device by which its node sends it, to see whether the device makes it wrong"}
		return
	}
	ns, header := c.NetNS(h.NetNS), strings.ToUpper(b.Header)
	f.Evidence = []string{fmt.Sprintf("%s checksum at %s: 0x%04x, should be 0x%04x", header, c.At(h), b.Field, b.Want)}
	if b.WasAt != nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("it was %s at %s", b.Was, c.At(b.WasAt)))
	}
	switch {
	case b.WasAt == nil && h.Name == "rx" && h == &leg.Hops[0]:
		f.Summary = fmt.Sprintf("the %s came to %s with a wrong %s checksum", legName(leg), ns.Name(), header)
		f.Mend = []string{fmt.Sprintf("on the node of %v: ethtool -K DEV tx off, where DEV is the device by which it sends, to see whether the device makes it wrong", h.Src.Addr())}
	case b.WasAt == nil:
		f.Summary = fmt.Sprintf("%s sent the %s with a wrong %s checksum", c.whoSent(leg), legName(leg), header)
		f.Mend = append([]string{fmt.Sprintf("mend what makes packets itself in %s: raw sockets, or AF_PACKET, leave the checksum to their program; or it is written over", ns.Name())}, c.findRewriter(h)...)
	case b.WasAt.NetNS != h.NetNS:
		from := c.NetNS(b.WasAt.NetNS)
		f.Summary = fmt.Sprintf("the %s checksum of the %s became wrong between %s and %s", header, legName(leg), from.Name(), ns.Name())
		f.Mend = []string{inNS(from, fmt.Sprintf("ethtool -K %s tx off", devOr(b.WasAt.Dev)))}
	case b.From.IsValid():
		f.Summary = fmt.Sprintf("something in %s rewrote %v → %v of the %s and left its %s checksum wrong", ns.Name(), b.From, b.To, legName(leg), header)
		f.Mend = c.findRewriter(h)
	default:
		f.Summary = fmt.Sprintf("something in %s wrote over the %s and made its %s checksum wrong", ns.Name(), legName(leg), header)
		f.Mend = c.findRewriter(h)
	}
}

// whoSent names who sent a leg's packet: "dig[123] in client".
func (c *Case) whoSent(leg *tracer.Leg) string {
	first := &leg.Hops[0]
	name := c.NetNS(first.NetNS).Name()
	if first.Comm != "" && first.PID != 0 {
		return fmt.Sprintf("%s[%d] in %s", first.Comm, first.PID, name)
	}
	return name
}

// findRewriter says how to find what rewrites packets in a hop's namespace: rules of
// nftables, and programs at a device.
func (c *Case) findRewriter(h *tracer.Hop) []string {
	ns := c.NetNS(h.NetNS)
	return []string{
		inNS(ns, "nft -a list ruleset | grep -e @th -e @nh -e @ih: delete what writes over packets"),
		inNS(ns, fmt.Sprintf("bpftool net show dev %s, for a program that rewrites them: it has to mend the checksum", devOr(h.Dev))),
	}
}

// devOr names a device, DEV if it is not known.
func devOr(name string) string {
	if name == "" {
		return "DEV"
	}
	return name
}
