package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestHairpinFailed(t *testing.T) {
	self := netip.AddrPortFrom(client.Addr(), 53)
	back := tracer.Hop{Name: "tx", NetNS: nsNodeA, Dev: "cni0", Src: client, Dst: self, Change: &tracer.Change{Kind: tracer.ChangeDNAT, From: service, To: self}}
	own := []Link{{Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(client.Addr(), 24)}}}
	node := fakeNode{nsClient: {name: "client", links: own}, nsNodeA: {name: "node-a"}}
	for _, c := range []struct {
		name  string
		netns uint32
		drop  tracer.Drop
		src   netip.AddrPort
		node  fakeNode
		want  string
		mend  string
	}{
		{"not masqueraded", nsClient, tracer.Drop{Reason: "IP_LOCAL_SOURCE", Function: "ip_rcv_finish_core"}, client, node, "hairpin-failed", "-s 10.244.1.10 -d 10.244.1.10 -j MASQUERADE"},
		{"the same without a reason", nsClient, tracer.Drop{Function: "ip_rcv_finish_core"}, client, node, "hairpin-failed", ""},
		{"state unreadable", nsClient, tracer.Drop{Reason: "IP_LOCAL_SOURCE"}, client, fakeNode{}, "hairpin-failed", ""},
		{"the port's mode", nsNodeA, tracer.Drop{Reason: "NOT_SPECIFIED", Function: "br_handle_frame_finish"}, client, node, "hairpin-failed", "bridge link set dev veth-client hairpin on"},
		{"a firewall", nsNodeA, tracer.Drop{Reason: "NETFILTER_DROP", Function: "nft_do_chain"}, client, node, "policy-drop", ""},
		{"the port is not up", nsNodeA, tracer.Drop{Reason: "BRIDGE_INGRESS_STP_STATE", Function: "br_handle_frame_finish"}, client, node, Unexplained, ""},
		{
			"another's query", nsClient, tracer.Drop{Reason: "IP_LOCAL_SOURCE", Function: "ip_rcv_finish_core"}, netip.MustParseAddrPort("10.244.1.77:41522"),
			node, "martian-source", "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := "eth0"
			if c.netns == nsNodeA {
				dev = "veth-client"
			}
			drop := tracer.Hop{Name: "drop", NetNS: c.netns, Dev: dev, Src: c.src, Dst: self, Drop: &c.drop}
			l := fakeLookup(tracer.OutcomeDropped, back, drop)
			l.Backend = self
			checkDiagnosis(t, c.node, l, c.want)
			if got := strings.Join(l.Findings[0].Mend, "\n"); !strings.Contains(got, c.mend) {
				t.Errorf("mend %q, want %q", got, c.mend)
			}
		})
	}
}
