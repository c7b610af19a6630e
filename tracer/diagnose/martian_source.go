package diagnose

import (
	"fmt"
	"net/netip"

	"github.com/dnspath/dnspath/tracer"
)

// martianSource finds a packet whose source is impossible where it comes in: an
// address of the receiver itself, of loopback, or of multicast
// (ip_route_input_slow and __fib_validate_source; named since 6.14).
func martianSource(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if c.hairpinned(leg, drop) {
			continue
		}
		src, dst := outerAddrs(drop)
		what := ""
		switch drop.Drop.Reason {
		case "IP_LOCAL_SOURCE":
			what = "is an address of its own"
		case "IP_INVALID_SOURCE":
			what = "is no address that a packet can come from"
		case "IP_LOCALNET":
			what = "or its destination is a loopback address, and it came from outside"
		case "", "NOT_SPECIFIED":
			if !looksAtSource[drop.Drop.Function] {
				continue
			}
		default:
			continue
		}
		ns := c.NetNS(drop.NetNS)
		own := c.ownAddr(ns, src)
		if what == "" && own == nil {
			continue
		}
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Evidence:   []string{fmt.Sprintf("%s dropped the %s %v → %v, which came by %s: %s", ns.Name(), legName(leg), src, dst, drop.Dev, dropText(drop))},
			Mend:       []string{fmt.Sprintf("give who sends from %v an address that it may have", src)},
		}
		if own != nil {
			what = "is an address of its own"
			f.Confidence = tracer.ConfidenceConfirmed
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s of %s has %v", own.Name, ns.Name(), src))
			f.Mend[0] = fmt.Sprintf("give who sends from %v another address: %s has it too", src, ns.Name())
		}
		f.Summary = fmt.Sprintf("%s refuses the %s: its source %v %s", ns.Name(), legName(leg), src, what)
		if from := c.sender(leg); from != nil && drop.Tunnel == nil {
			if l := c.ownAddr(from, src); l != nil {
				f.Mend = append([]string{inNS(from, fmt.Sprintf("ip addr del %v dev %s", src, l.Name))}, f.Mend...)
			}
		}
		return f
	}
	return nil
}

// looksAtSource are the functions that free a packet whose source is impossible;
// the second of them in a bridge that gave it to netfilter.
var looksAtSource = map[string]bool{"ip_rcv_finish_core": true, "br_nf_pre_routing_finish": true}

// ownAddr returns the device of a namespace that has an address, or nil.
func (c *Case) ownAddr(ns NetNS, addr netip.Addr) *Link {
	links, _ := read(c, ns, "devices", ns.Links)
	for i := range links {
		for _, p := range links[i].Addrs {
			if p.Addr() == addr {
				return &links[i]
			}
		}
	}
	return nil
}

// sender returns the namespace that sent a leg's packet, if that was seen.
func (c *Case) sender(leg *tracer.Leg) NetNS {
	if first := &leg.Hops[0]; first.NetNS != 0 && first.Name != "rx" {
		return c.NetNS(first.NetNS)
	}
	return nil
}
