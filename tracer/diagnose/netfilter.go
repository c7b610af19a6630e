package diagnose

import (
	"fmt"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// refused reports whether netfilter dropped a packet: a rule, conntrack, NAT or IPVS.
func refused(h *tracer.Hop) bool {
	return h.Drop != nil && (reason(h) == "NETFILTER_DROP" || h.Drop.Function == "nft_do_chain")
}

// refusedByRule reports whether it was a rule, or a chain's policy, that did so.
func (c *Case) refusedByRule(h *tracer.Hop) bool {
	switch {
	case !refused(h) || h.Drop.Confirm:
		return false
	case h.Drop.Function == "nft_do_chain": // frees what its own rules drop (since 6.7), and nothing else
		return true
	case h.Drop.By == nil:
		return onlyRulesRefuse(h)
	case !namesRule(h.Drop.By):
		return false
	case h.Drop.Hook != "":
		return true
	}
	return !c.balancedByIPVS(h) // it drops at INPUT, which no tracepoint tells from a FORWARD that has a rule
}

// onlyRulesRefuse reports whether a packet was refused where nothing but rules
// does that. Conntrack refuses what it can't make an entry for, where the packet
// comes in; NAT and IPVS where it is delivered or leaves.
func onlyRulesRefuse(h *tracer.Hop) bool {
	switch h.Drop.Hook {
	case tracer.HookForward:
		return true
	case tracer.HookPrerouting, tracer.HookOutput:
		return h.CT != nil || h.NoTrack
	}
	return false
}

// namesRule reports whether By is a rule of iptables or nftables, or one of
// several, and not a part of the kernel.
func namesRule(by *tracer.By) bool {
	for _, tool := range []string{"iptables", "ip6tables", "nftables", "one of "} {
		if strings.HasPrefix(by.Name, tool) {
			return true
		}
	}
	return false
}

// balancedByIPVS reports whether IPVS has a service for where the packet goes.
func (c *Case) balancedByIPVS(h *tracer.Hop) bool {
	ns := c.NetNS(h.NetNS)
	s, ok := read(c, ns, "services", func() (*Service, error) { return ns.Service(c.Transport, h.Dst) })
	return ok && s != nil && s.By == "IPVS"
}

// byItsRule is what rejected returns where the rule alone tells.
const byItsRule = "its rule"

// rejected returns how the sender of a dropped packet was told of it by the
// namespace that dropped it; empty if it was not, as far as was seen.
func (c *Case) rejected(leg *tracer.Leg, drop *tracer.Hop) string {
	for i := range leg.Hops {
		if h := &leg.Hops[i]; h.ICMP != nil && h.NetNS == drop.NetNS {
			return "ICMP " + h.ICMP.String()
		}
	}
	for i := range c.Legs {
		l := &c.Legs[i]
		if len(l.Hops) == 0 || l.Hops[0].NetNS != drop.NetNS || l.Hops[0].Time > drop.Time || l.Hops[0].Name == "rx" {
			continue
		}
		switch {
		case l.Error != nil && l.Response != leg.Response:
			icmp := tracer.ICMP{Type: l.Error.Type, Code: l.Error.Code}
			return "ICMP " + icmp.String()
		case l.Segment == "RST" && l.Response != leg.Response:
			return "a TCP reset"
		}
	}
	if by := drop.Drop.By; by != nil && (strings.Contains(by.Rule, "REJECT") || strings.HasPrefix(by.Rule, "reject") || strings.Contains(by.Rule, " reject")) {
		return byItsRule
	}
	return ""
}

// ruleEvidence says where a packet died, and by which rule.
func (c *Case) ruleEvidence(leg *tracer.Leg, h *tracer.Hop) []string {
	died := fmt.Sprintf("%s dropped the %s %v → %v: %s", c.NetNS(h.NetNS).Name(), legName(leg), h.Src, h.Dst, dropText(h))
	if h.Drop.Hook != "" {
		died += ", in " + string(h.Drop.Hook)
	}
	evidence := []string{died}
	if h.Tunnel != nil {
		evidence = append(evidence, fmt.Sprintf("it was in its %s packet, %v → %v", h.Tunnel.Kind, h.Tunnel.Src, h.Tunnel.Dst))
	}
	if h.Drop.By != nil {
		evidence = append(evidence, "by "+h.Drop.By.String())
	}
	return append(evidence, c.otherTransport()...)
}

// otherTransport tells whether the same backend answered over the other transport.
func (c *Case) otherTransport() []string {
	server := c.Backend
	if !server.IsValid() {
		server = c.Server
	}
	for p := range c.history.all() {
		if p.transport != c.Transport && p.backend == server && !p.failed() && p.outcome == tracer.OutcomeAnswered {
			return []string{fmt.Sprintf("over %s the same server answered (%s)", upper(p.transport), p.name)}
		}
	}
	return nil
}

func upper(t tracer.Transport) string { return strings.ToUpper(string(t)) }

// inNS says where a command is to be run: in a namespace that is not the node's own.
func inNS(ns NetNS, command string) string {
	if ns.Host() {
		return command
	}
	return "in " + ns.Name() + ": " + command
}

// ruleName is the name of a rule in its parts; see rules.Explainer.
type ruleName struct {
	tool   string // iptables, iptables-legacy, ip6tables, …, nftables
	family string // of nftables
	table  string
	chain  string
	handle string // of nftables; empty if it has none
}

// parseRule takes the name of a single rule apart.
func parseRule(by *tracer.By) (r ruleName, ok bool) {
	if by == nil || by.Part || !namesRule(by) || strings.HasPrefix(by.Name, "one of ") {
		return r, false
	}
	steps := strings.Split(by.Name, " → ")
	words := strings.Fields(steps[0])
	want := 3 // tool, table, base chain
	if r.tool = words[0]; r.tool == "nftables" {
		want = 4
	}
	last := strings.Fields(steps[len(steps)-1])
	if n := len(last); n >= 3 && last[n-2] == "handle" {
		r.handle = last[n-1]
		last = last[:n-2]
		if len(steps) == 1 {
			words = last
		}
	}
	if len(words) != want || len(steps) > 1 && len(last) != 1 {
		return r, false // a name with blanks in it
	}
	if want == 4 {
		r.family = words[1]
	}
	r.table, r.chain = words[want-2], last[len(last)-1]
	return r, true
}

// remove is the command that takes a rule away; empty if its name does not tell.
func (r ruleName) remove(text string) string {
	switch {
	case r.tool == "nftables" && r.handle != "":
		return fmt.Sprintf("nft delete rule %s %s %s handle %s", r.family, r.table, r.chain, r.handle)
	case r.tool == "nftables" || text == "" || strings.HasPrefix(text, "policy "):
		return ""
	}
	return r.iptables("-D") + text
}

// iptables is the start of a command that changes the rule's chain.
func (r ruleName) iptables(op string) string {
	if r.table == "filter" {
		return fmt.Sprintf("%s %s %s ", r.tool, op, r.chain)
	}
	return fmt.Sprintf("%s -t %s %s %s ", r.tool, r.table, op, r.chain)
}
