package diagnose

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestMasqueradeWrongSource(t *testing.T) {
	wrong := netip.MustParseAddrPort("198.51.100.7:41522")
	rule := byRule("iptables nat POSTROUTING", "-d 10.244.2.53/32 -j SNAT --to-source 198.51.100.7")
	has := func(dev string) *fakeNS {
		return &fakeNS{name: "node-a", links: []Link{{Name: dev, Addrs: []netip.Prefix{netip.PrefixFrom(wrong.Addr(), 32)}}}}
	}
	noRoute := tracer.Drop{Reason: "IP_INNOROUTES", Function: "ip_error"}
	for _, c := range []struct {
		name string
		drop tracer.Drop
		node *fakeNS
		want string
	}{
		{"nobody's address", noRoute, &fakeNS{name: "node-a", links: []Link{{Name: "eth0"}}}, "masquerade-wrong-source"},
		{"before 5.17", tracer.Drop{Function: "ip_error"}, &fakeNS{name: "node-a", links: []Link{{Name: "eth0"}}}, "masquerade-wrong-source"},
		{"another device's", noRoute, has("eth1"), "masquerade-wrong-source"},
		{"the device's own: the route is missing", noRoute, has("vxlan.calico"), Unexplained},
		{"state unreadable", noRoute, &fakeNS{name: "node-a", err: errors.New("no permission")}, Unexplained},
		{"a firewall", tracer.Drop{Reason: "NETFILTER_DROP", Function: "nft_do_chain"}, has("eth1"), "policy-drop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			drop := c.drop
			l := fakeLookup(tracer.OutcomeDropped,
				tracer.Hop{Name: "nat", NetNS: nsNodeA, Src: wrong, Dst: backend, Change: &tracer.Change{Kind: tracer.ChangeSNAT, From: client, To: wrong, By: rule}},
				tracer.Hop{Name: "tx", NetNS: nsNodeA, Dev: "vxlan.calico", Src: wrong, Dst: backend})
			l.Legs = append(l.Legs, tracer.Leg{Response: true, Hops: []tracer.Hop{
				{Name: "drop", Time: 9, NetNS: nsNodeB, Dev: "veth-dns", Src: backend, Dst: wrong, Drop: &drop},
			}})
			checkDiagnosis(t, fakeNode{nsNodeA: c.node, nsNodeB: {name: "node-b"}}, l, c.want)
			const mend = "in node-a: iptables -t nat -D POSTROUTING -d 10.244.2.53/32 -j SNAT --to-source 198.51.100.7"
			if c.want == "masquerade-wrong-source" && l.Findings[0].Mend[0] != mend {
				t.Errorf("mend %q, want %q", l.Findings[0].Mend, mend)
			}
		})
	}
}
