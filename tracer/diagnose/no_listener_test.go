package diagnose

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestNoListener(t *testing.T) {
	loopback := Socket{Transport: tracer.TransportUDP, Addr: netip.MustParseAddrPort("127.0.0.1:53"), PID: 7, Process: "coredns"}
	any6 := Socket{Transport: tracer.TransportUDP, Addr: netip.MustParseAddrPort("[::]:53"), PID: 7, Process: "coredns"}
	overTCP := any6
	overTCP.Transport = tracer.TransportTCP
	ipvs := []Link{{Name: ipvsDev, Addrs: []netip.Prefix{netip.PrefixFrom(service.Addr(), 32)}}}
	node := func(sockets ...Socket) fakeNode {
		return fakeNode{nsNodeA: {name: "node-a", host: true, links: ipvs}, nsServer: {name: "dns-b", sockets: sockets}}
	}
	arrived := tracer.Hop{Name: "rx", Dev: "eth0", NetNS: nsServer}
	refused := tracer.Hop{Name: "icmp", NetNS: nsServer, ICMP: &tracer.ICMP{Type: 3, Code: 3}}
	prohibited := tracer.Hop{Name: "icmp", NetNS: nsServer, ICMP: &tracer.ICMP{Type: 3, Code: 13}}
	drop := func(reason, function string) tracer.Hop {
		return tracer.Hop{Name: "drop", NetNS: nsServer, Drop: &tracer.Drop{Reason: reason, Function: function}}
	}
	noSocket := drop("NO_SOCKET", "__udp4_lib_rcv")
	tunnelled := noSocket
	tunnelled.Tunnel = &tracer.Tunnel{Kind: "vxlan"}
	onNode := noSocket
	onNode.NetNS, onNode.Src, onNode.Dst = nsNodeA, client, service
	byLateKernel := []tracer.Hop{arrived, refused, noSocket}

	tests := []struct {
		name       string
		node       fakeNode
		outcome    tracer.Outcome
		hops       []tracer.Hop
		want       string
		confidence tracer.Confidence
	}{
		{"nobody", node(), tracer.OutcomeRejected, byLateKernel, "no-listener", tracer.ConfidenceConfirmed},
		{"on another address", node(loopback), tracer.OutcomeRejected, byLateKernel, "no-listener", tracer.ConfidenceConfirmed},
		{"over the other transport", node(overTCP), tracer.OutcomeRejected, byLateKernel, "no-listener", tracer.ConfidenceConfirmed},
		{"by now somebody", node(any6), tracer.OutcomeRejected, byLateKernel, "no-listener", tracer.ConfidenceSeen},
		{"sockets unknown", fakeNode{}, tracer.OutcomeRejected, byLateKernel, "no-listener", tracer.ConfidenceSeen},
		{"no reasons", node(), tracer.OutcomeRejected, []tracer.Hop{arrived, refused, drop("", "__udp4_lib_rcv")}, "no-listener", tracer.ConfidenceConfirmed},
		{"no reasons, and nothing refused", node(), tracer.OutcomeDropped, []tracer.Hop{arrived, drop("", "__udp4_lib_rcv")}, Unexplained, ""},
		{"no reasons, and a rule refused", node(), tracer.OutcomeRejected, []tracer.Hop{arrived, prohibited, drop("", "__udp4_lib_rcv")}, Unexplained, ""},
		{"a rule that says the same", node(), tracer.OutcomeRejected, []tracer.Hop{arrived, refused, drop("NETFILTER_DROP", "nft_do_chain")}, "policy-reject", ""},
		{"the tunnel's packet", node(), tracer.OutcomeRejected, []tracer.Hop{tunnelled}, "tunnel-mismatch", ""},
		{"a service that IPVS lacks", node(), tracer.OutcomeRejected, []tracer.Hop{onNode}, Unexplained, ""},
		{"a service, devices unknown", fakeNode{nsNodeA: {name: "node-a", err: errors.New("gone")}}, tracer.OutcomeRejected, []tracer.Hop{onNode}, Unexplained, ""},
		{"the next attempt was answered", node(), tracer.OutcomeAnswered, byLateKernel, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := fakeLookup(tt.outcome, tt.hops...)
			if tt.want == "" {
				checkDiagnosis(t, tt.node, l)
				return
			}
			checkDiagnosis(t, tt.node, l, tt.want)
			if got := l.Findings[0].Confidence; tt.confidence != "" && got != tt.confidence {
				t.Errorf("confidence %s, want %s", got, tt.confidence)
			}
		})
	}
}
