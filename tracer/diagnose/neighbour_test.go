package diagnose

import (
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestNeighbourFailed(t *testing.T) {
	const id = "neighbour-failed"
	dst := backend.Addr()
	node := fakeNode{nsNodeB: {name: "node-b", neighbours: []Neighbour{{Addr: dst, Dev: "cni0", State: "FAILED"}}}}
	drop := dropped(nsNodeB, "cni0", "NEIGH_FAILED", "neigh_invalidate")
	for _, hop := range []tracer.Hop{
		drop, dropped(nsNodeB, "cni0", "NEIGH_QUEUEFULL", "__neigh_event_send"),
		dropped(nsNodeB, "cni0", "", "arp_error_report"), dropped(nsNodeB, "cni0", "NOT_SPECIFIED", "neigh_invalidate"),
	} {
		l := fakeLookup(tracer.OutcomeDropped, hop)
		checkDiagnosis(t, node, l, id)
		checkFinding(t, l, tracer.ConfidenceConfirmed, "10.244.2.53 does not answer ARP on cni0 of node-b", "kubectl get pods")
	}
	late := fakeNode{nsNodeB: {name: "node-b", neighbours: []Neighbour{{Addr: dst, Dev: "cni0", State: "REACHABLE"}}}}
	l := fakeLookup(tracer.OutcomeDropped, dropped(nsNodeB, "cni0", "NEIGH_QUEUEFULL", "__neigh_event_send"))
	checkDiagnosis(t, late, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "10.244.2.53 answered ARP late on cni0 of node-b, and too many packets waited for that", "loses packets")
	l = fakeLookup(tracer.OutcomeDropped, drop)
	checkDiagnosis(t, fakeNode{}, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "10.244.2.53 does not answer", "")

	waits := routed("waits", nsNodeA, "vxlan.calico")
	waits.Waits = &tracer.Neighbour{Addr: netip.MustParseAddr("10.244.2.0"), Dev: "vxlan.calico"}
	l = fakeLookup(tracer.OutcomeDropped, waits, dropped(nsNodeA, "vxlan.calico", "NEIGH_FAILED", "neigh_invalidate"))
	checkDiagnosis(t, fakeNode{nsNodeA: {name: "node-a", links: []Link{podTunnel}}}, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "10.244.2.0 does not answer ARP on vxlan.calico of node-a", "ip neigh replace 10.244.2.0")

	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, dropped(nsNodeB, "cni0", "NEIGH_CREATEFAIL", "ip_finish_output2")), Unexplained)
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeAnswered, drop))
}

// pair is a node with a veth pair into the server's pod.
func pair(node, pod Link) fakeNode {
	node.Index, node.Name, node.Kind, node.Peer, node.PeerNetNS = 5, "veth-dns", "veth", 2, nsServer
	pod.Index, pod.Name, pod.Kind, pod.MAC = 2, "eth0", "veth", "02:00:00:00:00:53"
	if pod.Addrs == nil {
		pod.Addrs = []netip.Prefix{netip.PrefixFrom(backend.Addr(), 24)}
	}
	return fakeNode{nsNodeB: {name: "node-b", links: []Link{node}}, nsServer: {name: "dns-b", links: []Link{pod}}}
}

func TestDeviceDown(t *testing.T) {
	const id = "device-down"
	up, down := Link{Up: true}, Link{}
	failed := dropped(nsNodeB, "cni0", "NEIGH_FAILED", "neigh_invalidate")
	l := fakeLookup(tracer.OutcomeDropped, failed)
	checkDiagnosis(t, pair(down, up), l, id)
	checkFinding(t, l, tracer.ConfidenceConfirmed, "veth-dns of node-b is down", "in node-b: ip link set veth-dns up")
	l = fakeLookup(tracer.OutcomeDropped, dropped(nsNodeB, "cni0", "NO_TX_TARGET", "br_dev_xmit"))
	checkDiagnosis(t, pair(up, down), l, id)
	checkFinding(t, l, tracer.ConfidenceConfirmed, "eth0 of dns-b is down", "in dns-b: ip link set eth0 up")
	l = fakeLookup(tracer.OutcomeLost, routed("rx", nsNodeB, "vxlan.calico"))
	checkDiagnosis(t, pair(down, up), l, id)
	checkFinding(t, l, tracer.ConfidenceLikely, "veth-dns of node-b is down", "")

	for _, why := range []string{"QUEUE_PURGE", "NOT_SPECIFIED"} { // it waited for its neighbour when the bridge lost its carrier
		flushed := dropped(nsNodeB, "cni0", why, "neigh_destroy")
		checkDiagnosis(t, pair(down, up), fakeLookup(tracer.OutcomeDropped, flushed), id)
		checkDiagnosis(t, pair(up, up), fakeLookup(tracer.OutcomeDropped, flushed), Unexplained)
	}

	checkDiagnosis(t, pair(up, up), fakeLookup(tracer.OutcomeDropped, failed), "neighbour-failed")
	refused := fakeLookup(tracer.OutcomeDropped, dropped(nsNodeB, "cni0", "NETFILTER_DROP", "nft_do_chain"))
	checkDiagnosis(t, pair(down, up), refused, "policy-drop")
	other := Link{Addrs: []netip.Prefix{netip.MustParsePrefix("10.244.2.54/24")}}
	checkDiagnosis(t, pair(down, other), fakeLookup(tracer.OutcomeDropped, failed), "neighbour-failed")
}

func TestWrongMAC(t *testing.T) {
	const id = "wrong-mac"
	up := Link{Up: true}
	out, drop := routed("tx", nsNodeB, "cni0"), dropped(nsServer, "eth0", "OTHERHOST", "ip_rcv_core")
	node := pair(up, up)
	says := func(mac string) fakeNode {
		node[nsNodeB].neighbours = []Neighbour{{Addr: backend.Addr(), Dev: "cni0", MAC: mac, State: "PERMANENT"}}
		return node
	}
	old := drop
	old.Drop = &tracer.Drop{Function: "ip_rcv_core"}
	for _, hop := range []tracer.Hop{drop, old} {
		l := fakeLookup(tracer.OutcomeDropped, out, hop)
		checkDiagnosis(t, says("02:00:00:00:99:99"), l, id)
		checkFinding(t, l, tracer.ConfidenceConfirmed, "node-b sends the query for 10.244.2.53 to a wrong hardware address", "ip neigh replace 10.244.2.53 lladdr 02:00:00:00:00:53 dev cni0")
		checkDiagnosis(t, says("02:00:00:00:00:53"), fakeLookup(tracer.OutcomeDropped, out, hop), Unexplained)
	}
	// A copy that a bridge sent to everybody.
	checkDiagnosis(t, says("02:00:00:00:99:99"), fakeLookup(tracer.OutcomeLost, out, dropped(nsClient, "eth0", "OTHERHOST", "ip_rcv_core")), Unexplained)
	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeDropped, out, drop), Unexplained)
}

func TestIPv6Off(t *testing.T) {
	const id = "ipv6-off"
	six := func(h tracer.Hop) tracer.Hop {
		h.Src, h.Dst = netip.MustParseAddrPort("[fd00::1:10]:4000"), netip.MustParseAddrPort("[fd00::2:53]:53")
		return h
	}
	off := map[string]string{"net/ipv6/conf/eth0/disable_ipv6": "1"}
	node := fakeNode{nsNodeB: {name: "node-b", sysctls: off}}
	drop := six(dropped(nsNodeB, "eth0", "IPV6DISABLED", "ip6_rcv_core"))
	old := six(dropped(nsNodeB, "eth0", "", "ip6_rcv_core"))
	for _, hop := range []tracer.Hop{drop, old} {
		l := fakeLookup(tracer.OutcomeDropped, hop)
		checkDiagnosis(t, node, l, id)
		checkFinding(t, l, tracer.ConfidenceConfirmed, "IPv6 is off on eth0 of node-b", "disable_ipv6=0")
	}
	l := fakeLookup(tracer.OutcomeDropped, drop)
	checkDiagnosis(t, fakeNode{}, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "IPv6 is off", "")
	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeDropped, old), Unexplained)

	failed := six(dropped(nsNodeB, "cni0", "NOT_SPECIFIED", "neigh_invalidate"))
	without := pair(Link{Up: true}, Link{Up: true})
	without[nsServer].sysctls = off
	l = fakeLookup(tracer.OutcomeDropped, failed)
	checkDiagnosis(t, without, l, id)
	checkFinding(t, l, tracer.ConfidenceLikely, "IPv6 is off on eth0 of dns-b", "in dns-b: sysctl -w")
	checkDiagnosis(t, pair(Link{Up: true}, Link{Up: true}), fakeLookup(tracer.OutcomeDropped, failed), "neighbour-failed")
}
