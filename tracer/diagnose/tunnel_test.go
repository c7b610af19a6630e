package diagnose

import (
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

// ofB is the tunnel's header of a packet to node-b.
var ofB = &tracer.Tunnel{Kind: "vxlan", VNI: 4096, Src: netip.MustParseAddrPort("192.0.2.1:4000"), Dst: netip.MustParseAddrPort("192.0.2.2:4789")}

// inside makes a hop's packet one in a tunnel.
func inside(h tracer.Hop) tracer.Hop {
	h.Tunnel = ofB
	return h
}

// nodeB is a node with one tunnel's device.
func nodeB(change func(*Link)) fakeNode {
	tunnel := *podTunnel.Tunnel
	l := podTunnel
	l.Tunnel = &tunnel
	change(&l)
	return fakeNode{nsNodeB: {name: "node-b", links: []Link{l}}}
}

func TestTunnelMismatch(t *testing.T) {
	const id = "tunnel-mismatch"
	vni := inside(dropped(nsNodeB, "eth0", "VXLAN_VNI_NOT_FOUND", "vxlan_rcv"))
	port := inside(dropped(nsNodeB, "eth0", "NO_SOCKET", "__udp4_lib_rcv"))
	oldVNI := inside(dropped(nsNodeB, "eth0", "", "vxlan_rcv"))
	oldPort := inside(dropped(nsNodeB, "eth0", "", "__udp4_lib_rcv"))
	same := nodeB(func(*Link) {})
	for _, c := range []struct {
		name    string
		node    fakeNode
		drop    tracer.Hop
		sure    tracer.Confidence
		summary string
		mend    string
	}{
		{"another VNI", nodeB(func(l *Link) { l.Tunnel.VNI = 7 }), vni, tracer.ConfidenceConfirmed, "VNI 7, not 4096", "ip link del vxlan.calico"},
		{"another port", nodeB(func(l *Link) { l.Tunnel.Port = 8472 }), port, tracer.ConfidenceConfirmed, "UDP port 8472, not 4789", "ip link del"},
		{"down", nodeB(func(l *Link) { l.Up = false }), port, tracer.ConfidenceConfirmed, "vxlan.calico of node-b is down", "ip link set vxlan.calico up"},
		{"none", fakeNode{nsNodeB: {name: "node-b"}}, port, tracer.ConfidenceConfirmed, "node-b has no vxlan device for VNI 4096 on UDP port 4789", "CNI agent"},
		{"not read", fakeNode{}, vni, tracer.ConfidenceSeen, "no vxlan device", "CNI agent"},
		{"mended since", same, vni, tracer.ConfidenceSeen, "no vxlan device", ""},
		{"no reasons, VNI", nodeB(func(l *Link) { l.Tunnel.VNI = 7 }), oldVNI, tracer.ConfidenceConfirmed, "VNI 7, not 4096", ""},
		{"no reasons, port", nodeB(func(l *Link) { l.Tunnel.Port = 8472 }), oldPort, tracer.ConfidenceConfirmed, "UDP port 8472", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := fakeLookup(tracer.OutcomeDropped, c.drop)
			checkDiagnosis(t, c.node, l, id)
			checkFinding(t, l, c.sure, c.summary, c.mend)
		})
	}
	checkDiagnosis(t, same, fakeLookup(tracer.OutcomeDropped, oldVNI), Unexplained) // the header was wrong
	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeDropped, oldPort), Unexplained)
	checkDiagnosis(t, same, fakeLookup(tracer.OutcomeDropped, inside(dropped(nsNodeB, "eth0", "UDP_CSUM", "__udp4_lib_rcv"))), "tunnel-checksum")
	checkDiagnosis(t, same, fakeLookup(tracer.OutcomeAnswered, vni))
}

func TestTunnelWrongDevice(t *testing.T) {
	const id = "tunnel-wrong-device"
	knows := func(peer string) fakeNode {
		return nodeB(func(l *Link) { l.Tunnel.FDB = []netip.Addr{netip.MustParseAddr(peer)} })
	}
	drop := inside(dropped(nsNodeB, "eth0", "NETFILTER_DROP", "nft_do_chain"))
	drop.Drop.Hook = tracer.HookInput
	l := fakeLookup(tracer.OutcomeDropped, drop)
	checkDiagnosis(t, knows("192.0.2.9"), l, id)
	checkFinding(t, l, tracer.ConfidenceConfirmed, "node-b refuses the vxlan packets from 192.0.2.1", "on the node that has 192.0.2.1")
	checkDiagnosis(t, knows("192.0.2.1"), fakeLookup(tracer.OutcomeDropped, drop), "policy-drop")
	checkDiagnosis(t, nodeB(func(*Link) {}), fakeLookup(tracer.OutcomeDropped, drop), "policy-drop")
	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeDropped, drop), "policy-drop")
}

func TestTunnelPeerUnknown(t *testing.T) {
	const id = "tunnel-peer-unknown"
	gateway := netip.MustParseAddr("10.244.2.0")
	out := routed("tx", nsNodeA, "vxlan.calico")
	out.Route = &tracer.Route{Dev: "vxlan.calico", Gateway: gateway}
	drop := dropped(nsNodeA, "vxlan.calico", "NO_TX_TARGET", "vxlan_xmit")
	node := fakeNode{nsNodeA: {name: "node-a", links: []Link{podTunnel}, neighbours: []Neighbour{{Addr: gateway, Dev: "vxlan.calico", MAC: "02:00:00:00:20:02"}}}}
	for _, reason := range []string{"NO_TX_TARGET", "NOT_SPECIFIED", ""} {
		l := fakeLookup(tracer.OutcomeDropped, out, dropped(nsNodeA, "vxlan.calico", reason, "vxlan_xmit"))
		checkDiagnosis(t, node, l, id)
		checkFinding(t, l, tracer.ConfidenceConfirmed, "does not know which node 10.244.2.0 is", "bridge fdb append 02:00:00:00:20:02 dev vxlan.calico")
	}
	l := fakeLookup(tracer.OutcomeDropped, out, drop)
	checkDiagnosis(t, fakeNode{}, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "has no forwarding entry", "bridge fdb append MAC")
	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeDropped, out, dropped(nsNodeA, "vxlan.calico", "", "vxlan_xmit")), Unexplained)
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, out, dropped(nsNodeA, "vxlan.calico", "TUNNEL_TXINFO", "vxlan_xmit")), Unexplained)
}
