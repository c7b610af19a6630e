package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

// fakeBig is a lookup whose big reply leaves dns-b, and ends in a drop.
func fakeBig(drop tracer.Hop, legs ...tracer.Leg) *tracer.Lookup {
	l := fakeLookup(tracer.OutcomeDropped, routed("tx", nsClient, "eth0"))
	reply := tracer.Leg{Response: true, Attempt: 1, Hops: []tracer.Hop{routed("tx", nsServer, "eth0"), routed("rx", nsNodeB, "cni0"), drop}}
	for i := range reply.Hops {
		h := &reply.Hops[i]
		h.Time, h.Src, h.Dst, h.Len = uint64(10+i), backend, client, max(h.Len, 1400)
	}
	l.Legs = append(append(l.Legs, reply), legs...)
	return l
}

// fakeTold is the way of an ICMP error about a reply, that ends in a hop.
func fakeTold(q tracer.Quote, last tracer.Hop) tracer.Leg {
	q.From, q.To = netip.MustParseAddr("10.244.2.1"), backend.Addr()
	last.Time = 20
	return tracer.Leg{Attempt: 1, Error: &q, Hops: []tracer.Hop{last}}
}

func TestMTUTooBig(t *testing.T) {
	const id = "mtu-too-big"
	wire := netip.MustParseAddr("192.0.2.1")
	nodeB := &fakeNS{
		name: "node-b",
		links: []Link{
			{Index: 1, Name: "eth0", MTU: 1500, Up: true, Peer: 7, PeerNetNS: nsNodeA}, {Index: 2, Name: "cni0", MTU: 1450},
			{Index: 3, Name: "vxlan.calico", Kind: "vxlan", MTU: 1280, Tunnel: &TunnelLink{VNI: 4096, FDB: []netip.Addr{wire}}},
		},
		route: func(q RouteQuery) *Route {
			if q.Dst == wire {
				return &Route{Dev: "eth0"}
			}
			return &Route{Dev: "vxlan.calico"}
		},
	}
	node := fakeNode{
		nsNodeA: {name: "node-a", links: []Link{{Index: 7, Name: "eth0", MTU: 1300, Up: true}}},
		nsNodeB: nodeB, nsServer: {name: "dns-b", links: []Link{{Name: "eth0", MTU: 1450}}},
	}
	fragNeeded := tracer.Quote{Type: 3, Code: 4, MTU: 1280}
	drop := dropped(nsNodeB, "cni0", "PKT_TOO_BIG", "ip_forward")
	evidence := func(l *tracer.Lookup, want ...string) {
		t.Helper()
		all := strings.Join(l.Findings[0].Evidence, "\n")
		for _, w := range want {
			if !strings.Contains(all, w) {
				t.Errorf("evidence lacks %q:\n%s", w, all)
			}
		}
	}

	l := fakeBig(drop, fakeTold(fragNeeded, routed("rx", nsServer, "eth0")))
	checkDiagnosis(t, node, l, id)
	checkFinding(t, l, tracer.ConfidenceConfirmed, "too big for vxlan.calico in node-b, which takes 1280", "in node-b: ip link set vxlan.calico mtu 1450")
	evidence(l, "eth0 in dns-b 1450, cni0 in node-b 1450, vxlan.calico in node-b 1280", "10.244.2.1 told 10.244.2.53: ICMP fragmentation needed (MTU 1280); it came there")
	// What tells the sender is lost on its way.
	l = fakeBig(drop, fakeTold(fragNeeded, dropped(nsNodeB, "", "NETFILTER_DROP", "nft_do_chain")))
	checkDiagnosis(t, node, l, id)
	checkFinding(t, l, tracer.ConfidenceConfirmed, "too big for vxlan.calico", "let ICMP errors pass to 10.244.2.53")
	evidence(l, "which was itself dropped in node-b: NETFILTER_DROP in nft_do_chain")
	l = fakeBig(drop)
	checkDiagnosis(t, fakeNode{}, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "the reply of 1400 bytes is too big for its way from gone", "bufsize 1232")
	evidence(l, "not read: route to 10.244.1.10 of gone")

	// Kernels without reasons: what it told says which of several it was.
	old := dropped(nsNodeB, "cni0", "", "ip_forward")
	checkDiagnosis(t, node, fakeBig(old, fakeTold(fragNeeded, routed("rx", nsServer, "eth0"))), id)
	checkDiagnosis(t, node, fakeBig(old, fakeTold(tracer.Quote{Type: 3, Code: 13}, routed("rx", nsServer, "eth0"))), Unexplained)
	checkDiagnosis(t, node, fakeBig(old), Unexplained)

	// The tunnel's own packet.
	outer := dropped(nsNodeB, "eth0", "NOT_SPECIFIED", "ip_fragment")
	outer.Tunnel = &tracer.Tunnel{Kind: "vxlan", VNI: 4096, Src: netip.MustParseAddrPort("192.0.2.2:4000"), Dst: netip.AddrPortFrom(wire, 4789)}
	outer.Len = 1550
	l = fakeBig(outer)
	checkDiagnosis(t, node, l, id)
	checkFinding(t, l, tracer.ConfidenceConfirmed, "the reply's vxlan packet of 1550 bytes is too big for eth0 in node-b, which takes 1500", "ip link set vxlan.calico mtu 1450")

	// A veth's other end takes less, or is down.
	peer := dropped(nsNodeB, "eth0", "NOT_SPECIFIED", "__dev_forward_skb2")
	l = fakeBig(peer)
	checkDiagnosis(t, node, l, id)
	checkFinding(t, l, tracer.ConfidenceConfirmed, "too big for eth0 at the other end of its wire, which takes 1300", "give eth0 of node-b, and its other end eth0, the same MTU")
	fits := peer
	fits.Len = 1300 + vlanRoom + etherHeader
	l = fakeBig(fits)
	l.Legs[1].Hops[2].Len = fits.Len
	checkDiagnosis(t, node, l, Unexplained)
	node[nsNodeA].links[0].Up = false
	checkDiagnosis(t, node, fakeBig(peer), Unexplained)
	checkDiagnosis(t, fakeNode{}, fakeBig(peer), Unexplained)

	// A router elsewhere says so.
	l = fakeBig(routed("tx", nsNodeB, "eth0"), fakeTold(fragNeeded, routed("rx", nsServer, "eth0")))
	l.Outcome = tracer.OutcomeRejected
	checkDiagnosis(t, node, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "the reply is too big for its way beyond 10.244.2.1, which takes 1280 bytes", "no more than 1280")

	l = fakeBig(drop)
	l.Outcome = tracer.OutcomeAnswered // at the next attempt
	checkDiagnosis(t, node, l)
}
