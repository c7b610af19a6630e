package diagnose

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer"
)

// noRoute finds a packet that a node has no route for, or one that forbids it
// (blackhole, unreachable, prohibit), or one that leads out of the cluster's
// tunnel.
func noRoute(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if drop.Tunnel != nil || !isRoutingDrop(drop) || c.elsewhere(leg, drop) {
			continue
		}
		if f := c.routeForbids(leg, drop); f != nil {
			return f
		}
	}
	for i := range c.Legs {
		if leg := &c.Legs[i]; leg.Error == nil && len(leg.Hops) > 0 {
			if f := c.leftBare(leg); f != nil {
				return f
			}
		}
	}
	return nil
}

// isRoutingDrop reports whether a packet ended where the kernel ends those that
// have no way: ip_error (net/ipv4/route.c) and ip6_pkt_drop (net/ipv6/route.c). It
// names the reason if there is no route at all, and if it does not forward
// (IP_INADDRERRORS), and has none for routes that forbid a packet.
func isRoutingDrop(h *tracer.Hop) bool {
	switch reason(h) {
	case "IP_INNOROUTES", "IP_OUTNOROUTES":
		return true
	case "", "NOT_SPECIFIED":
		return h.Drop.Function == "ip_error" || h.Drop.Function == "ip6_pkt_drop" || h.Drop.Function == inBridge
	}
	return false
}

// inBridge ends packets of IPv6 that a bridge hands to netfilter, and that a rule
// gave a destination for which there is no route (net/bridge/br_netfilter_ipv6.c).
const inBridge = "br_nf_pre_routing_finish_ipv6"

// kindOfRoute says what kind of route ends a packet with an error: as ip route
// shows it; empty if there is none at all.
var kindOfRoute = map[unix.Errno]string{
	unix.ENETUNREACH: "", unix.EHOSTUNREACH: "unreachable", unix.EINVAL: "blackhole", unix.EACCES: "prohibit",
}

// routeForbids says which route a drop is of, if it is of one.
func (c *Case) routeForbids(leg *tracer.Leg, drop *tracer.Hop) *tracer.Finding {
	told := c.icmpAbout(leg)
	errno, known := routeError(told, drop)
	route, ok := c.routeOf(drop, true)
	agrees := ok && route.Errno > 0
	// Before 5.17 the drop of a host that does not forward looks the same; but that says nothing to the sender.
	if yes, _ := c.forwards(drop); reason(drop) == "" && drop.Drop.Function != inBridge && len(told) == 0 && !yes {
		return nil
	}
	if agrees && (!known || drop.Dst.Addr().Is6()) {
		errno = unix.Errno(route.Errno)
		_, known = kindOfRoute[errno]
	}
	ns, dst := c.NetNS(drop.NetNS), drop.Dst.Addr()
	f := c.forbidden(ns, dst, errno, known)
	f.Evidence = []string{fmt.Sprintf("%s dropped the %s: %s", ns.Name(), legName(leg), dropText(drop))}
	if len(told) > 0 {
		f.Evidence = append(f.Evidence, "it told the sender: "+told[0].String())
	}
	switch {
	case agrees:
		f.Confidence = tracer.ConfidenceConfirmed
		f.Evidence = append(f.Evidence, fmt.Sprintf("a route to %v in %s is still refused: %s", dst, ns.Name(), unix.Errno(route.Errno).Error()))
	case ok:
		f.Evidence = append(f.Evidence, fmt.Sprintf("now there is a route, by %s", route.Dev))
	}
	return f
}

// forbidden is the finding of a route that ends packets with an error.
func (c *Case) forbidden(ns NetNS, dst netip.Addr, errno unix.Errno, known bool) *tracer.Finding {
	f := &tracer.Finding{Confidence: tracer.ConfidenceSeen}
	kind := kindOfRoute[errno]
	switch {
	case known && kind == "":
		f.Summary = fmt.Sprintf("%s has no route to %v", ns.Name(), dst)
		f.Mend = c.addRoute(ns, dst)
	case known:
		f.Summary = fmt.Sprintf("a route of %s forbids %v (%s)", ns.Name(), dst, kind)
		f.Mend = []string{inNS(ns, fmt.Sprintf("ip route del %s PREFIX, where \"ip route show match %v\" shows PREFIX", kind, dst))}
	default:
		f.Summary = fmt.Sprintf("%s has no route to %v, or one that forbids it (blackhole, unreachable or prohibit)", ns.Name(), dst)
		f.Mend = []string{inNS(ns, fmt.Sprintf("ip route del KIND PREFIX, if \"ip route show match %v\" shows one that forbids it", dst))}
		f.Mend = append(f.Mend, c.addRoute(ns, dst)...)
	}
	return f
}

// routeError returns the error of the route that ended a packet, as far as the
// kernel told it by the reason, or to the sender (ip_error, ip6_pkt_drop).
func routeError(told []tracer.Quote, drop *tracer.Hop) (errno unix.Errno, known bool) {
	if r := reason(drop); r == "IP_INNOROUTES" || r == "IP_OUTNOROUTES" {
		return unix.ENETUNREACH, true
	}
	for _, q := range told {
		switch {
		case !q.V6 && q.Type == icmpUnreachable && q.Code == 0, q.V6 && q.Type == icmp6Unreachable && q.Code == 0:
			return unix.ENETUNREACH, true
		case !q.V6 && q.Type == icmpUnreachable && q.Code == 1:
			return unix.EHOSTUNREACH, true
		case !q.V6 && q.Type == icmpUnreachable && q.Code == 13, q.V6 && q.Type == icmp6Unreachable && q.Code == 1:
			return unix.EACCES, true
		}
	}
	return 0, false
}

// addRoute says how a namespace gets a route to an address.
func (c *Case) addRoute(ns NetNS, dst netip.Addr) []string {
	if l := c.tunnelBeside(ns, dst); l != nil {
		return []string{
			fmt.Sprintf("restart the CNI agent of %s, which should have made a route to %v by %s", ns.Name(), dst, l.Name),
			inNS(ns, fmt.Sprintf("ip route add %v via NODE dev %s onlink, where NODE is the tunnel's address of the node that has it", dst, l.Name)),
		}
	}
	return []string{
		inNS(ns, fmt.Sprintf("ip route add %v via GATEWAY", dst)),
		fmt.Sprintf("or restart the CNI agent of %s, if %v is a pod's", ns.Name(), dst),
	}
}

// leftBare finds a packet for a pod that was last seen to leave a node by its
// default route, without the tunnel that leads to pods.
func (c *Case) leftBare(leg *tracer.Leg) *tracer.Finding {
	h := &leg.Hops[len(leg.Hops)-1]
	waits := h.Drop != nil && (reason(h) == "NEIGH_FAILED" || reason(h) == "NEIGH_QUEUEFULL")
	if h.Tunnel != nil || h.Name != "tx" && !waits || c.elsewhere(leg, h) {
		return nil
	}
	ns, dst := c.NetNS(h.NetNS), h.Dst.Addr()
	l := c.tunnelBeside(ns, dst)
	if l == nil || l.Name == h.Dev {
		return nil
	}
	route, ok := c.routeOf(h, false)
	if !ok || !route.Default || route.Errno > 0 || route.Dev != h.Dev {
		return nil
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceConfirmed,
		Summary:    fmt.Sprintf("%s has no route to %v but the default route: the %s left by %s, not by the tunnel %s", ns.Name(), dst, legName(leg), h.Dev, l.Name),
		Evidence: []string{
			fmt.Sprintf("the %s was seen last at %s, without a tunnel", legName(leg), c.At(h)),
			fmt.Sprintf("the route of %s to %v is the default route, by %s", ns.Name(), dst, gatewayText(route)),
		},
		Mend: c.addRoute(ns, dst),
	}
	if waits {
		f.Summary = fmt.Sprintf("%s has no route to %v but the default route: the %s was to leave by %s, not by the tunnel %s", ns.Name(), dst, legName(leg), h.Dev, l.Name)
		f.Evidence = append(f.Evidence, "dropped there: "+dropText(h))
	}
	return f
}

// gatewayText says where a route leads: "192.0.2.254 dev eth0".
func gatewayText(r *Route) string {
	if r.Gateway.IsValid() {
		return fmt.Sprintf("%v dev %s", r.Gateway, r.Dev)
	}
	return "dev " + r.Dev
}
