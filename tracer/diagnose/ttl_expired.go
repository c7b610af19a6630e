package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// icmpExceeded is time exceeded, icmp6Exceeded that of IPv6.
const (
	icmpExceeded  = 11
	icmp6Exceeded = 3
)

// ttlExpired finds a packet whose hop limit was used up: mostly one that routes
// send to and fro.
func ttlExpired(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if !c.isTTLDrop(leg, drop) {
			continue
		}
		ns := c.NetNS(drop.NetNS)
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Evidence:   []string{fmt.Sprintf("%s dropped the %s to %v: %s", ns.Name(), legName(leg), drop.Dst.Addr(), dropText(drop))},
		}
		for _, q := range c.icmpAbout(leg) {
			f.Evidence = append(f.Evidence, "it told the sender: "+q.String())
			break
		}
		loop := c.loop(leg)
		if len(loop) == 0 {
			f.Summary = fmt.Sprintf("the %s was sent with too small a hop limit (TTL %d) to get beyond %s", legName(leg), leg.Hops[0].TTL, ns.Name())
			f.Mend = []string{fmt.Sprintf("have who sends it use a larger TTL; or find what lowers it: ip route get %v on each node of its way", drop.Dst.Addr())}
			return f
		}
		c.explainLoop(f, leg, loop)
		return f
	}
	return nil
}

// isTTLDrop reports whether a packet ended since its hop limit was used up. IP_INHDR
// means that where packets are forwarded; before 5.17 the sender is told alone, or it
// was seen to go in circles.
func (c *Case) isTTLDrop(leg *tracer.Leg, h *tracer.Hop) bool {
	if h.Tunnel != nil || h.Drop.Function != "ip_forward" && h.Drop.Function != "ip6_forward" {
		return false
	}
	switch reason(h) {
	case "IP_INHDR":
		return true
	case "", "NOT_SPECIFIED":
		return h.TTL <= 1 && (slices.ContainsFunc(c.icmpAbout(leg), exceeded) || len(c.loop(leg)) > 0)
	}
	return false
}

// exceeded reports whether an ICMP error says that a hop limit was used up.
func exceeded(q tracer.Quote) bool {
	return q.Code == 0 && (!q.V6 && q.Type == icmpExceeded || q.V6 && q.Type == icmp6Exceeded)
}

// turn is a place that a packet came by more than once.
type turn struct {
	hop   *tracer.Hop
	times int
}

// loop returns the devices by which a packet left again and again.
func (c *Case) loop(leg *tracer.Leg) (turns []turn) {
	for i := range leg.Hops {
		h := &leg.Hops[i]
		if h.Name != "tx" || h.Tunnel != nil {
			continue
		}
		at := slices.IndexFunc(turns, func(t turn) bool { return t.hop.NetNS == h.NetNS && t.hop.Dev == h.Dev && t.hop.Dst == h.Dst })
		if at < 0 {
			turns = append(turns, turn{h, 0})
			at = len(turns) - 1
		}
		turns[at].times++
	}
	return slices.DeleteFunc(turns, func(t turn) bool { return t.times < 2 })
}

// explainLoop says between whom a packet went round, and by which routes.
func (c *Case) explainLoop(f *tracer.Finding, leg *tracer.Leg, loop []turn) {
	var names []string
	agree := 0
	for _, t := range loop {
		ns, dst := c.NetNS(t.hop.NetNS), t.hop.Dst.Addr()
		names = append(names, ns.Name())
		f.Evidence = append(f.Evidence, fmt.Sprintf("it left %s by %s %d times", ns.Name(), t.hop.Dev, t.times))
		route, ok := c.routeOf(t.hop, false)
		if ok && route.Errno == 0 && route.Dev == t.hop.Dev {
			agree++
			f.Evidence = append(f.Evidence, fmt.Sprintf("the route of %s to %v leads by %s", ns.Name(), dst, gatewayText(route)))
		}
		f.Mend = append(f.Mend, inNS(ns, fmt.Sprintf("ip route show match %v, and ip route del what leads back", dst)))
	}
	names = slices.Compact(names)
	if len(names) > 1 {
		f.Summary = fmt.Sprintf("a routing loop: %s send the %s to %v to each other", strings.Join(names, " and "), legName(leg), loop[0].hop.Dst.Addr())
	} else {
		f.Summary = fmt.Sprintf("a routing loop: the %s to %v comes back to %s", legName(leg), loop[0].hop.Dst.Addr(), names[0])
	}
	if agree == len(loop) {
		f.Confidence = tracer.ConfidenceConfirmed
	}
}
