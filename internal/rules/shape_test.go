package rules

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/dnspath/dnspath/tracer"
)

const icmp = 1

var (
	pod6     = addrPort("[fd00:10:244:1::10]:41522")
	backend6 = addrPort("[fd00:10:244:2::53]:53")
	router   = netip.MustParseAddr("192.0.2.9")
)

// segment is a packet of a TCP connection.
func segment(name string) *Question {
	q := dropOf()
	q.Protocol, q.Shape = tcp, segmentFlags[name]
	return q
}

// portUnreachable is an ICMP error about a query.
func portUnreachable() *Question {
	q := dropOf()
	q.quoting(&tracer.Quote{Type: 3, Code: 3, From: router, To: pod.Addr()})
	return q
}

// later fragment of a reply.
func laterFragment(last bool) *Question {
	q := dropOf()
	q.fragment(1480, last)
	return q
}

func TestTransportMatches(t *testing.T) {
	const syn = "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"
	q6 := dropOf()
	q6.Dst = backend6
	q6.quoting(&tracer.Quote{Type: 1, Code: 4, V6: true, From: backend6.Addr(), To: pod6.Addr()})
	for _, tt := range []struct {
		spec string
		q    *Question
		want tri
	}{
		{"-p tcp -m tcp --dport 53", segment("SYN"), yes},
		{"-p tcp -m multiport --dports 53,5353", segment("data"), yes},
		{"-p udp -m udp --dport 53", segment("SYN"), no},
		{"-p icmp", segment("SYN"), no},
		{"-p tcp", dropOf(), no},
		{syn, segment("SYN"), yes},
		{syn, segment("SYN-ACK"), no},
		{syn, segment("data"), no},
		{syn, segment("FIN"), no},
		{syn, segment("RST"), no},
		{"-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", segment("SYN"), no},
		{"-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", segment("data"), yes},
		{"-p tcp -m tcp --tcp-flags SYN,ACK SYN,ACK", segment("SYN-ACK"), yes},
		{"-p tcp -m tcp --tcp-flags RST RST", segment("RST"), yes},
		{"-p tcp -m tcp --tcp-flags RST RST", segment("data"), no},
		{"-p tcp -m tcp --tcp-flags RST,ACK RST", segment("RST"), maybe},
		{"-p tcp -m tcp --tcp-flags PSH PSH", segment("data"), maybe},
		{"-p tcp -m tcp --tcp-flags FIN FIN", segment("data"), maybe},
		{"-p tcp -m tcp --tcp-flags SYN SYN,ACK", segment("SYN-ACK"), no},
		{"-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE", segment("SYN"), no},
		{"-p tcp -m tcp --tcp-flags SYN ODD", segment("SYN"), maybe},
		{"-p tcp -m tcp --tcp-option 2", segment("SYN"), maybe},
		{"-p icmp", portUnreachable(), yes},
		{"-s 192.0.2.9/32 -d 10.244.1.10/32 -p icmp -m icmp --icmp-type 3/3", portUnreachable(), yes},
		{"-p icmp -m icmp --icmp-type 3", portUnreachable(), yes},
		{"-p icmp -m icmp --icmp-type any", portUnreachable(), yes},
		{"-p icmp -m icmp --icmp-type 3/4", portUnreachable(), no},
		{"-p icmp -m icmp --icmp-type 11", portUnreachable(), no},
		{"-p icmp -m icmp --icmp-type host-unreachable", portUnreachable(), maybe},
		{"-p udp -m udp --dport 53", portUnreachable(), no},
		{"-m multiport --dports 0", portUnreachable(), no},
		{"-p ipv6-icmp -m icmp6 --icmpv6-type 1/4", q6, yes},
		{"-p icmp", q6, no},
		{"-f", laterFragment(false), yes},
		{"! -f", laterFragment(false), no},
		{"-p udp", laterFragment(false), yes},
		{"-p udp -m udp", laterFragment(false), no},
		{"-p udp -m udp --dport 53", laterFragment(false), no},
		{"-p udp -m udp ! --dport 53", laterFragment(false), no},
		{"-p udp -m multiport ! --dports 1", laterFragment(false), no},
	} {
		r := &iptablesRule{}
		r.parse(splitSpec(tt.spec+" -j DROP"), nil)
		outcomes, err := r.outcomes(&packet{Question: tt.q})
		if err != nil {
			t.Errorf("%q: %v", tt.spec, err)
		}
		if got := found(outcomes); got != tt.want {
			t.Errorf("%q matches protocol %d, %+v: %d, want %d", tt.spec, tt.q.Protocol, tt.q.Shape, got, tt.want)
		}
	}
}

// found says whether a rule with one outcome matches.
func found(outcomes []outcome) tri {
	switch {
	case len(outcomes) == 0:
		return no
	case outcomes[0].sure:
		return yes
	}
	return maybe
}

func TestTransportExpressions(t *testing.T) {
	l4 := func(protocol byte) []expr.Any { return []expr.Any{metaKey(expr.MetaKeyL4PROTO), is(protocol)} }
	flags := func(mask byte, then expr.Any) []expr.Any {
		and := &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{mask}, Xor: []byte{0}}
		return append(l4(tcp), transport(13, 1), and, then)
	}
	offsetOf := []expr.Any{
		network(6, 2), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0x1f, 0xff}, Xor: []byte{0, 0}}, isNot(0, 0),
	}
	more := []expr.Any{
		network(6, 2), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0x20, 0}, Xor: []byte{0, 0}}, isNot(0, 0),
	}
	dport := []expr.Any{transport(2, 2), is(0, 53)}
	first := dropOf()
	first.fragment(0, false)
	ipip := dropOf()
	ipip.tunnelled(&tracer.Tunnel{Kind: "ipip", Src: addrPort("192.0.2.1:0"), Dst: addrPort("192.0.2.2:0")}, pod.Addr())
	for _, tt := range []struct {
		name  string
		q     *Question
		exprs []expr.Any
		want  tri
	}{
		{"tcp dport 53", segment("SYN"), append(l4(tcp), dport...), yes},
		{"tcp dport 53", dropOf(), append(l4(tcp), dport...), no},
		{"udp dport 53", segment("SYN"), append(l4(udp), dport...), no},
		{"tcp flags & (fin|syn|rst|ack) == syn", segment("SYN"), flags(flagFIN|flagSYN|flagRST|flagACK, is(flagSYN)), yes},
		{"tcp flags & (fin|syn|rst|ack) == syn", segment("SYN-ACK"), flags(flagFIN|flagSYN|flagRST|flagACK, is(flagSYN)), no},
		{"tcp flags & (fin|syn|rst|ack) == syn", segment("data"), flags(flagFIN|flagSYN|flagRST|flagACK, is(flagSYN)), no},
		{"tcp flags rst", segment("RST"), flags(flagRST, isNot(0)), yes},
		{"tcp flags rst", segment("data"), flags(flagRST, isNot(0)), no},
		{"tcp flags psh", segment("data"), flags(flagPSH, isNot(0)), maybe},
		{"tcp flags == syn", segment("SYN"), append(l4(tcp), transport(13, 1), is(flagSYN)), maybe},
		{"tcp flags == syn", segment("data"), append(l4(tcp), transport(13, 1), is(flagSYN)), no},
		{"icmp type 3", portUnreachable(), append(l4(icmp), transport(0, 1), is(3)), yes},
		{"icmp code 1", portUnreachable(), append(l4(icmp), transport(1, 1), is(1)), no},
		{"icmp type 3", dropOf(), append(l4(icmp), transport(0, 1), is(3)), no},
		{"ip frag-off & 0x1fff != 0", laterFragment(true), offsetOf, yes},
		{"ip frag-off & 0x1fff != 0", first, offsetOf, no},
		{"ip frag-off & 0x1fff != 0", dropOf(), offsetOf, no},
		{"ip frag-off & 0x2000 != 0", laterFragment(false), more, yes},
		{"ip frag-off & 0x2000 != 0", laterFragment(true), more, no},
		{"ip frag-off & 0x2000 != 0", first, more, maybe},
		{"ip frag-off & 0x2000 != 0", dropOf(), more, no},
		{"meta l4proto udp", laterFragment(true), l4(udp), yes},
		{"udp dport 53", laterFragment(true), append(l4(udp), dport...), no},
		{"udp dport != 1", laterFragment(true), append(l4(udp), transport(2, 2), isNot(0, 1)), no},
		{"meta l4proto ipip", ipip, l4(4), yes},
		{"th dport 53", ipip, dport, maybe},
	} {
		table := &nftTable{&nftables.Table{Family: nftables.TableFamilyIPv4}, &fixedSource{}}
		r := nftRule{&nftables.Rule{Exprs: append(tt.exprs, verdict(expr.VerdictDrop))}, table}
		outcomes, err := r.outcomes(&packet{Question: tt.q})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := found(outcomes); got != tt.want {
			t.Errorf("%s matches protocol %d, %+v: %d, want %d", tt.name, tt.q.Protocol, tt.q.Shape, got, tt.want)
		}
	}
}

func TestTunnelProtocol(t *testing.T) {
	v4, v6 := netip.AddrPortFrom(router, 0), netip.AddrPortFrom(pod6.Addr(), 0)
	for _, tt := range []struct {
		tunnel tracer.Tunnel
		inner  netip.Addr
		want   uint8
	}{
		{tracer.Tunnel{Kind: "vxlan", Src: v4}, pod.Addr(), 17},
		{tracer.Tunnel{Kind: "geneve", Src: v6}, pod.Addr(), 17},
		{tracer.Tunnel{Kind: "gre", Src: v4}, pod.Addr(), 47},
		{tracer.Tunnel{Kind: "ipip", Src: v4}, pod.Addr(), 4},
		{tracer.Tunnel{Kind: "sit", Src: v4}, pod6.Addr(), 41},
		{tracer.Tunnel{Kind: "ip6tnl", Src: v6}, pod6.Addr(), 41},
		{tracer.Tunnel{Kind: "ip6tnl", Src: v6}, pod.Addr(), 4},
		{tracer.Tunnel{Kind: "vxlan", Src: v4, In: &tracer.Tunnel{Kind: "ip6tnl", Src: v6}}, pod6.Addr(), 4},
	} {
		q := &Question{}
		if q.tunnelled(&tt.tunnel, tt.inner); q.Protocol != tt.want {
			t.Errorf("%s around %s: protocol %d, want %d", tt.tunnel.Kind, tt.inner, q.Protocol, tt.want)
		}
	}
}

// TestCertain holds that of a packet of which less is known no rule is named
// that may have been another.
func TestCertain(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		q           *Question
		want        *Answer
	}{
		{"an error, a rule for it", "[1:1] -A FORWARD -p icmp -j DROP\n", portUnreachable(), &Answer{Name: "iptables filter FORWARD", Rule: "-p icmp -j DROP"}},
		{"an error, perhaps accepted before", "[1:1] -A FORWARD -m conntrack --ctstate RELATED -j ACCEPT\n[1:1] -A FORWARD -p icmp -j DROP\n", portUnreachable(), nil},
		{"an error, one of two rules", "[1:1] -A FORWARD -m statistic --mode random -j DROP\n[1:1] -A FORWARD -j DROP\n", portUnreachable(), nil},
		{"a fragment, a rule for it", "[1:1] -A FORWARD -p udp -m udp --dport 53 -j DROP\n[1:1] -A FORWARD -f -j DROP\n", laterFragment(true), &Answer{Name: "iptables filter FORWARD", Rule: "-f -j DROP"}},
		{"a fragment, rules for ports", "[1:1] -A FORWARD -p udp -m udp --dport 53 -j DROP\n", laterFragment(true), nil},
		{"a fragment, perhaps", "[1:1] -A FORWARD -m limit --limit 1/sec -j DROP\n", laterFragment(true), nil},
	} {
		table := parse(t, "*filter\n:FORWARD ACCEPT [0:0]\n"+tt.rules+"COMMIT\n", "filter")
		if diff := cmp.Diff(tt.want, answerOf(t, tt.q, baseOf(table, "FORWARD"))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestTransportQuestions holds what is asked about legs that are no UDP datagram
// in one piece.
func TestTransportQuestions(t *testing.T) {
	dnat := &tracer.Change{Kind: tracer.ChangeDNAT, From: service, To: backendB, Hook: tracer.HookPrerouting, HookHow: tracer.HowSeen}
	ipvs := *dnat
	ipvs.By = &tracer.By{Name: "IPVS", How: tracer.HowSeen, Part: true}
	rewritten := func(c *tracer.Change) *tracer.Lookup {
		return queryOf(rx(cni, "cni0"), changing(in(tracer.HookPrerouting, cni, "cni0"), c))
	}
	dropped := func() *tracer.Lookup {
		return queryOf(dropping(in(tracer.HookForward, cni, "cni0"), tracer.Drop{Hook: tracer.HookForward}))
	}
	in6 := func() *tracer.Lookup {
		h := dropping(in(tracer.HookForward, cni, "cni0"), tracer.Drop{Hook: tracer.HookForward})
		h.Src, h.Dst = pod6, backend6
		return queryOf(h)
	}
	tunnel := func() *tracer.Lookup {
		l := dropped()
		l.Legs[0].Hops[0].Tunnel = &tracer.Tunnel{Kind: "ipip", Src: addrPort("192.0.2.1:0"), Dst: addrPort("192.0.2.2:0")}
		return l
	}
	undone := queryOf(
		changing(rx(cni, "cni0"), &tracer.Change{Kind: tracer.ChangeUnDNAT, From: backendB, To: service, Conntrack: true}),
		dropping(in(tracer.HookForward, cni, "cni0"), tracer.Drop{Hook: tracer.HookForward}),
	)
	unreachable := &tracer.Quote{Type: 3, Code: 3, From: router, To: pod.Addr()}
	first := Tracked{State: stateNew}
	drop := Question{Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: tcp, Src: pod, Dst: backendB}
	with := func(change func(q *Question)) []Question {
		q := drop
		change(&q)
		return []Question{q}
	}
	for _, tt := range []struct {
		name   string
		lookup *tracer.Lookup
		leg    tracer.Leg // what it is
		want   []Question
	}{
		{"a SYN rewritten", rewritten(dnat), tracer.Leg{Segment: "SYN"}, []Question{
			{Deed: DNAT, Hook: tracer.HookPrerouting, Seen: true, Protocol: tcp, Shape: segmentFlags["SYN"], Src: pod, Dst: service, To: backendB, Tracked: first, In: "cni0"},
		}},
		{"data rewritten", rewritten(dnat), tracer.Leg{Segment: "data"}, nil},
		{"a FIN rewritten", rewritten(dnat), tracer.Leg{Segment: "FIN"}, nil},
		{"data rewritten by IPVS", rewritten(&ipvs), tracer.Leg{Segment: "data"}, []Question{
			{Deed: DNAT, Protocol: tcp, Shape: segmentFlags["data"], Src: pod, Dst: service, To: backendB, Tracked: first, In: "cni0"},
		}},
		{"a SYN dropped", dropped(), tracer.Leg{Segment: "SYN"}, with(func(q *Question) { q.Shape = segmentFlags["SYN"] })},
		{"data dropped", dropped(), tracer.Leg{Segment: "data"}, with(func(q *Question) { q.Shape = segmentFlags["data"] })},
		{"a SYN over IPv6 dropped", in6(), tracer.Leg{Segment: "SYN"}, with(func(q *Question) {
			q.Shape, q.Src, q.Dst = segmentFlags["SYN"], pod6, backend6
		})},
		{"a SYN dropped in a tunnel", tunnel(), tracer.Leg{Segment: "SYN"}, with(func(q *Question) {
			q.Protocol, q.Src, q.Dst = 4, addrPort("192.0.2.1:0"), addrPort("192.0.2.2:0")
		})},
		{"an ICMP error dropped", dropped(), tracer.Leg{Error: unreachable}, with(func(q *Question) {
			q.Protocol, q.Certain, q.Shape = icmp, true, Shape{Type: 3, Code: 3}
			q.Src, q.Dst = netip.AddrPortFrom(router, 0), netip.AddrPortFrom(pod.Addr(), 0)
		})},
		{"an ICMP error whose addresses were rewritten", undone, tracer.Leg{Error: unreachable}, nil},
		{"an ICMP error rewritten", rewritten(dnat), tracer.Leg{Error: unreachable}, nil},
		{"a later fragment dropped", dropped(), tracer.Leg{Fragment: &tracer.Fragment{Offset: 1480, Last: true}}, with(func(q *Question) {
			q.Shape, q.Certain = Shape{Piece: Later, Offset: 1480, Last: true}, true
		})},
		{"a later fragment rewritten", rewritten(dnat), tracer.Leg{Fragment: &tracer.Fragment{Offset: 1480}}, nil},
		{"a later fragment dropped in a tunnel", tunnel(), tracer.Leg{Fragment: &tracer.Fragment{Offset: 1480}}, nil},
		{"a first fragment dropped", dropped(), tracer.Leg{Fragment: &tracer.Fragment{}}, with(func(q *Question) { q.Shape = Shape{Piece: First} })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leg := &tt.lookup.Legs[0]
			leg.Segment, leg.Error, leg.Fragment = tt.leg.Segment, tt.leg.Error, tt.leg.Fragment
			if tt.lookup.Transport = tracer.TransportTCP; leg.Fragment != nil {
				tt.lookup.Transport = tracer.TransportUDP
				for i := range tt.want {
					tt.want[i].Protocol = udp
				}
			}
			f := &fakeAsker{}
			(&Explainer{asker: f}).Explain(tt.lookup)
			if diff := cmp.Diff(tt.want, f.asked, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("questions (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTransportDetail holds that a detail names the rule of the segment that it
// tells of.
func TestTransportDetail(t *testing.T) {
	for detail, want := range map[string]string{
		"the SYN: NETFILTER_DROP": " by 10 (inferred)", "the SYN-ACK: NETFILTER_DROP": " by 11 (inferred)",
		"the query: NETFILTER_DROP": " by 12 (inferred)", "the reply: NETFILTER_DROP": " by 13 (inferred)",
		"TCP reset by 10.96.0.10:53":                                   " by 12 (inferred)",
		"port unreachable from 192.0.2.9, which was itself dropped: X": "",
	} {
		l := &tracer.Lookup{Transport: tracer.TransportTCP, Outcome: tracer.OutcomeDropped, Detail: detail, FateNetNS: node}
		for i, leg := range []tracer.Leg{{Segment: "SYN"}, {Segment: "SYN-ACK", Response: true}, {Segment: "data"}, {Segment: "data", Response: true}, {Error: &tracer.Quote{}}} {
			h := tracer.Hop{NetNS: node, Drop: &tracer.Drop{By: &tracer.By{Name: strconv.Itoa(10 + i), How: tracer.HowInferred}}}
			leg.Hops = []tracer.Hop{h}
			l.Legs = append(l.Legs, leg)
		}
		if (&Explainer{asker: &fakeAsker{}}).Explain(l); l.Detail != detail+want {
			t.Errorf("%q, want %q", l.Detail, detail+want)
		}
	}
}

func TestTransportForeseen(t *testing.T) {
	translated := &tracer.Conntrack{Info: 2, Orig: tracer.Flow{Src: pod, Dst: service}, Reply: tracer.Flow{Src: backendB, Dst: pod}}
	refused := &tracer.Freed{Reason: "NETFILTER_DROP"}
	syn, data := &tracer.TCP{SYN: true}, &tracer.TCP{ACK: true, Len: 40}
	unreachable := &tracer.Quote{Type: 3, Code: 3, From: router, To: pod.Addr()}
	first := Tracked{State: stateNew}
	for _, tt := range []struct {
		name string
		e    tracer.Event
		want []Question
	}{
		{"a SYN translated", tracer.Event{CT: translated, TCP: syn}, []Question{
			{Deed: DNAT, Hook: tracer.HookPrerouting, Protocol: tcp, Shape: segmentFlags["SYN"], Src: pod, Dst: service, To: backendB, Tracked: first},
			{Deed: DNAT, Hook: tracer.HookOutput, Protocol: tcp, Shape: segmentFlags["SYN"], Src: pod, Dst: service, To: backendB, Tracked: first},
		}},
		{"data translated", tracer.Event{CT: translated, TCP: data}, nil},
		{"an error translated", tracer.Event{CT: translated, Quote: unreachable}, nil},
		{"a later fragment translated", tracer.Event{CT: translated, Fragment: true, FragOffset: 1480}, nil},
		{"data dropped", tracer.Event{Freed: refused, Hook: tracer.HookForward, TCP: data}, []Question{
			{Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: tcp, Shape: segmentFlags["data"], Src: pod, Dst: backendB},
		}},
		{"an error dropped", tracer.Event{Freed: refused, Hook: tracer.HookForward, Quote: unreachable}, []Question{{
			Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: icmp, Shape: Shape{Type: 3, Code: 3}, Certain: true,
			Src: netip.AddrPortFrom(router, 0), Dst: netip.AddrPortFrom(pod.Addr(), 0),
		}}},
		{"a later fragment dropped", tracer.Event{Freed: refused, Hook: tracer.HookForward, Fragment: true, FragOffset: 1480}, []Question{{
			Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: udp, Shape: Shape{Piece: Later, Offset: 1480}, Certain: true, Src: pod, Dst: backendB,
		}}},
		{"a SYN translated by IPVS", tracer.Event{Probe: tracer.ProbeIPVSNat, TCP: syn}, []Question{
			{Deed: DNAT, Protocol: tcp, Shape: segmentFlags["SYN"], Src: pod, Dst: backendB},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.e.NetNS, tt.e.Src, tt.e.Dst = node, pod, backendB
			var got []Question
			if _, ok := sightingOf(&tt.e); ok {
				got = foreseen(&tt.e)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("questions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIPVSProtocol(t *testing.T) {
	q := &Question{Deed: DNAT, Protocol: tcp, Src: pod, Dst: service, To: backendB}
	both := []ipvsService{
		{protocol: udp, addr: service, scheduler: "rr", destinations: []netip.AddrPort{backendB}},
		{protocol: tcp, addr: service, scheduler: "sh", destinations: []netip.AddrPort{backendB}},
	}
	if diff := cmp.Diff(&Answer{Name: "IPVS 10.96.0.10:53 → 10.244.2.53:53 sh", IPVS: true}, answerIPVS(q, both)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if got := answerIPVS(q, both[:1]); got != nil {
		t.Errorf("%v for TCP, want none of UDP's services", got)
	}
}
