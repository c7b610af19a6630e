package tracer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is dropped without a reason, in a function where a checksum can be it, is
// dropped for that if it is wrong, and the kernel looks at it.
func TestBlame(t *testing.T) {
	sum := func(header string, depth int, v SumVerdict) HeaderSum {
		return HeaderSum{Header: header, Depth: depth, Verdict: v}
	}
	bad := []HeaderSum{sum("ipv4", 0, SumOK), sum("udp", 0, SumBad)}
	const wrong = "its UDP checksum is wrong"
	tests := []struct {
		name     string
		drop     Drop
		sums     []HeaderSum
		summed   uint8
		inferred string
		text     string
	}{
		{"no reason", Drop{Function: "__udp4_lib_rcv"}, bad, 0, "UDP_CSUM", "dropped in __udp4_lib_rcv: " + wrong + " (this kernel gives no reason)"},
		{"over IPv6", Drop{Function: "__udp6_lib_rcv"}, []HeaderSum{sum("udp", 0, SumBad)}, summedComplete, "UDP_CSUM",
			"dropped in __udp6_lib_rcv: " + wrong + " (this kernel gives no reason)"},
		{"about to be read", Drop{Function: "udp_recvmsg", Reason: unspecified}, bad, summedComplete, "UDP_CSUM", "NOT_SPECIFIED in udp_recvmsg: " + wrong},
		{"TCP", Drop{Function: "tcp_v4_rcv"}, []HeaderSum{sum("tcp", 0, SumBad)}, 0, "TCP_CSUM",
			"dropped in tcp_v4_rcv: its TCP checksum is wrong (this kernel gives no reason)"},
		{"a tunnel's", Drop{Function: "udp_queue_rcv_one_skb"}, []HeaderSum{sum("ipv4", 1, SumOK), sum("udp", 1, SumBad), sum("udp", 0, SumOK)}, 0,
			"UDP_CSUM", "dropped in udp_queue_rcv_one_skb: " + wrong + " (this kernel gives no reason)"},
		{"a reason", Drop{Function: "__udp4_lib_rcv", Reason: "NO_SOCKET"}, bad, 0, "", "NO_SOCKET in __udp4_lib_rcv: no socket takes it"},
		{"that of what is in the tunnel", Drop{Function: "__first_packet_length", Reason: unspecified},
			[]HeaderSum{sum("udp", 1, SumNone), sum("udp", 0, SumBad)}, 0, "", "NOT_SPECIFIED in __first_packet_length"},
		{"nobody looks at it", Drop{Function: "udp_recvmsg", Reason: unspecified}, bad, summedPartial, "", "NOT_SPECIFIED in udp_recvmsg"},
		{"it is taken for right", Drop{Function: "udp_recvmsg", Reason: unspecified}, bad, summedUnnecessary, "", "NOT_SPECIFIED in udp_recvmsg"},
		{"it is right", Drop{Function: "udp_recvmsg", Reason: unspecified}, []HeaderSum{sum("udp", 0, SumOK)}, 0, "", "NOT_SPECIFIED in udp_recvmsg"},
		{"a function that does not look", Drop{Function: "ip_fragment", Reason: unspecified}, bad, 0, "",
			"NOT_SPECIFIED in ip_fragment: it is too big for its way (MTU), and must not be fragmented (DF)"},
		{"not captured", Drop{Function: "udp_recvmsg", Reason: unspecified}, nil, 0, "", "NOT_SPECIFIED in udp_recvmsg"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.drop.explain()
			tt.drop.blame(&Hop{Sums: tt.sums, Checksum: Checksum{Summed: tt.summed}})
			if diff := cmp.Diff([]string{tt.inferred, tt.text}, []string{tt.drop.Inferred, tt.drop.String()}); diff != "" {
				t.Errorf("reason inferred, text (-want +got):\n%s", diff)
			}
		})
	}
}

// A lookup says of a query, and of the tunnel's packet that it is in, that its
// checksum killed it, on kernels that do not.
func TestDroppedForChecksum(t *testing.T) {
	freed := func(function, reason string) func(*Event) {
		return func(e *Event) { e.Freed, e.Captured = &Freed{Reason: reason, Function: function}, nil }
	}
	tunneled := put(overlayPacket(t), outerUDP+6, 0xbad)
	tests := []struct {
		name   string
		events []*Event
		want   string
	}{
		{"query", []*Event{
			sighting(ProbeNetifReceiveSkb, put(udp4(t), 26, 0xbad), factsOf(20)),
			sighting(ProbeKfreeSkb, put(udp4(t), 26, 0xbad), factsOf(20), freed("__udp4_lib_rcv", "")),
		}, "the query: dropped in __udp4_lib_rcv: its UDP checksum is wrong (this kernel gives no reason)"},
		{"query that a process was about to read", []*Event{
			sighting(ProbeNetifReceiveSkb, put(udp4(t), 26, 0xbad), factsOf(20)),
			sighting(ProbeSkDataReady, put(udp4(t), 26, 0xbad), factsOf(20), again),
			sighting(ProbeKfreeSkb, put(udp4(t), 26, 0xbad), factsOf(20), freed("udp_recvmsg", unspecified)),
		}, "the query: NOT_SPECIFIED in udp_recvmsg: its UDP checksum is wrong"},
		{"query in a tunnel", []*Event{
			sighting(ProbeNetifReceiveSkb, tunneled, factsOf(innerUDP, in("vxlan"))),
			sighting(ProbeKfreeSkb, tunneled, factsOf(innerUDP, in("vxlan")), freed("udp_queue_rcv_one_skb", "")),
		}, "the query: dropped in udp_queue_rcv_one_skb: its UDP checksum is wrong (this kernel gives no reason)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			done := correlate(t, CorrelatorOptions{}, legOf(tt.events...).events)
			if len(done) != 1 {
				t.Fatalf("%d lookups, want 1", len(done))
			}
			l := done[0]
			if diff := cmp.Diff([]string{string(OutcomeDropped), tt.want}, []string{string(l.Outcome), l.Detail}); diff != "" || l.FateNetNS != nsNodeA {
				t.Errorf("in %d, outcome (-want +got):\n%s", l.FateNetNS, diff)
			}
		})
	}
}

// Where TCP has told that its checksum is wrong, that is why it drops the segment,
// if no sum of ours says so.
func TestDroppedAfterBadChecksum(t *testing.T) {
	s := newScene()
	s.ask().rx(dnsEth0).see(ProbeTCPBadCsum, dnsEth0).drop(dnsEth0, "", "tcp_v4_rcv")
	hops := buildHops(&legState{events: s.events})
	d := hops[len(hops)-1].Drop
	want := "dropped in tcp_v4_rcv: its TCP checksum is wrong (this kernel gives no reason)"
	if diff := cmp.Diff([]string{"TCP_CSUM", want}, []string{d.Inferred, d.String()}); diff != "" {
		t.Errorf("reason inferred, text (-want +got):\n%s", diff)
	}
}

// Before 5.18 nothing but that tells of a segment's end, where its connection threw it away.
func TestEndedByBadChecksum(t *testing.T) {
	s := newScene()
	s.ask().rx(dnsEth0).see(ProbeTCPBadCsum, dnsEth0)
	fate := (&legState{events: s.events}).fate()
	if fate == nil || fate.Probe != ProbeTCPBadCsum {
		t.Fatalf("ended by %+v, want %s", fate, ProbeTCPBadCsum)
	}
	l := &Lookup{Legs: []Leg{{Hops: buildHops(&legState{events: s.events})}}}
	if diff := cmp.Diff("its TCP checksum is wrong", l.describe(fate)); diff != "" || l.noSocket(fate) {
		t.Errorf("no socket: %t; description (-want +got):\n%s", l.noSocket(fate), diff)
	}
}
