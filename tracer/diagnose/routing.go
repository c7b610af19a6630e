package diagnose

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// Types of ICMP errors (RFC 792, RFC 4443).
const (
	icmpUnreachable  = 3
	icmp6Unreachable = 1
)

// icmpAbout returns the ICMP errors about a leg's packet: those that were seen to
// be sent, and those on their way back.
func (c *Case) icmpAbout(leg *tracer.Leg) (errors []tracer.Quote) {
	for i := range leg.Hops {
		if e := leg.Hops[i].ICMP; e != nil {
			errors = append(errors, tracer.Quote{Type: e.Type, Code: e.Code})
		}
	}
	for i := range c.Legs {
		if l := &c.Legs[i]; l.Error != nil && l.Response != leg.Response && (l.Attempt == leg.Attempt || leg.Response) {
			errors = append(errors, *l.Error)
		}
	}
	return errors
}

// forwards reports whether what came by a hop's device is forwarded; known is
// false if that can't be read.
func (c *Case) forwards(h *tracer.Hop) (yes, known bool) {
	ns, name := c.NetNS(h.NetNS), forwardingKey(h)
	value, known := read(c, ns, "sysctl "+name, func() (string, error) { return ns.Sysctl(name) })
	return value == "1", known
}

// outerAddrs returns the addresses of a hop's packet, of the outermost tunnel if it
// is in one.
func outerAddrs(h *tracer.Hop) (src, dst netip.Addr) {
	src, dst = h.Src.Addr(), h.Dst.Addr()
	for t := h.Tunnel; t != nil; t = t.In {
		src, dst = t.Src.Addr(), t.Dst.Addr()
	}
	return src, dst
}

// inTunnel says that a packet was dropped in its tunnel: "'s vxlan packet".
func inTunnel(h *tracer.Hop) string {
	if h.Tunnel == nil {
		return ""
	}
	return "'s " + h.Tunnel.Kind + " packet"
}

// routeOf asks for the route that a packet met where it was dropped, or sent.
func (c *Case) routeOf(h *tracer.Hop, received bool) (*Route, bool) {
	ns := c.NetNS(h.NetNS)
	q := RouteQuery{Dst: h.Dst.Addr()}
	if received {
		q.Src, q.Iif = h.Src.Addr(), h.Dev
	}
	return read(c, ns, "route to "+h.Dst.Addr().String(), func() (*Route, error) { return ns.Route(q) })
}

// elsewhere reports whether a packet's destination is wrong, so that it is no
// wonder that it does not get there: the service's own address, which something
// should have translated; an endpoint that the service no longer has; or an
// address that masquerading chose.
func (c *Case) elsewhere(leg *tracer.Leg, h *tracer.Hop) bool {
	if leg.Response {
		return h.Dst.Addr() != c.Client.Addr()
	}
	if h.Dst == c.Server {
		return c.isService(h) || serviceNotTranslated(c) != nil
	}
	return c.isStale(h) || staleEndpoint(c) != nil
}

// isService reports whether the server that the client asked is a service, as far
// as an earlier lookup, rules, IPVS, or the client's resolv.conf say so: pods of a
// cluster search its domain for services.
func (c *Case) isService(h *tracer.Hop) bool {
	if c.servedBefore() != nil {
		return true
	}
	ns := c.NetNS(h.NetNS)
	for _, t := range []tracer.Transport{tracer.TransportUDP, tracer.TransportTCP} {
		if s, err := ns.Service(t, c.Server); err == nil && s != nil {
			return true
		}
	}
	r, err := c.NetNS(c.Lookup.NetNS).Resolver()
	return err == nil && slices.Contains(r.Nameservers, c.Server.Addr()) &&
		slices.ContainsFunc(r.Search, func(domain string) bool {
			return strings.HasPrefix(domain, "svc.") || strings.Contains(domain, ".svc.")
		})
}

// isStale reports whether a query was sent to an endpoint that its service does
// not have.
func (c *Case) isStale(h *tracer.Hop) bool {
	for _, hop := range c.Hops() {
		for change := hop.Change; change != nil; change = change.Also {
			if change.Kind != tracer.ChangeDNAT || change.To != h.Dst {
				continue
			}
			s, err := c.NetNS(hop.NetNS).Service(c.Transport, change.From)
			return err == nil && s != nil && s.Known && !slices.Contains(s.Endpoints, h.Dst)
		}
	}
	return false
}

// tunnelBeside returns a tunnel's device of a namespace that leads to the network
// of addr: it is up, and has an address of the same network of pods. Those are
// /16 of IPv4 and /48 of IPv6 at the least, as far as anybody has it.
func (c *Case) tunnelBeside(ns NetNS, addr netip.Addr) *Link {
	links, _ := read(c, ns, "devices", ns.Links)
	for i := range links {
		if l := &links[i]; l.Tunnel != nil && l.Up && slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return samePods(p.Addr(), addr) }) {
			return l
		}
	}
	return nil
}

func samePods(a, b netip.Addr) bool {
	bits := 16
	if a.Is6() {
		bits = 48
	}
	p, err := a.Prefix(bits)
	return err == nil && p.Contains(b) && a.IsPrivate()
}
