package tracer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/gen"
)

// step adds what a call of a function tells of p, whose headers are known: all
// but its identity is absent.
func (p *packet) step(probe Probe, at place, more ...func(*Event)) *packet {
	e := &Event{Time: p.s.now, Packet: p.id, Probe: probe, Step: true, NetNS: at.ns, Ifindex: at.index, Dev: at.dev, Hook: p.hook}
	for _, change := range more {
		change(e)
	}
	p.s.now += sceneStep
	p.s.events = append(p.s.events, e)
	return p
}

func says(v Verdict) func(*Event) { return func(e *Event) { e.Verdict = v } }

func ofTable(tool, name string) func(*Event) {
	return func(e *Event) { e.Table = &Table{Tool: tool, Name: name} }
}

// calls describes the hops of a leg with what functions told of them.
func calls(leg Leg) []string {
	var lines []string
	for _, h := range leg.Hops {
		parts := []string{h.Name, fmt.Sprintf("%s>%s", h.Src, h.Dst)}
		if h.Hook != "" {
			parts = append(parts, string(h.Hook))
		}
		if h.Verdict != "" {
			parts = append(parts, string(h.Verdict))
		}
		if h.Tunnel != nil {
			parts = append(parts, h.Tunnel.Kind)
		}
		for c := h.Change; c != nil; c = c.Also {
			s := describeChange(c)
			if c.By != nil {
				s += fmt.Sprintf(" by %s (%s)", c.By.Name, c.By.How)
			}
			parts = append(parts, s)
		}
		if h.Drop != nil && h.Drop.By != nil {
			parts = append(parts, fmt.Sprintf("by %s (%s) confirm %t", h.Drop.By.Name, h.Drop.By.How, h.Drop.Confirm))
		}
		lines = append(lines, strings.Join(parts, " "))
	}
	return lines
}

// TestFunctionHops holds what calls of kernel functions tell of a packet.
func TestFunctionHops(t *testing.T) {
	const asked, sent = "10.244.1.10:41522>10.96.0.10:53", "10.244.1.10:41522>10.244.2.53:53"
	inHook := func(p *packet, h Hook) *packet { p.hook = h; return p }
	tests := []struct {
		name string
		way  func(p *packet)
		want []string // after rx
	}{
		{"NAT at the moment of the rewrite", func(p *packet) {
			inHook(p, HookPrerouting).step(ProbeNFHookSlow, aVeth).step(ProbeIPTDoTable, aVeth, ofTable("iptables", "nat"), says(VerdictAccept))
			p.dst = backend
			p.see(ProbeNATManip, aVeth)
			p.step("ip_forward", aBridge)
		}, []string{
			"hook " + asked + " PREROUTING", "iptables " + asked + " PREROUTING accept",
			"nat " + sent + " PREROUTING dnat 10.96.0.10:53>10.244.2.53:53 at PREROUTING (seen)", "forward " + sent,
		}},
		{"NAT that changes nothing", func(p *packet) {
			inHook(p, HookPrerouting).step(ProbeNATManip, aVeth, says(VerdictAccept))
		}, nil},
		{"IPVS translates and sends on", func(p *packet) {
			inHook(p, HookInput).step(ProbeIPVSNat, aBridge)
			p.dst, p.hook = backend, HookOutput
			p.see(ProbeNFHookSlow, aBridge)
		}, []string{
			"ipvs-nat " + sent + " INPUT dnat 10.96.0.10:53>10.244.2.53:53 at INPUT (seen) by IPVS (seen)", "hook " + sent + " OUTPUT",
		}},
		{"IPVS sends on, and nothing else is seen", func(p *packet) { inHook(p, HookInput).step(ProbeIPVSNat, aBridge) },
			[]string{"ipvs-nat " + asked + " INPUT"}},
		{"a tunnel wraps up", func(p *packet) {
			p.step("vxlan_xmit", aTunnel).step("iptunnel_xmit", aTunnel)
			p.tunnel = overlay
			p.see("ip_output", aTunnel)
		}, []string{"tunnel-out " + asked, "tunnel-out " + asked + " vxlan encap 192.0.2.1:50741>192.0.2.2:4789", "output " + asked + " vxlan"}},
		{"a change that no function claims", func(p *packet) {
			p.step("ip_forward", aBridge)
			p.dst = backend
			p.see("ip_output", aBridge)
		}, []string{"forward " + asked, "output " + sent + " dnat 10.96.0.10:53>10.244.2.53:53"}},
		{"refused by a table", func(p *packet) {
			inHook(p, HookForward).step(ProbeNFHookSlow, aBridge).step(ProbeIPTDoTable, aBridge, ofTable("iptables", "filter"), says(VerdictDrop))
			p.drop(aBridge, "NETFILTER_DROP", "nf_hook_slow")
		}, []string{
			"hook " + asked + " FORWARD", "iptables " + asked + " FORWARD drop",
			"drop " + asked + " FORWARD by iptables filter FORWARD (seen) confirm false",
		}},
		{"refused by a chain of nftables", func(p *packet) {
			inHook(p, HookForward).step(ProbeNFTDoChain, aBridge, says(VerdictDrop), func(e *Event) {
				e.Table = &Table{Tool: "nftables", Family: "inet", Name: "fence", Chain: "out"}
			})
			p.drop(aBridge, "NETFILTER_DROP", "nft_do_chain")
		}, []string{"nftables " + asked + " FORWARD drop", "drop " + asked + " FORWARD by nftables inet fence out (seen) confirm false"}},
		{"refused at confirmation", func(p *packet) {
			inHook(p, HookPostrouting).step(ProbeIPTDoTable, aEth0, ofTable("iptables", "nat"), says(VerdictAccept)).step(ProbeConfirm, aEth0, says(VerdictDrop))
			p.drop(aEth0, "NETFILTER_DROP", "nf_hook_slow")
		}, []string{
			"iptables " + asked + " POSTROUTING accept", "confirm " + asked + " POSTROUTING drop",
			"drop " + asked + " POSTROUTING by conntrack's confirmation (seen) confirm true",
		}},
		{"dropped after all have accepted", func(p *packet) {
			inHook(p, HookForward).step(ProbeIPTDoTable, aBridge, ofTable("iptables", "filter"), says(VerdictAccept)).step("ip_forward", aBridge)
			p.drop(aBridge, "IP_INNOROUTES", "ip_error")
		}, []string{"iptables " + asked + " FORWARD accept", "forward " + asked, "drop " + asked}},
		{"a hook's own verdict", func(p *packet) {
			inHook(p, HookPrerouting).step(ProbeNFHookSlow, aBridge).step(ProbeNFHookSlow, aBridge, says(VerdictStolen))
		}, []string{"hook " + asked + " PREROUTING stolen"}},
		{"no room in the socket", func(p *packet) {
			p.step(ProbeUDPEnqueue, aSocket, says(VerdictFailed), func(e *Event) { e.Errno = 12 })
		}, []string{"socket-full " + asked + " failed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			p := s.ask().rx(aVeth)
			tt.way(p)
			l := correlate(t, CorrelatorOptions{}, s.events)
			if len(l) != 1 || len(l[0].Legs) != 1 {
				t.Fatalf("%d lookups", len(l))
			}
			if diff := cmp.Diff(append([]string{"rx " + asked}, tt.want...), calls(l[0].Legs[0])); diff != "" {
				t.Errorf("hops (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLateStep holds that a call that is told of when it returns bears the
// headers of the time when it was made, and is no loss.
func TestLateStep(t *testing.T) {
	s := newScene()
	p := s.ask().rx(aVeth)
	called := s.now
	s.pass(time.Millisecond)
	p.dst = backend
	p.see(ProbeNATManip, aVeth)
	s.pass(time.Second) // longer than events are held back
	p.tx(aEth0)
	p.step(ProbeNeighbour, aVeth, func(e *Event) { e.Time = called })
	var done []*Lookup
	c := NewCorrelator(CorrelatorOptions{}, func(l *Lookup) { done = append(done, l) })
	for _, e := range s.events {
		c.Add(e)
	}
	c.Flush()
	if late := c.Counters().Late; late != 0 {
		t.Errorf("%d events counted as late, want 0", late)
	}
	var got *Hop
	for _, h := range done[0].Legs[0].Hops {
		if h.Name == "neighbour" {
			got = &h
		}
	}
	if got == nil || got.Dst != service || got.Change != nil {
		t.Errorf("hop %+v, want one to %v without a change", got, service)
	}
}

// TestForeignStep holds that a call about a packet that was never on its way tells nothing.
func TestForeignStep(t *testing.T) {
	s := newScene()
	s.ask().step("ip_forward", aBridge)
	if l := correlate(t, CorrelatorOptions{}, s.events); len(l) > 0 {
		t.Errorf("lookups %+v, want none", l)
	}
}

func TestNetfilterVerdict(t *testing.T) {
	for ret, want := range map[int32]Verdict{
		0: VerdictDrop, 1: VerdictAccept, 2: VerdictStolen, 3: VerdictQueue, 4: VerdictRepeat,
		1<<16 | 2: VerdictDrop,  // NF_DROP_REASON with EPERM, 6.7
		2<<16 | 3: VerdictQueue, // to queue 2
	} {
		if got := netfilterVerdict(ret); got != want {
			t.Errorf("verdict %#x is %s, want %s", ret, got, want)
		}
	}
}

func TestDecodeStep(t *testing.T) {
	returned := uint16(gen.DnspathEventFlagFLAG_RETURNED)
	name := func(s string) (c [32]int8) {
		for i := range s {
			c[i] = int8(s[i])
		}
		return c
	}
	tests := []struct {
		name string
		wire gen.DnspathStep
		want Event
	}{
		{"table of iptables", gen.DnspathStep{
			H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_IPT_DO_TABLE), Flags: returned | uint16(gen.DnspathEventFlagFLAG_IN_HOOK), Hook: 2, Ret: 1}, Table: name("filter"),
		}, Event{Probe: ProbeIPTDoTable, Hook: HookForward, Verdict: VerdictAccept, Table: &Table{Tool: "iptables", Name: "filter"}}},
		{"a name from the wrong place", gen.DnspathStep{
			H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_IP6T_DO_TABLE), Flags: returned}, Table: name("\x01rubbish"),
		}, Event{Probe: ProbeIP6TDoTable, Verdict: VerdictDrop, Table: &Table{Tool: "ip6tables"}}},
		{"chain of nftables", gen.DnspathStep{
			H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NFT_DO_CHAIN), Flags: returned, Ret: 1<<16 | 2}, Family: 1, Table: name("fence"), Chain: name("out"),
		}, Event{Probe: ProbeNFTDoChain, Verdict: VerdictDrop, Table: &Table{Tool: "nftables", Family: "inet", Name: "fence", Chain: "out"}}},
		{"conntrack", gen.DnspathStep{
			H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_CONNTRACK_IN), Flags: returned | uint16(gen.DnspathEventFlagFLAG_CONNTRACK), Ret: 1}, CtInfo: 3,
		}, Event{Probe: ProbeConntrackIn, Verdict: VerdictAccept, State: "reply"}},
		{"invalid to conntrack", gen.DnspathStep{
			H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_CONNTRACK_IN), Flags: returned, Ret: 1},
		}, Event{Probe: ProbeConntrackIn, Verdict: VerdictAccept, State: "invalid"}},
		{"NOTRACK", gen.DnspathStep{
			H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_CONNTRACK_IN), Flags: returned | uint16(gen.DnspathEventFlagFLAG_UNTRACKED), Ret: 1}, CtInfo: 7,
		}, Event{Probe: ProbeConntrackIn, Verdict: VerdictAccept, State: "untracked"}},
		{"conntrack is full", gen.DnspathStep{
			H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_CONNTRACK_IN), Flags: returned},
		}, Event{Probe: ProbeConntrackIn, Verdict: VerdictDrop}},
		{"route by a gateway", gen.DnspathStep{
			H:     gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_IP_FORWARD)},
			Route: gen.DnspathRoute{Oif: 3, GwFamily: 4, Gw: [16]uint8{10, 244, 2}, Out: chars("tunl0")},
		}, Event{Probe: "ip_forward", Route: &Route{Dev: "tunl0", Ifindex: 3, Gateway: netip.MustParseAddr("10.244.2.0")}}},
		{"no route", gen.DnspathStep{
			H:     gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_IP_ERROR)},
			Route: gen.DnspathRoute{Oif: 1, Error: -101, GwFamily: 6, Out: chars("lo")},
		}, Event{Probe: "ip_error", Route: &Route{Dev: "lo", Ifindex: 1, Errno: 101}}},
		{"a packet without a route", gen.DnspathStep{H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_IP_OUTPUT)}}, Event{Probe: "ip_output"}},
		{"neighbour", gen.DnspathStep{
			H:     gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NEIGH_EVENT_SEND), Flags: returned, Ret: 1},
			Route: gen.DnspathRoute{Oif: 4, GwFamily: 4, Gw: [16]uint8{10, 244, 2, 99}, Out: chars("cni0")}, Neigh: 0x20,
		}, Event{Probe: ProbeNeighbour, Verdict: VerdictQueue, Waits: &Neighbour{Addr: netip.MustParseAddr("10.244.2.99"), Dev: "cni0", State: "FAILED"}}},
		{"queued to a socket", gen.DnspathStep{H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_UDP_ENQUEUE_SCHEDULE_SKB), Flags: returned}},
			Event{Probe: ProbeUDPEnqueue, Verdict: VerdictOK}},
		{"no room in the socket", gen.DnspathStep{H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_UDP_ENQUEUE_SCHEDULE_SKB), Flags: returned, Ret: -12}},
			Event{Probe: ProbeUDPEnqueue, Verdict: VerdictFailed, Errno: 12}},
		{"no real server", gen.DnspathStep{H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_IP_VS_SCHEDULE), Flags: returned}},
			Event{Probe: ProbeIPVSSchedule, Verdict: VerdictFailed}},
		{"a call, not its return", gen.DnspathStep{H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_HOOK_SLOW)}}, Event{Probe: ProbeNFHookSlow}},
		{"stolen in a hook", gen.DnspathStep{H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_HOOK_SLOW), Flags: returned}},
			Event{Probe: ProbeNFHookSlow, Verdict: VerdictStolen}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.wire.H.Record, tt.want.Step = uint8(gen.DnspathRecordRECORD_STEP), true
			record := (*[stepSize]byte)(unsafe.Pointer(&tt.wire))[:]
			got, err := NewDecoder(fakeResolver{}).Decode(record)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got, compareAddrs); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
			if e, err := NewDecoder(fakeResolver{}).Decode(record[:stepSize-1]); e != nil || err == nil {
				t.Errorf("a short record gives %+v, %v", e, err)
			}
		})
	}
}
