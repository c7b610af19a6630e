package diagnose

import (
	"fmt"
	"net/netip"

	"github.com/dnspath/dnspath/tracer"
)

// neighbourFailed finds a packet whose next hop did not answer ARP or neighbour
// discovery, which the kernel asks three times, a second apart.
func neighbourFailed(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if !isNeighbourDrop(drop) || drop.Tunnel == nil && c.elsewhere(leg, drop) {
			continue
		}
		if c.leftBare(leg) != nil || deviceDown(c) != nil || ipv6Off(c) != nil {
			return nil // that is why
		}
		return c.silentNeighbour(leg, drop)
	}
	return nil
}

// isNeighbourDrop reports whether a packet's next hop did not tell its hardware
// address. IPv6 gives no reason for that.
func isNeighbourDrop(h *tracer.Hop) bool {
	switch reason(h) {
	case "NEIGH_FAILED", "NEIGH_QUEUEFULL":
		return true
	case "", "NOT_SPECIFIED":
		return neighbourFunctions[h.Drop.Function]
	}
	return false
}

// neighbourFunctions free packets whose next hop does not answer
// (net/core/neighbour.c, net/ipv4/arp.c, net/ipv6/ndisc.c).
var neighbourFunctions = map[string]bool{
	"neigh_invalidate": true, "arp_error_report": true, "ndisc_error_report": true, "__neigh_event_send": true,
}

func (c *Case) silentNeighbour(leg *tracer.Leg, drop *tracer.Hop) *tracer.Finding {
	ns := c.NetNS(drop.NetNS)
	_, dst := outerAddrs(drop)
	next := c.nextHop(leg, drop)
	asks := "ARP"
	if next.Is6() {
		asks = "neighbour discovery"
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("%v does not answer %s on %s of %s", next, asks, drop.Dev, ns.Name()),
		Evidence:   []string{fmt.Sprintf("%s dropped the %s%s: %s", ns.Name(), legName(leg), inTunnel(drop), dropText(drop))},
	}
	if next != dst {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%v is the next hop to %v", next, dst))
	}
	neighbours, _ := read(c, ns, "neighbours", ns.Neighbours)
	for _, n := range neighbours {
		if n.Addr == next && n.Dev == drop.Dev {
			f.Evidence = append(f.Evidence, fmt.Sprintf("ip neigh in %s says %v dev %s %s", ns.Name(), next, n.Dev, n.State))
			switch {
			case n.State == "FAILED" || n.State == "INCOMPLETE":
				f.Confidence = tracer.ConfidenceConfirmed
			case overflowed(drop):
				f.Summary = fmt.Sprintf("%v answered %s late on %s of %s, and too many packets waited for that", next, asks, drop.Dev, ns.Name())
				f.Mend = mendLate(ns, drop.Dev, asks)
				return f
			}
		}
	}
	f.Mend = c.mendNeighbour(ns, drop.Dev, next, dst)
	return f
}

// overflowed reports whether a packet was dropped since too many waited with it for
// their next hop's answer, which may have come since.
func overflowed(h *tracer.Hop) bool {
	return reason(h) == "NEIGH_QUEUEFULL" || h.Drop.Function == "__neigh_event_send"
}

// mendLate says what to do where a neighbour answers, and not at once: the kernel
// asks once a second (neigh/DEV/retrans_time_ms), which one lost packet costs.
func mendLate(ns NetNS, dev, asks string) []string {
	family := "ipv4"
	if asks != "ARP" {
		family = "ipv6"
	}
	return []string{
		fmt.Sprintf("see whether what is behind %s loses packets: %s is asked for again after a second", dev, asks),
		inNS(ns, fmt.Sprintf("sysctl -w net.%s.neigh.%s.unres_qlen_bytes=1048576, to let more of them wait", family, dev)),
	}
}

// nextHop is where a dropped packet was to go next: what it waits for, or its
// route says, else what the route is now.
func (c *Case) nextHop(leg *tracer.Leg, drop *tracer.Hop) netip.Addr {
	for i := len(leg.Hops) - 1; i >= 0; i-- {
		h := &leg.Hops[i]
		switch {
		case h.NetNS != drop.NetNS:
		case h.Waits != nil:
			return h.Waits.Addr
		case h.Route != nil && h.Route.Gateway.IsValid() && h.Route.Dev == drop.Dev:
			return h.Route.Gateway
		}
	}
	_, dst := outerAddrs(drop)
	ns := c.NetNS(drop.NetNS)
	route, ok := read(c, ns, "route to "+dst.String(), func() (*Route, error) { return ns.Route(RouteQuery{Dst: dst}) })
	if ok && route.Gateway.IsValid() && route.Dev == drop.Dev {
		return route.Gateway
	}
	return dst
}

// mendNeighbour says what makes a neighbour answer, or be known.
func (c *Case) mendNeighbour(ns NetNS, dev string, next, dst netip.Addr) []string {
	switch l := c.device(ns, dev); {
	case l != nil && l.Tunnel != nil:
		return []string{
			fmt.Sprintf("restart the CNI agent of %s, which should have made an entry for %v on %s", ns.Name(), next, dev),
			inNS(ns, fmt.Sprintf("ip neigh replace %v lladdr MAC dev %s nud permanent, where MAC is that of the tunnel's device on the node that has %v", next, dev, next)),
		}
	case next == dst:
		return []string{fmt.Sprintf("see whether who has %v is still there (kubectl get pods -A -o wide): restart it, or take it out of the service", dst)}
	}
	return []string{
		fmt.Sprintf("see whether %v is up, and on the wire of %s", next, dev),
		inNS(ns, fmt.Sprintf("ip route get %v, and mend the route if %v is the wrong gateway", dst, next)),
	}
}

// device returns a namespace's device, or nil.
func (c *Case) device(ns NetNS, name string) *Link {
	links, _ := read(c, ns, "devices", ns.Links)
	return linkNamed(links, name)
}
