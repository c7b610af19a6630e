package diagnose

import (
	"fmt"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// ipvsDev is the device that kube-proxy binds the addresses of services to where
// IPVS translates them: a packet that gets no farther was not translated, and
// nobody is meant to listen.
const ipvsDev = "kube-ipvs0"

// noListener finds a query, or a SYN, that came to its server's network
// namespace, where no socket is bound to its address and port.
func noListener(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		asks := !leg.Response && (leg.Segment == "" || leg.Segment == "SYN")
		if !asks || drop.Tunnel != nil || !c.noSocket(leg, drop) || c.untranslated(drop) {
			continue
		}
		return c.nobodyListens(leg, drop)
	}
	return nil
}

// untranslated reports whether a query ended at a service's address, or may have.
func (c *Case) untranslated(drop *tracer.Hop) bool {
	if drop.Dst != c.Server {
		return false
	}
	ns := c.NetNS(drop.NetNS)
	links, ok := read(c, ns, "devices", ns.Links)
	if !ok {
		return ns.Pod() == ""
	}
	for _, l := range links {
		for _, a := range l.Addrs {
			if l.Name == ipvsDev && a.Addr() == drop.Dst.Addr() {
				return true
			}
		}
	}
	return false
}

func (c *Case) nobodyListens(leg *tracer.Leg, drop *tracer.Hop) *tracer.Finding {
	ns := c.NetNS(drop.NetNS)
	transport := strings.ToUpper(string(c.Transport))
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("no DNS server listens on %v (%s) in %s", drop.Dst, transport, ns.Name()),
		Evidence:   []string{fmt.Sprintf("%s refused the %s: %s", ns.Name(), legName(leg), dropText(drop))},
		Mend:       []string{fmt.Sprintf("start the DNS server in %s, or have it listen on %v (%s)", ns.Name(), drop.Dst, transport), logs(ns, nil)},
	}
	bound, takes, ok := c.sockets(drop)
	switch {
	case !ok:
	case takes != nil:
		f.Evidence = append(f.Evidence, "since then, "+takes.String())
		return f
	case len(bound) == 0:
		f.Confidence = tracer.ConfidenceConfirmed
		f.Evidence = append(f.Evidence, fmt.Sprintf("no socket in %s is bound to port %d", ns.Name(), drop.Dst.Port()))
	default:
		f.Confidence = tracer.ConfidenceConfirmed
		for i := range bound {
			f.Evidence = append(f.Evidence, "there, "+bound[i].String()+" instead")
		}
		f.Mend[0] = fmt.Sprintf("have the DNS server in %s listen on %v (%s) too", ns.Name(), drop.Dst, transport)
	}
	return f
}
