package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestTunnelChecksum(t *testing.T) {
	tunnel := &tracer.Tunnel{Kind: "vxlan", VNI: 4096, Src: netip.MustParseAddrPort("192.0.2.1:50741"), Dst: netip.MustParseAddrPort("192.0.2.2:4789")}
	renamed := *tunnel
	renamed.Src = netip.MustParseAddrPort("192.0.2.1:12345")
	node := fakeNode{
		nsNodeA: {name: "node-a", links: []Link{{Name: "vxlan.calico", Kind: "vxlan", Tunnel: &TunnelLink{VNI: 4096}}}},
		nsNodeB: {name: "node-b"},
	}
	ok := tracer.Hop{Name: "hook", Hook: tracer.HookOutput, NetNS: nsNodeA, Tunnel: tunnel}
	broke := tracer.Hop{Name: "hook", Hook: tracer.HookPostrouting, NetNS: nsNodeA, Tunnel: &renamed, Breaks: []tracer.SumBreak{{
		HeaderSum: tracer.HeaderSum{Header: "udp", Depth: 1, Verdict: tracer.SumBad, Field: 1, Want: 2},
		Was:       tracer.SumOK, WasAt: &ok, From: tunnel.Src, To: renamed.Src,
	}}}
	drop := tracer.Hop{Name: "drop", NetNS: nsNodeB, Dev: "eth0", Tunnel: &renamed, Drop: &tracer.Drop{Reason: "UDP_CSUM", Function: "__udp4_lib_rcv"}}
	inside := drop
	inside.Tunnel = nil

	l := fakeLookup(tracer.OutcomeDropped, ok, broke, drop)
	checkDiagnosis(t, node, l, "tunnel-checksum")
	if mend := l.Findings[0].Mend[0]; !strings.HasPrefix(mend, "ethtool -K vxlan.calico ") {
		t.Errorf("mend is %q", mend)
	}
	// On the receiver's node alone, which saw nothing but the drop.
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, drop), "tunnel-checksum")
	// No tunnel, and no reason: other causes.
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, inside), "checksum-bad")
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeLost, ok, broke), Unexplained)
	// Configuration that can't be read takes no finding away.
	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeDropped, ok, broke, drop), "tunnel-checksum")
	// Of what may be incomplete, nothing is claimed.
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeIncomplete, ok, broke, drop))
}
