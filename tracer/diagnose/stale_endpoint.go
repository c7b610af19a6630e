package diagnose

import (
	"fmt"
	"slices"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// staleEndpoint finds a query that was redirected to an endpoint which its service
// no longer has: NAT and IPVS ask rules for the first packet of a connection
// alone, and each query from the same port makes conntrack's entry live longer.
func staleEndpoint(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	at, dnat := c.redirected()
	if dnat == nil {
		return c.staleInIPVS()
	}
	ns := c.NetNS(at.NetNS)
	s, ok := read(c, ns, "services", func() (*Service, error) { return ns.Service(c.Transport, c.Server) })
	if !ok || s == nil || !s.Known || slices.Contains(s.Endpoints, dnat.To) || c.ruleChose(at, dnat) {
		return nil
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceConfirmed,
		Summary:    fmt.Sprintf("an old entry of %s in %s sends the query to %s, which the service %s no longer has", tracker(s), ns.Name(), dnat.To, c.Server),
		Evidence: []string{
			fmt.Sprintf("%s redirected the query %s → %s", ns.Name(), dnat.From, dnat.To),
			fmt.Sprintf("%s leads to %s now", s.By, endpointsText(s)),
		},
	}
	if e := c.entry(ns, dnat); e != nil {
		f.Evidence = append(f.Evidence, e.text())
	}
	f.Mend = []string{inNS(ns, fmt.Sprintf("conntrack -D -p %s --orig-src %s --orig-dst %s --reply-src %s", c.Transport, c.Client.Addr(), c.Server.Addr(), dnat.To.Addr()))}
	if s.By == "IPVS" {
		f.Mend = []string{inNS(ns, "sysctl -w net.ipv4.vs.expire_nodest_conn=1 net.ipv4.vs.expire_quiescent_template=1")}
	}
	f.Mend = append(f.Mend, fmt.Sprintf("have the client ask from a new port each time: it keeps using %d", c.Client.Port()))
	return f
}

// ruleChose reports whether a rule redirected the query just then, as far as is
// known: an endpoint that has gone since is not stale. No rule was asked if the
// entry had seen a reply before.
func (c *Case) ruleChose(at *tracer.Hop, dnat *tracer.Change) bool {
	const established = 0 // IP_CT_ESTABLISHED
	if c.Transport == tracer.TransportUDP && at.CT != nil && at.CT.Info == established {
		return false
	}
	return dnat.By != nil && namesRule(dnat.By)
}

// tracker is what keeps the connections of a service.
func tracker(s *Service) string {
	if s.By == "IPVS" {
		return "IPVS"
	}
	return "conntrack"
}

func endpointsText(s *Service) string {
	if len(s.Endpoints) == 0 {
		return "no endpoint"
	}
	return list(s.Endpoints)
}

// entry returns conntrack's entry by which the query was redirected; nil if it is
// not there.
func (c *Case) entry(ns NetNS, dnat *tracer.Change) *ConntrackEntry {
	entries, _ := read(c, ns, "conntrack's entries", func() ([]ConntrackEntry, error) { return ns.ConntrackEntries(c.Client.Addr()) })
	for i := range entries {
		if e := &entries[i]; e.Transport == c.Transport && e.Orig.Src == c.Client && e.Orig.Dst == dnat.From && e.Reply.Src == dnat.To {
			return e
		}
	}
	return nil
}

func (e *ConntrackEntry) text() string {
	s := fmt.Sprintf("conntrack: %s %s → %s is sent to %s", upper(e.Transport), e.Orig.Src, e.Orig.Dst, e.Reply.Src)
	if e.Unreplied {
		s += ", no reply yet"
	}
	return s + fmt.Sprintf(", for another %s", e.Timeout.Round(time.Second))
}

// staleInIPVS finds a query that IPVS dropped without a word, though its service
// has real servers: its connection is with one that was removed, and unless
// expire_nodest_conn says so, IPVS makes no new one (ip_vs_in in
// net/netfilter/ipvs/ip_vs_core.c).
func (c *Case) staleInIPVS() *tracer.Finding {
	for leg, h := range c.Drops() {
		if leg.Response || !refused(h) || c.refusedByRule(h) || h.Drop.Confirm || h.Dst != c.Server || c.rejected(leg, h) != "" {
			continue
		}
		switch h.Drop.Hook {
		case "", tracer.HookInput, tracer.HookOutput:
		default:
			continue
		}
		ns := c.NetNS(h.NetNS)
		s, ok := read(c, ns, "services", func() (*Service, error) { return ns.Service(c.Transport, c.Server) })
		if !ok || s == nil || s.By != "IPVS" || len(s.Endpoints) == 0 {
			continue
		}
		const option = "net.ipv4.vs.expire_nodest_conn"
		value, ok := read(c, ns, option, func() (string, error) { return ns.Sysctl("net/ipv4/vs/expire_nodest_conn") })
		if !ok || value != "0" {
			continue
		}
		return &tracer.Finding{
			Confidence: tracer.ConfidenceConfirmed,
			Summary:    fmt.Sprintf("an old connection of IPVS in %s is with an endpoint that the service %s no longer has: IPVS drops the query", ns.Name(), c.Server),
			Evidence: []string{
				fmt.Sprintf("%s dropped the %s %s → %s, and told nobody: %s", ns.Name(), legName(leg), h.Src, h.Dst, dropText(h)),
				fmt.Sprintf("IPVS leads to %s now", endpointsText(s)),
				fmt.Sprintf("%s is 0 in %s", option, ns.Name()),
			},
			Mend: []string{
				inNS(ns, "sysctl -w "+option+"=1"),
				fmt.Sprintf("have the client ask from a new port each time: it keeps using %d", c.Client.Port()),
			},
		}
	}
	return nil
}
