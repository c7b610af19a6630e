package diagnose

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// policyDrop finds a rule of a firewall, or the policy of a chain, that dropped
// a packet without telling its sender.
func policyDrop(c *Case) *tracer.Finding {
	for leg, h := range c.Drops() {
		if c.policyRefused(h) && !c.droppedInvalid(leg, h) && c.rejected(leg, h) == "" {
			return c.policy(leg, h, "drops")
		}
	}
	return nil
}

// policyRefused reports whether a policy dropped a packet: a rule that is not
// there for a cause which has a finding of its own.
func (c *Case) policyRefused(h *tracer.Hop) bool {
	return c.Failed() && refused(h) && c.refusedByRule(h) && !c.fromStranger(h) && !c.ofNodeLocal(h) && !matchesInvalid(h.Drop.By)
}

// policy says which rule it was. does is what it does.
func (c *Case) policy(leg *tracer.Leg, h *tracer.Hop, does string) *tracer.Finding {
	ns := c.NetNS(h.NetNS)
	f := &tracer.Finding{Confidence: tracer.ConfidenceSeen, Evidence: c.ruleEvidence(leg, h)}
	what := fmt.Sprintf("the %s %s %s → %s", upper(c.Transport), legName(leg), h.Src.Addr(), h.Dst)
	if leg.Response {
		what = fmt.Sprintf("the %s %s %s → %s", upper(c.Transport), legName(leg), h.Src, h.Dst.Addr())
	}
	rule := "a rule of netfilter"
	if by := h.Drop.By; by != nil {
		rule = by.Name
		if !by.Part {
			f.Confidence = tracer.ConfidenceConfirmed
		}
	}
	f.Summary = fmt.Sprintf("a firewall in %s %s %s: %s", ns.Name(), does, what, rule)
	f.Mend = c.policyMend(leg, h)
	return f
}

// policyMend says what lets the packet pass.
func (c *Case) policyMend(leg *tracer.Leg, h *tracer.Hop) (mend []string) {
	ns, by := c.NetNS(h.NetNS), h.Drop.By
	r, ok := parseRule(by)
	switch {
	case by != nil && ownedByPolicy(by.Name): // what is changed by hand there is soon changed back
		mend = append(mend, fmt.Sprintf("allow DNS in the network policy: egress from %s and ingress to %s, port 53, UDP and TCP", c.Client.Addr(), c.server().Addr()))
	case !ok && h.Drop.Function == "nft_do_chain":
		mend = append(mend, inNS(ns, "nft -a list ruleset, to find the rule"))
	case !ok:
		mend = append(mend, inNS(ns, "iptables-save -c and nft -a list ruleset, to find the rule"))
	case strings.Contains(by.Rule, "port "+fmt.Sprint(c.Server.Port())) && r.remove(by.Rule) != "":
		mend = append(mend, inNS(ns, r.remove(by.Rule)))
	default:
		mend = append(mend, inNS(ns, r.accept(leg, h, c.Transport)))
	}
	return mend
}

// ownedByPolicy reports whether a chain is one that a network plugin writes.
func ownedByPolicy(name string) bool {
	for _, mark := range []string{"cali-", "KUBE-NWPLCY", "KUBE-POD-FW", "KUBE-ROUTER", "CILIUM", "WEAVE-NPC", "kube-network-policies"} {
		if strings.Contains(name, mark) {
			return true
		}
	}
	return false
}

// server returns where the query went in the end.
func (c *Case) server() netip.AddrPort {
	if c.Backend.IsValid() {
		return c.Backend
	}
	return c.Server
}

// accept is the command that lets a packet pass before a chain's policy drops it.
func (r ruleName) accept(leg *tracer.Leg, h *tracer.Hop, t tracer.Transport) string {
	port, number := "dport", h.Dst.Port()
	if leg.Response {
		port, number = "sport", h.Src.Port()
	}
	if h.Tunnel != nil {
		t, port, number = tracer.TransportUDP, "dport", h.Tunnel.Dst.Port()
	}
	if r.tool == "nftables" {
		return fmt.Sprintf("nft insert rule %s %s %s %s %s %d accept", r.family, r.table, r.chain, t, port, number)
	}
	return r.iptables("-I") + fmt.Sprintf("-p %s --%s %d -j ACCEPT", t, port, number)
}
