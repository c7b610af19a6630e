package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// forwardingOff finds a packet that a node should have passed on, and forwarding
// is off there: ip_error counts it as a wrong address (net/ipv4/route.c), and so
// does ip6_forward.
func forwardingOff(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if drop.Tunnel != nil || !isForwardingDrop(drop) {
			continue
		}
		on, known := c.forwards(drop)
		certain := drop.Drop.Reason == "IP_INADDRERRORS" && drop.Drop.Function == "ip_error"
		if !certain && (!known || on) {
			continue
		}
		ns := c.NetNS(drop.NetNS)
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Summary:    fmt.Sprintf("%s does not forward packets: forwarding is off on %s", ns.Name(), drop.Dev),
			Evidence:   []string{fmt.Sprintf("%s dropped the %s to %v, which came by %s: %s", ns.Name(), legName(leg), drop.Dst.Addr(), drop.Dev, dropText(drop))},
			Mend:       []string{inNS(ns, "sysctl -w "+forwardingOf(drop)+"=1")},
		}
		switch {
		case known && !on:
			f.Confidence = tracer.ConfidenceConfirmed
			f.Evidence = append(f.Evidence, "sysctl "+forwardingKey(drop)+" is 0")
		case known:
			f.Evidence = append(f.Evidence, "now sysctl "+forwardingKey(drop)+" is 1")
		}
		return f
	}
	return nil
}

// isForwardingDrop reports whether a packet ended where those do that are not
// forwarded.
func isForwardingDrop(h *tracer.Hop) bool {
	if h.Drop.Function != "ip_error" && h.Drop.Function != "ip6_forward" {
		return false
	}
	return reason(h) == "IP_INADDRERRORS" || unsaid(h)
}

// forwardingKey is the sysctl that decides whether what came by a hop's device is
// forwarded: that of the device, or of all devices of IPv6 (ip6_forward).
func forwardingKey(h *tracer.Hop) string {
	if h.Dst.Addr().Is6() {
		return "net/ipv6/conf/all/forwarding"
	}
	return "net/ipv4/conf/" + h.Dev + "/forwarding"
}

// forwardingOf is the sysctl that turns it on.
func forwardingOf(h *tracer.Hop) string {
	if h.Dst.Addr().Is6() {
		return "net.ipv6.conf.all.forwarding"
	}
	return "net.ipv4.ip_forward"
}
