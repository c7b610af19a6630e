package diagnose

import (
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestChecksumBad(t *testing.T) {
	const id = "checksum-bad"
	node := fakeNode{nsClient: {name: "client"}, nsNodeA: {name: "node-a"}, nsServer: {name: "dns-b"}}
	sent, rx := routed("tx", nsClient, "eth0"), routed("rx", nsNodeA, "veth-client")
	bad := tracer.HeaderSum{Header: "udp", Verdict: tracer.SumBad, Field: 1, Want: 2}
	drop := dropped(nsServer, "eth0", "UDP_CSUM", "__udp4_lib_rcv")
	old := dropped(nsServer, "eth0", "", "__udp4_lib_rcv")

	wrong := sent
	wrong.Breaks = []tracer.SumBreak{{HeaderSum: bad}}
	l := fakeLookup(tracer.OutcomeDropped, wrong, rx, drop)
	checkDiagnosis(t, node, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "client sends the query with a wrong UDP checksum", "in client: ethtool -K eth0 tx off")
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, wrong, rx, old), id)

	forgot := routed("rx", nsNodeA, "cni0")
	forgot.Breaks = []tracer.SumBreak{{HeaderSum: bad, Was: tracer.SumOK, WasAt: &rx, From: service, To: backend}}
	l = fakeLookup(tracer.OutcomeDropped, sent, rx, forgot, drop)
	checkDiagnosis(t, node, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "something in node-a rewrote 10.96.0.10:53 → 10.244.2.53:53", "bpftool net")
	l = fakeLookup(tracer.OutcomeDropped, drop)
	checkDiagnosis(t, node, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "came to dns-b with a wrong checksum", "")

	// Of a tunnel's making.
	inTunnel := forgot
	inTunnel.Tunnel = &tracer.Tunnel{Kind: "vxlan", Src: netip.MustParseAddrPort("192.0.2.1:4000"), Dst: netip.MustParseAddrPort("192.0.2.2:4789")}
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, sent, inTunnel, drop), "tunnel-checksum")
	// Right, and dropped there for another reason.
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, sent, rx, old), Unexplained)
}
