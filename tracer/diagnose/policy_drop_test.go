package diagnose

import (
	"errors"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

// dropIn is a drop by netfilter on node-b.
func dropIn(hook tracer.Hook, d tracer.Drop) tracer.Hop {
	if d.Reason == "" && d.Inferred == "" {
		d.Reason = "NETFILTER_DROP"
	}
	if d.Function == "" {
		d.Function = "nf_hook_slow"
	}
	d.Hook = hook
	return tracer.Hop{Name: "drop", NetNS: nsNodeB, Hook: hook, Drop: &d}
}

// byRule is what dropped a packet.
func byRule(name, text string) *tracer.By {
	return &tracer.By{Name: name, Rule: text, How: tracer.HowInferred}
}

func TestPolicyDrop(t *testing.T) {
	rule := byRule("iptables filter FORWARD", "-p udp -m udp --dport 53 -j DROP")
	tracked := dropIn(tracer.HookPrerouting, tracer.Drop{})
	tracked.CT = &tracer.Conntrack{}
	balanced := &fakeNS{name: "node-b", services: map[tracer.Transport]*Service{tracer.TransportUDP: {By: "IPVS"}}}
	unread := &fakeNS{name: "node-b", err: errors.New("no permission")}
	for _, c := range []struct {
		name string
		drop tracer.Hop
		node *fakeNS
		want string
		mend string
	}{
		{"a rule", dropIn(tracer.HookForward, tracer.Drop{By: rule}), nil, "policy-drop", "in node-b: iptables -D FORWARD -p udp -m udp --dport 53 -j DROP"},
		{"state unreadable", dropIn(tracer.HookForward, tracer.Drop{By: rule}), unread, "policy-drop", "in node-b: iptables -D FORWARD -p udp -m udp --dport 53 -j DROP"},
		{
			"in another table", dropIn("", tracer.Drop{By: byRule("iptables-legacy raw PREROUTING → DNS", "-p udp --dport 53 -j DROP")}), nil,
			"policy-drop", "in node-b: iptables-legacy -t raw -D DNS -p udp --dport 53 -j DROP",
		},
		{"a policy", dropIn(tracer.HookForward, tracer.Drop{By: byRule("iptables filter FORWARD", "policy drop")}), nil, "policy-drop", "in node-b: iptables -I FORWARD -p udp --dport 53 -j ACCEPT"},
		{
			"all but what is allowed", dropIn(tracer.HookForward, tracer.Drop{By: byRule("nftables inet fw in → rest handle 7", "counter drop")}), nil,
			"policy-drop", "in node-b: nft insert rule inet fw rest udp dport 53 accept",
		},
		{
			"nftables", dropIn(tracer.HookForward, tracer.Drop{Function: "nft_do_chain", By: byRule("nftables inet fw in handle 7", "udp dport 53 drop")}), nil,
			"policy-drop", "in node-b: nft delete rule inet fw in handle 7",
		},
		{
			"a network policy", dropIn(tracer.HookForward, tracer.Drop{By: byRule("iptables filter FORWARD → cali-FORWARD → cali-pi-x", "-j DROP")}), nil,
			"policy-drop", "allow DNS in the network policy: egress from 10.244.1.10 and ingress to 10.244.2.53, port 53, UDP and TCP",
		},
		{"several rules", dropIn(tracer.HookForward, tracer.Drop{By: byRule("one of 2 rules of iptables filter", "")}), nil, "policy-drop", "in node-b: iptables-save -c and nft -a list ruleset, to find the rule"},
		{"nftables frees it itself", dropIn("", tracer.Drop{Function: "nft_do_chain"}), nil, "policy-drop", "in node-b: nft -a list ruleset, to find the rule"},
		{"no rule found, but nothing else drops there", dropIn(tracer.HookForward, tracer.Drop{Inferred: "NETFILTER_DROP"}), nil, "policy-drop", "in node-b: iptables-save -c and nft -a list ruleset, to find the rule"},
		{"conntrack had passed it", tracked, nil, "policy-drop", "in node-b: iptables-save -c and nft -a list ruleset, to find the rule"},

		{"rule, conntrack, NAT or IPVS", dropIn("", tracer.Drop{}), nil, Unexplained, ""},
		{"rule or conntrack", dropIn(tracer.HookPrerouting, tracer.Drop{}), nil, Unexplained, ""},
		{"conntrack's confirmation", dropIn(tracer.HookPostrouting, tracer.Drop{Confirm: true}), nil, Unexplained, ""},
		{"another function", dropIn(tracer.HookPrerouting, tracer.Drop{By: &tracer.By{Name: "conntrack", How: tracer.HowSeen}}), nil, Unexplained, ""},
		{"a rule, or IPVS", dropIn("", tracer.Drop{By: rule}), balanced, Unexplained, ""},
		{"not netfilter", dropIn("", tracer.Drop{Reason: "NOMEM", Function: "ip_finish_output2"}), nil, Unexplained, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.node == nil {
				c.node = &fakeNS{name: "node-b"}
			}
			l := fakeLookup(tracer.OutcomeDropped, tracer.Hop{Name: "rx", NetNS: nsNodeB, Dev: "eth0"}, c.drop)
			checkDiagnosis(t, fakeNode{nsNodeB: c.node}, l, c.want)
			if len(l.Findings) != 1 || c.mend != "" && l.Findings[0].Mend[0] != c.mend {
				t.Errorf("findings %+v, want mend %q", l.Findings, c.mend)
			}
		})
	}
	// The second attempt came through.
	l := fakeLookup(tracer.OutcomeAnswered, dropIn(tracer.HookForward, tracer.Drop{By: rule}))
	checkDiagnosis(t, fakeNode{}, l)
}
