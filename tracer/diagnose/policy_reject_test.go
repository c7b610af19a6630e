package diagnose

import (
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestPolicyReject(t *testing.T) {
	node := fakeNode{nsNodeB: {name: "node-b"}}
	rule := byRule("iptables filter FORWARD", "-p udp -m udp --dport 53 -j REJECT --reject-with icmp-port-unreachable")
	drop := dropIn(tracer.HookForward, tracer.Drop{By: rule})
	silent := dropIn(tracer.HookForward, tracer.Drop{By: byRule("iptables filter FORWARD", "-p udp -j DROP")})
	icmp := tracer.Hop{Name: "icmp", NetNS: nsNodeB, ICMP: &tracer.ICMP{Type: 3, Code: 13}}
	elsewhere := icmp
	elsewhere.NetNS = nsNodeA
	back := tracer.Leg{Response: true, Error: &tracer.Quote{Type: 3, Code: 13}, Hops: []tracer.Hop{{Name: "tx", NetNS: nsNodeB}}}
	for _, c := range []struct {
		name string
		hops []tracer.Hop
		legs []tracer.Leg
		want string
	}{
		{"its ICMP error", []tracer.Hop{icmp, silent}, nil, "policy-reject"},
		{"the error on its way", []tracer.Hop{silent}, []tracer.Leg{back}, "policy-reject"},
		{"its rule alone", []tracer.Hop{drop}, nil, "policy-reject"},
		{"an error of somebody else", []tracer.Hop{elsewhere, silent}, nil, "policy-drop"},
	} {
		l := fakeLookup(tracer.OutcomeRejected, c.hops...)
		l.Legs = append(l.Legs, c.legs...)
		t.Run(c.name, func(t *testing.T) { checkDiagnosis(t, node, l, c.want) })
	}
}
