package diagnose

import (
	"fmt"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// nodelocalRulesMissing finds a node-local DNS cache that a firewall cuts off. Its
// address is link-local, and its node's own. The cache has rules of its own: they
// exempt it from conntrack and accept it at INPUT and OUTPUT (kubernetes/dns,
// cmd/node-cache/app/cache_app.go). Without them, or where others come first, a
// firewall drops what it does not know; and as replies of what is exempt belong to
// no connection, one that lets established connections pass drops them too.
func nodelocalRulesMissing(c *Case) *tracer.Finding {
	for leg, h := range c.Drops() {
		if c.Failed() && refused(h) && c.refusedByRule(h) && c.ofNodeLocal(h) {
			return c.cutOff(leg, h)
		}
	}
	return nil
}

// ofNodeLocal reports whether a packet was dropped on its way to or from a cache
// with a link-local address on the same node. Other addresses of that kind are
// servers of a cloud.
func (c *Case) ofNodeLocal(h *tracer.Hop) bool {
	addr := c.Server.Addr()
	if !addr.IsLinkLocalUnicast() || h.Tunnel != nil || h.Dst != c.Server && h.Src != c.Server {
		return false
	}
	if h.Dst == c.Server && h.Hook == tracer.HookInput || h.Src == c.Server && h.Hook == tracer.HookOutput {
		return true // it is where what is for the node itself goes, or comes from
	}
	return h.Hook != tracer.HookForward && c.ownAddr(c.NetNS(h.NetNS), addr) != nil
}

// cutOff says which rules it is for want of.
func (c *Case) cutOff(leg *tracer.Leg, h *tracer.Hop) *tracer.Finding {
	ns := c.NetNS(h.NetNS)
	way := "to"
	if leg.Response {
		way = "from"
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary: fmt.Sprintf("a firewall in %s drops the %s %s %s the node-local cache %s: what accepts it is missing, or comes too late",
			ns.Name(), upper(c.Transport), legName(leg), way, c.Server.Addr()),
		Evidence: c.ruleEvidence(leg, h),
		Mend:     c.nodelocalMend(leg, h),
	}
	s, ok := read(c, ns, "rules", func() (*Service, error) { return ns.Service(c.Transport, c.Server) })
	if !ok {
		return f
	}
	f.Confidence = tracer.ConfidenceConfirmed
	switch {
	case s == nil || !s.NoTrack:
		f.Evidence = append(f.Evidence, fmt.Sprintf("no rule in %s exempts the cache from conntrack: its own rules are missing", ns.Name()))
	case leg.Response:
		f.Evidence = append(f.Evidence, "the cache's NOTRACK rules are there: to a firewall its replies belong to no established connection")
	default:
		f.Evidence = append(f.Evidence, "the cache's NOTRACK rules are there: to a firewall what is for it belongs to no connection")
	}
	return f
}

// nodelocalMend says how to let the cache's packets pass.
func (c *Case) nodelocalMend(leg *tracer.Leg, h *tracer.Hop) (mend []string) {
	ns, by := c.NetNS(h.NetNS), h.Drop.By
	if by != nil && strings.Contains(by.Name, "cali-") {
		mend = append(mend, `calicoctl patch felixconfiguration default -p '{"spec":{"chainInsertMode":"Append"}}', so that Calico's rules come after the cache's`)
	}
	mend = append(mend, "kubectl -n kube-system rollout restart daemonset node-local-dns: it adds its rules as it starts")
	if by != nil && strings.HasPrefix(by.Name, "nftables") { // what iptables accepts, a chain of nftables may still drop
		r, ok := parseRule(by)
		if ok {
			mend = append(mend, inNS(ns, r.accept(leg, h, c.Transport)))
		}
		return mend
	}
	tool, chain := "iptables", "INPUT -d %s -p %s --dport %d -j ACCEPT"
	if leg.Response {
		chain = "OUTPUT -s %s -p %s --sport %d -j ACCEPT"
	}
	if c.Server.Addr().Is6() {
		tool = "ip6tables"
	}
	return append(mend, inNS(ns, tool+" -I "+fmt.Sprintf(chain, c.Server.Addr(), c.Transport, c.Server.Port())))
}
