package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// serviceNotTranslated finds a query that went on with the address of a service,
// which nobody has: no rule and no entry of IPVS turned it into that of an
// endpoint, or a rule kept it out of conntrack, and so out of NAT.
func serviceNotTranslated(c *Case) *tracer.Finding {
	if !c.Failed() || c.Backend.IsValid() && c.Backend != c.Server {
		return nil
	}
	for i := range c.Legs {
		leg := &c.Legs[i]
		if leg.Response || leg.Error != nil {
			continue
		}
		if at := c.atTranslator(leg); at != nil {
			if f := c.notTranslated(leg, at); f != nil {
				return f
			}
		}
	}
	return nil
}

// atTranslator returns the last hop of a query in the namespace that should have
// translated it: the first that it came into, or the one that sent it; nil if a
// rule, conntrack or IPVS ended it there, or it never went into one.
func (c *Case) atTranslator(leg *tracer.Leg) (at *tracer.Hop) {
	netns := c.Lookup.NetNS
	for i := range leg.Hops {
		h := &leg.Hops[i]
		if netns == c.Lookup.NetNS && h.NetNS != netns && h.NetNS != 0 && !c.NetNS(netns).Host() {
			netns = h.NetNS
		}
		if h.NetNS == netns {
			at = h
		}
	}
	if at == nil || at.Dst != c.Server || at.Tunnel != nil || refused(at) || at.NetNS == c.Lookup.NetNS && !c.NetNS(netns).Host() {
		return nil
	}
	return at
}

// notTranslated says why a query was not translated in a namespace.
func (c *Case) notTranslated(leg *tracer.Leg, at *tracer.Hop) *tracer.Finding {
	ns := c.NetNS(at.NetNS)
	s, ok := read(c, ns, "services", func() (*Service, error) { return ns.Service(c.Transport, c.Server) })
	f := &tracer.Finding{Confidence: tracer.ConfidenceLikely}
	switch {
	case !ok || c.isLocal(ns, at):
		return nil
	case s != nil && s.NoTrack && s.By != "":
		c.explainNoTrack(f, leg, at, s)
	case s != nil && (len(s.Endpoints) > 0 || s.By == "IPVS" || !c.onIPVSDevice(ns)): // there kube-proxy has a rule for the ports that IPVS lacks
		return nil
	case !c.otherTransportServed(f, ns) && !c.missingInIPVS(f, ns) && !c.rulesGone(f, ns, at):
		return nil
	}
	last := &leg.Hops[len(leg.Hops)-1]
	if c.wentOn(leg, at) || at.NoTrack {
		f.Confidence = tracer.ConfidenceConfirmed
	}
	seen := fmt.Sprintf("the %s still bore it at %s", legName(leg), c.At(last))
	if last.Drop != nil {
		seen += ": " + dropText(last)
	}
	f.Evidence = append(f.Evidence, seen)
	return f
}

// isLocal reports whether the server's address is one of the namespace, as that of
// a node-local cache is: packets for it need no translation. IPVS has its services'
// addresses so too, but there an entry translates them.
func (c *Case) isLocal(ns NetNS, h *tracer.Hop) bool {
	if h.Dst.Addr().IsLinkLocalUnicast() {
		return true
	}
	r, ok := read(c, ns, "routes", func() (*Route, error) { return ns.Route(RouteQuery{Dst: h.Dst.Addr()}) })
	return ok && r.Local && !c.onIPVSDevice(ns)
}

// wentOn reports whether the packet was seen past the place where it should have
// been translated: routed, delivered, or gone on to another namespace.
func (c *Case) wentOn(leg *tracer.Leg, at *tracer.Hop) bool {
	last := &leg.Hops[len(leg.Hops)-1]
	if last != at || last.Drop != nil {
		return true
	}
	switch at.Hook {
	case tracer.HookForward, tracer.HookInput, tracer.HookPostrouting:
		return true
	}
	return at.Name == "tx" || at.Name == "neighbour" || at.Name == "forward" || at.Name == "output" || at.Name == "deliver"
}

func (c *Case) explainNoTrack(f *tracer.Finding, leg *tracer.Leg, at *tracer.Hop, s *Service) {
	ns := c.NetNS(at.NetNS)
	f.Summary = fmt.Sprintf("a NOTRACK rule in %s keeps %s to the service %s out of conntrack: %s does not translate it", ns.Name(), upper(c.Transport), c.Server, s.By)
	f.Evidence = []string{fmt.Sprintf("%s has rules that translate %s, and one that exempts it from conntrack", ns.Name(), c.Server)}
	if at.NoTrack {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the %s is marked as exempt (untracked)", legName(leg)))
	}
	f.Mend = []string{
		inNS(ns, "iptables-save -t raw | grep -e NOTRACK -e --notrack, and nft list ruleset | grep notrack: delete that rule, or limit it to other addresses"),
	}
}

// restartProxy is what mends rules that kube-proxy should have made.
const restartProxy = "kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide, and restart the one of this node"

// otherTransportServed explains a service of which one transport is translated.
func (c *Case) otherTransportServed(f *tracer.Finding, ns NetNS) bool {
	other := tracer.TransportTCP
	if c.Transport == other {
		other = tracer.TransportUDP
	}
	s, ok := read(c, ns, "services", func() (*Service, error) { return ns.Service(other, c.Server) })
	if !ok || s == nil || len(s.Endpoints) == 0 {
		return false
	}
	f.Summary = fmt.Sprintf("%s in %s translates %s to the service %s, and not %s", s.By, ns.Name(), upper(other), c.Server, upper(c.Transport))
	f.Evidence = []string{fmt.Sprintf("%s knows %s %s, and no %s", s.By, upper(other), c.Server, upper(c.Transport))}
	f.Mend = []string{"kubectl -n kube-system get service kube-dns -o yaml, to see that it has port 53 of both protocols", restartProxy}
	return true
}

// missingInIPVS explains an address that kube-proxy has bound, and that IPVS does
// not know: the query is delivered on the node itself.
func (c *Case) missingInIPVS(f *tracer.Finding, ns NetNS) bool {
	if !c.onIPVSDevice(ns) {
		return false
	}
	f.Summary = fmt.Sprintf("IPVS in %s has no entry for the service %s", ns.Name(), c.Server)
	f.Evidence = []string{fmt.Sprintf("%s in %s has the address, and IPVS no virtual service for %s", ipvsDev, ns.Name(), c.Server)}
	f.Mend = []string{restartProxy, inNS(ns, "ipvsadm -Ln, to see which services are there")}
	return true
}

// rulesGone explains an address that is known to be a service's though nothing
// here says so any more.
func (c *Case) rulesGone(f *tracer.Finding, ns NetNS, at *tracer.Hop) bool {
	f.Summary = fmt.Sprintf("nothing in %s translates the service %s (%s): kube-proxy's rules for it are missing", ns.Name(), c.Server, upper(c.Transport))
	f.Evidence = []string{fmt.Sprintf("neither rules nor IPVS in %s know it", ns.Name())}
	f.Mend = []string{restartProxy}
	if p := c.servedBefore(); p != nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("an earlier lookup (%s) was redirected to %s", p.name, p.backend))
		return true
	}
	f.Evidence = append(f.Evidence, "resolv.conf of the client names it, and searches the cluster's domain")
	return c.isService(at)
}

// servedBefore returns an earlier lookup that was redirected from the same
// server's address; nil if there was none.
func (c *Case) servedBefore() *past {
	for p := range c.history.all() {
		if p.server == c.Server && p.backend != p.server {
			return p
		}
	}
	return nil
}

// onIPVSDevice reports whether kube-proxy has bound the service's address for IPVS.
func (c *Case) onIPVSDevice(ns NetNS) bool {
	links, _ := read(c, ns, "devices", ns.Links)
	for _, l := range links {
		for _, a := range l.Addrs {
			if l.Name == ipvsDev && a.Addr() == c.Server.Addr() {
				return true
			}
		}
	}
	return false
}
