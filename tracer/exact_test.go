package tracer

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/internal/nftrace"
)

// step makes up what a rule of table t, chain c did with a packet.
func step(at uint64, ns uint32, hook uint32, src, dst netip.AddrPort, handle uint64, verdict string) nftrace.Step {
	return nftrace.Step{
		Packet: nftrace.Packet{Src: src, Dst: dst}, Time: at, NetNS: ns, Kind: nftrace.KindRule,
		Family: "ip", Table: "t", Chain: "c", Handle: handle, Verdict: verdict, Text: verdict,
		Base: nftrace.Chain{Name: "c", Type: "filter", Hook: hook},
	}
}

// translating makes it a rule that translates.
func translating(s nftrace.Step) nftrace.Step {
	s.NAT, s.Base.Type = true, "nat"
	return s
}

func TestAttribute(t *testing.T) {
	const prerouting, forward = 0, 2
	policy := step(1250, nsNodeA, forward, webPod, backend, 0, "drop")
	policy.Kind = nftrace.KindPolicy
	bridge := step(1250, nsNodeA, forward, webPod, backend, 8, "drop")
	bridge.Family = "bridge"
	silent := step(1250, nsNodeA, forward, webPod, backend, 9, "drop")
	silent.Text, silent.Comment = "", "no\nDNS"
	dnat := translating(step(1120, nsNodeA, prerouting, webPod, service, 5, "accept"))
	// rule n of the table above, as it is named
	rule := func(n string) string { return "nftables ip t c handle " + n }
	tests := []struct {
		name                 string
		steps                []nftrace.Step
		change, drop, reason string
		met                  []uint64 // handles at PREROUTING
	}{
		{name: "nothing told"},
		{name: "translation and drop", steps: []nftrace.Step{dnat, step(1250, nsNodeA, forward, webPod, backend, 7, "drop")},
			change: rule("5"), drop: rule("7"), reason: "drop", met: []uint64{5}},
		{name: "drop by a policy", steps: []nftrace.Step{policy}, drop: "nftables ip t c", reason: "policy drop"},
		{name: "drop in a bridge", steps: []nftrace.Step{bridge}, drop: "nftables bridge t c handle 8", reason: "drop"},
		{name: "drop by a rule whose text is unknown", steps: []nftrace.Step{silent}, drop: rule("9"), reason: `comment "no\nDNS"`},
		{name: "accepted, not translated", steps: []nftrace.Step{step(1120, nsNodeA, prerouting, webPod, service, 5, "accept")}, met: []uint64{5}},
		{name: "before and behind the translation", steps: []nftrace.Step{
			step(1110, nsNodeA, prerouting, webPod, service, 4, "continue"), dnat,
			step(1130, nsNodeA, prerouting, webPod, backend, 6, "continue"),
		}, change: rule("5"), met: []uint64{4, 5, 6}},
		{name: "the newest of several that translate", steps: []nftrace.Step{
			translating(step(1110, nsNodeA, prerouting, webPod, service, 4, "accept")), dnat,
		}, change: rule("5"), met: []uint64{4, 5}},
		{name: "other namespace", steps: []nftrace.Step{
			translating(step(1120, nsNodeB, prerouting, webPod, service, 5, "accept")), step(1250, nsNodeB, forward, webPod, backend, 7, "drop"),
		}},
		{name: "other packet", steps: []nftrace.Step{
			translating(step(1120, nsNodeA, prerouting, nodeAddr, nodeAddr, 5, "accept")), step(1250, nsNodeA, forward, nodeAddr, backend, 7, "drop"),
		}},
		{name: "other hook", steps: []nftrace.Step{
			translating(step(1120, nsNodeA, forward, webPod, service, 5, "accept")), step(1250, nsNodeA, prerouting, webPod, backend, 7, "drop"),
		}, met: []uint64{7}},
		{name: "before the packet was there", steps: []nftrace.Step{
			translating(step(999, nsNodeA, prerouting, webPod, service, 5, "accept")), step(999, nsNodeA, forward, webPod, backend, 7, "drop"),
		}},
		{name: "of the next attempt", steps: []nftrace.Step{
			translating(step(5001, nsNodeA, prerouting, webPod, service, 5, "accept")), step(5001, nsNodeA, forward, webPod, backend, 7, "drop"),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &Lookup{Legs: []Leg{
				{Hops: []Hop{
					{Name: "rx", Layer: "device", Time: 1000, NetNS: nsNodeA, Src: webPod, Dst: service},
					{Name: "nat", Layer: "netfilter", Time: 1100, NetNS: nsNodeA, Src: webPod, Dst: backend, Hook: HookPrerouting, Change: &Change{
						Kind: ChangeDNAT, From: service, To: backend, Hook: HookPrerouting, HookHow: HowSeen,
					}},
					{Name: "hook", Layer: "netfilter", Time: 1200, NetNS: nsNodeA, Src: webPod, Dst: backend, Hook: HookForward},
					{Name: "drop", Layer: "end", Time: 1300, NetNS: nsNodeA, Src: webPod, Dst: backend, Hook: HookForward, Drop: &Drop{
						Reason: "NETFILTER_DROP", Function: "nft_do_chain", Hook: HookForward,
					}},
				}},
				{Hops: []Hop{{Name: "rx", Layer: "device", Time: 5000, NetNS: nsNodeA, Src: webPod, Dst: service}}},
			}}
			attribute(l, tt.steps)
			hops := l.Legs[0].Hops
			var change, drop, reason string
			if by := hops[1].Change.By; by != nil {
				change = by.Name
			}
			if by := hops[3].Drop.By; by != nil {
				drop, reason = by.Name, by.Rule
			}
			var met []uint64
			for _, r := range hops[1].Rules {
				met = append(met, r.Handle)
			}
			if diff := cmp.Diff([]string{tt.change, tt.drop, tt.reason}, []string{change, drop, reason}); diff != "" {
				t.Errorf("change by, drop by, rule (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.met, met); diff != "" {
				t.Errorf("rules at PREROUTING (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAttributeTCP holds that a segment's rules are not taken for another's, nor
// those of another connection from the same port.
func TestAttributeTCP(t *testing.T) {
	other := netip.AddrPortFrom(netip.MustParseAddr("10.244.1.99"), webPod.Port())
	of := func(s nftrace.Step, segment string, src netip.AddrPort) nftrace.Step {
		s.Segment, s.Src = segment, src
		return s
	}
	dnat := translating(step(1120, nsNodeA, 0, webPod, service, 5, "accept"))
	leg := func(segment string, at uint64, drop *Drop) Leg {
		return Leg{Segment: segment, Hops: []Hop{
			{Name: "nat", Layer: "netfilter", Time: at, NetNS: nsNodeA, Src: webPod, Dst: backend, Hook: HookPrerouting, Change: &Change{
				Kind: ChangeDNAT, From: service, To: backend, Hook: HookPrerouting, HookHow: HowSeen,
			}},
			{Name: "drop", Layer: "end", Time: at + 300, NetNS: nsNodeA, Src: webPod, Dst: backend, Hook: HookForward, Drop: drop},
		}}
	}
	refused := func() *Drop { return &Drop{Reason: "NETFILTER_DROP", Hook: HookForward} }
	l := &Lookup{Transport: TransportTCP, Legs: []Leg{leg("SYN", 1100, nil), leg("data", 1150, refused()), leg("data", 1050, refused())}}
	l.Legs[2].Error = &Quote{Type: 3}
	attribute(l, []nftrace.Step{
		of(dnat, "SYN", webPod), of(dnat, "SYN", other),
		of(step(1400, nsNodeA, 2, webPod, backend, 6, "continue"), "SYN", webPod),
		of(step(1410, nsNodeA, 2, webPod, backend, 7, "drop"), "data", webPod),
	})
	want := []string{"nftables ip t c handle 5", "", "nftables ip t c handle 7", ""}
	name := func(b *By) string {
		if b == nil {
			return ""
		}
		return b.Name
	}
	got := []string{name(l.Legs[0].Hops[0].Change.By), name(l.Legs[1].Hops[0].Change.By), name(l.Legs[1].Hops[1].Drop.By), name(l.Legs[2].Hops[1].Drop.By)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("SYN translated, data translated, dropped, error dropped by (-want +got):\n%s", diff)
	}
	if met := l.Legs[0].Hops[1].Rules; len(met) != 1 || met[0].Handle != 6 {
		t.Errorf("the SYN met %+v, want rule 6 alone", met)
	}
	keys := []nftrace.Key{{TCP: true, ID: webPod.Port()}}
	if diff := cmp.Diff(keys, stepKeys(l)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]nftrace.Key{{ID: 7}}, stepKeys(&Lookup{Transport: TransportUDP, DNSID: 7})); diff != "" {
		t.Errorf("keys over UDP (-want +got):\n%s", diff)
	}
}

// What is no rule's doing is not taken for it.
func TestAttributeNot(t *testing.T) {
	told := []nftrace.Step{step(1100, nsNodeA, 2, webPod, backend, 7, "drop")}
	tests := []struct {
		name string
		drop Drop
		in   *Tunnel
	}{
		{"past the rules", Drop{Reason: "NETFILTER_DROP", Hook: HookForward, Confirm: true}, nil},
		{"not in netfilter", Drop{Reason: "NO_SOCKET", Function: "__udp4_lib_rcv"}, nil},
		{"the tunnel's packet", Drop{Reason: "NETFILTER_DROP", Hook: HookForward}, overlay},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := Hop{Name: "drop", Layer: "end", Time: 1000, NetNS: nsNodeA, Src: webPod, Dst: backend, Drop: &tt.drop, Tunnel: tt.in}
			attribute(&Lookup{Legs: []Leg{{Hops: []Hop{h}}}}, told)
			if tt.drop.By != nil {
				t.Errorf("dropped by %+v, want nobody", tt.drop.By)
			}
		})
	}
	t.Run("hook not observed", func(t *testing.T) { // as before 6.4
		drop := Drop{Function: "nf_hook_slow"}
		h := Hop{Name: "drop", Layer: "end", Time: 1000, NetNS: nsNodeA, Src: webPod, Dst: backend, Drop: &drop}
		attribute(&Lookup{Legs: []Leg{{Hops: []Hop{h}}}}, told)
		if drop.By == nil || drop.Hook != HookForward {
			t.Errorf("drop %+v, want one by a rule at FORWARD", drop)
		}
	})
}

// A rule is named with the chains that led to it.
func TestBy(t *testing.T) {
	const prerouting = 0
	in := func(ns uint32, table, chain, verdict string) nftrace.Step {
		s := step(1, ns, prerouting, webPod, service, 5, verdict)
		s.Table, s.Chain, s.Base = table, chain, nftrace.Chain{Name: "PREROUTING", Type: "nat", Hook: prerouting}
		return s
	}
	policy := in(nsNodeA, "raw", "PREROUTING", "drop")
	policy.Kind, policy.Text = nftrace.KindPolicy, ""
	custom := in(nsNodeA, "mine", "PREROUTING", "drop")
	unknown := in(nsNodeA, "nat", "A", "drop")
	unknown.Base = nftrace.Chain{}
	tests := []struct {
		name  string
		steps []nftrace.Step
		want  By
	}{
		{"in a chain", []nftrace.Step{
			in(nsNodeA, "nat", "PREROUTING", "jump A"), in(nsNodeA, "nat", "A", "jump B"), in(nsNodeA, "nat", "B", "accept"),
		}, By{Name: "iptables nat PREROUTING → A → B handle 5", Rule: "accept"}},
		{"past another chain", []nftrace.Step{
			in(nsNodeA, "nat", "PREROUTING", "jump A"), in(nsNodeA, "nat", "A", "return"), in(nsNodeA, "nat", "PREROUTING", "jump B"), in(nsNodeA, "nat", "B", "accept"),
		}, By{Name: "iptables nat PREROUTING → B handle 5", Rule: "accept"}},
		{"with another namespace in between", []nftrace.Step{
			in(nsNodeA, "nat", "PREROUTING", "jump A"), in(nsNodeB, "nat", "C", "accept"), in(nsNodeA, "nat", "A", "accept"),
		}, By{Name: "iptables nat PREROUTING → A handle 5", Rule: "accept"}},
		{"after another way through it", []nftrace.Step{
			in(nsNodeA, "nat", "PREROUTING", "jump A"), in(nsNodeA, "nat", "A", "accept"), in(nsNodeA, "nat", "PREROUTING", "accept"),
		}, By{Name: "iptables nat PREROUTING handle 5", Rule: "accept"}},
		{"first steps lost", []nftrace.Step{in(nsNodeA, "nat", "B", "accept")}, By{Name: "iptables nat PREROUTING → B handle 5", Rule: "accept"}},
		{"base chain unknown", []nftrace.Step{unknown}, By{Name: "nftables ip nat A handle 5", Rule: "drop"}},
		{"policy", []nftrace.Step{policy}, By{Name: "iptables raw PREROUTING", Rule: "policy drop"}},
		{"a table that is not iptables'", []nftrace.Step{custom}, By{Name: "nftables ip mine PREROUTING handle 5", Rule: "drop"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.How = HowSeen
			if diff := cmp.Diff(&tt.want, by(tt.steps)); diff != "" {
				t.Errorf("by (-want +got):\n%s", diff)
			}
		})
	}
}
