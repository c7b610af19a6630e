package render

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/kernel"
	"github.com/dnspath/dnspath/tracer"
)

// TestMain fixes the time zone: text has local times.
func TestMain(m *testing.M) {
	time.Local = time.FixedZone("test", 2*60*60)
	m.Run()
}

// Network namespaces of the samples; the last one has no name.
const (
	nsPod uint32 = 4026532101 + iota
	nsNodeA
	nsNodeB
	nsDNS
	nsUnnamed
)

// sampleStart is the kernel time at which each sample begins, ns.
const sampleStart = 1_000_000_000

func sampleContext() *Context {
	names := map[uint32]string{nsPod: "cni-1234", nsNodeA: "node-a", nsNodeB: "node-b", nsDNS: "cni-5678"}
	pods := map[uint32]string{nsPod: "default/web-7d9f", nsDNS: "kube-system/coredns-0"}
	return &Context{
		Node: "worker-0",
		Wall: func(ns uint64) time.Time {
			return time.Unix(1_795_257_063, 114_203_000-sampleStart).Add(time.Duration(ns))
		},
		NetNS: func(inode uint32) (name, pod string) { return names[inode], pods[inode] },
	}
}

var (
	webPod     = netip.MustParseAddrPort("10.244.1.10:41522")
	service    = netip.MustParseAddrPort("10.96.0.10:53")
	backend    = netip.MustParseAddrPort("10.244.2.53:53")
	overlay    = tunnelOf("192.0.2.1:50741", "192.0.2.2:4789")
	answerAddr = netip.MustParseAddr("203.0.113.7")
)

func tunnelOf(src, dst string) *tracer.Tunnel {
	return &tracer.Tunnel{Kind: "vxlan", VNI: 4096, Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}

// way makes up the hops of a packet.
type way struct {
	at       uint64
	src, dst netip.AddrPort
	tunnel   *tracer.Tunnel
	hops     []tracer.Hop
}

// hop adds a hop, so long after the one before.
func (w *way) hop(after time.Duration, name, layer string, probe tracer.Probe, netns uint32, dev string, more ...func(*tracer.Hop)) *way {
	w.at += uint64(after)
	h := tracer.Hop{
		Name: name, Layer: layer, Probe: probe, Time: w.at, NetNS: netns, Dev: dev, Src: w.src, Dst: w.dst, Len: 60, TTL: 64, Tunnel: w.tunnel,
	}
	if dev != "" {
		h.Ifindex = 2
	}
	for _, change := range more {
		change(&h)
	}
	w.hops = append(w.hops, h)
	return w
}

func (w *way) tx(after time.Duration, netns uint32, dev string, more ...func(*tracer.Hop)) *way {
	return w.hop(after, "tx", "device", tracer.ProbeNetDevQueue, netns, dev, more...)
}

func (w *way) rx(after time.Duration, netns uint32, dev string, more ...func(*tracer.Hop)) *way {
	return w.hop(after, "rx", "device", tracer.ProbeNetifReceiveSkb, netns, dev, more...)
}

func (w *way) hook(after time.Duration, netns uint32, dev string, hook tracer.Hook, more ...func(*tracer.Hop)) *way {
	return w.hop(after, "hook", "netfilter", tracer.ProbeNFEnter, netns, dev, append(more, func(h *tracer.Hop) { h.Hook = hook })...)
}

func (w *way) drop(after time.Duration, netns uint32, dev string, d *tracer.Drop) *way {
	return w.hop(after, "drop", "end", tracer.ProbeKfreeSkb, netns, dev, func(h *tracer.Hop) { h.Drop, h.Hook = d, d.Hook })
}

func read(pid uint32, comm string) func(*tracer.Hop) {
	return func(h *tracer.Hop) { h.PID, h.Comm = pid, comm }
}

func changed(c *tracer.Change) func(*tracer.Hop) {
	return func(h *tracer.Hop) { h.Change = c }
}

const step = 12 * time.Microsecond

// samples are lookups of all kinds of outcome.
func samples() []*tracer.Lookup {
	return slices.Concat([]*tracer.Lookup{answered(), dropped(), rejected(), unexpected(), malformed(), incomplete(), corrupted()}, segmentSamples(), storySamples())
}

func answered() *tracer.Lookup {
	q := &way{at: sampleStart, src: webPod, dst: service}
	q.tx(0, nsPod, "eth0", read(4242, "dig")).rx(step, nsNodeA, "veth1")
	q.dst = backend
	q.hook(step, nsNodeA, "cni0", tracer.HookPrerouting, func(h *tracer.Hop) {
		h.Name = "nat"
		h.Change = &tracer.Change{
			Kind: tracer.ChangeDNAT, From: service, To: backend, Hook: tracer.HookPrerouting, HookHow: tracer.HowSeen, Conntrack: true,
			By: &tracer.By{
				Name: "iptables nat PREROUTING → KUBE-SERVICES → KUBE-SEP-1", Rule: "-p udp -j DNAT --to-destination 10.244.2.53:53", How: tracer.HowInferred,
			},
		}
	})
	q.rx(step, nsNodeA, "cni0").hook(step, nsNodeA, "cni0", tracer.HookForward).hook(step, nsNodeA, "flannel.1", tracer.HookPostrouting)
	q.tx(step, nsNodeA, "flannel.1")
	q.tunnel = overlay
	q.hook(step, nsNodeA, "eth0", tracer.HookOutput, changed(&tracer.Change{Kind: tracer.ChangeEncap, Tunnel: overlay}))
	q.hook(step, nsNodeA, "eth0", tracer.HookPostrouting).tx(step, nsNodeA, "eth0").rx(250*time.Microsecond, nsNodeB, "eth0")
	q.tunnel = nil
	q.rx(step, nsNodeB, "flannel.1", changed(&tracer.Change{Kind: tracer.ChangeDecap, Tunnel: overlay})).tx(step, nsNodeB, "veth1").rx(step, nsDNS, "eth0")
	q.hop(time.Microsecond, "socket", "socket", tracer.ProbeSkDataReady, nsDNS, "")
	q.hop(time.Microsecond, "read", "socket", tracer.ProbeConsumeSkb, nsDNS, "", func(h *tracer.Hop) { h.Inferred = true })

	r := &way{at: q.at + uint64(1500*time.Microsecond), src: backend, dst: webPod}
	r.tx(0, nsDNS, "eth0", read(99, "coredns"))
	r.src = service
	r.tx(2*time.Millisecond, nsNodeA, "veth1", changed(&tracer.Change{
		Kind: tracer.ChangeUnDNAT, From: backend, To: service, Hook: tracer.HookPostrouting, HookHow: tracer.HowInferred, Conntrack: true,
	}))
	r.rx(step, nsPod, "eth0").hop(step, "read", "socket", tracer.ProbeConsumeSkb, nsPod, "", read(4242, "dig"))
	return &tracer.Lookup{
		Start: sampleStart, End: r.at, Latency: r.at - sampleStart, DNSID: 4711,
		Question: &tracer.Message{ID: 4711, Name: "a.example.test.", Type: dns.TypeA, Class: 1},
		Reply:    &tracer.Message{ID: 4711, Response: true, Name: "a.example.test.", Type: dns.TypeA, Class: 1, Answers: []netip.Addr{answerAddr}, Records: 1},
		Client:   webPod, Server: service, Backend: backend, NetNS: nsPod, PID: 4242, Comm: "dig", Attempts: 1,
		Legs:    []tracer.Leg{{Attempt: 1, Hops: q.hops}, {Response: true, Attempt: 1, Hops: r.hops}},
		Outcome: tracer.OutcomeAnswered,
	}
}

func dropped() *tracer.Lookup {
	first := &way{at: sampleStart, src: webPod, dst: service}
	first.tx(0, nsPod, "eth0").rx(step, nsNodeA, "veth1").tx(step, nsNodeA, "eth0", func(h *tracer.Hop) { h.Queued = true })
	second := &way{at: sampleStart + uint64(5*time.Second), src: webPod, dst: service}
	second.tx(0, nsPod, "eth0").rx(step, nsNodeA, "veth1").hook(step, nsNodeA, "cni0", tracer.HookPrerouting)
	second.hook(step, nsNodeA, "cni0", tracer.HookForward).hook(step, nsNodeA, "eth0", tracer.HookPostrouting)
	second.drop(step, nsNodeA, "eth0", &tracer.Drop{
		Reason: "NETFILTER_DROP", Function: "nf_hook_slow", Hook: tracer.HookPostrouting, Confirm: true,
	})
	return &tracer.Lookup{
		Start: sampleStart, End: second.at, DNSID: 7, Question: &tracer.Message{ID: 7, Name: "b.example.test.", Type: 65, Class: 1},
		Client: webPod, Server: service, NetNS: nsPod, Attempts: 2,
		Legs:    []tracer.Leg{{Attempt: 1, Hops: first.hops}, {Attempt: 2, Hops: second.hops}},
		Outcome: tracer.OutcomeDropped, Detail: "the query: NETFILTER_DROP in nf_hook_slow (POSTROUTING)", FateNetNS: nsNodeA,
	}
}

// corrupted has a tunnel whose outer checksum is wrong from the rewrite of its
// source on, and an inner header that was wrong when it was first seen.
func corrupted() *tracer.Lookup {
	moved := tunnelOf("192.0.2.1:12345", "192.0.2.2:4789")
	sums := func(outer, inner tracer.SumVerdict) func(*tracer.Hop) {
		return func(h *tracer.Hop) {
			h.Sums = []tracer.HeaderSum{
				{Header: "ipv4", Depth: 1, Verdict: tracer.SumOK}, {Header: "udp", Depth: 1, Verdict: outer},
				{Header: "ipv4", Verdict: tracer.SumUnknown, Why: "its hop limit has changed since it was captured"}, {Header: "udp", Verdict: inner, Field: 0x16a1, Want: 0x1960},
			}
			if outer == tracer.SumBad {
				h.Sums[1].Field, h.Sums[1].Want = 0x8b1c, 0x3e7c
			}
		}
	}
	q := &way{at: sampleStart, src: webPod, dst: backend}
	q.tx(0, nsPod, "eth0", func(h *tracer.Hop) {
		h.Sums = []tracer.HeaderSum{{Header: "ipv4", Verdict: tracer.SumOK}, {Header: "udp", Verdict: tracer.SumPartialBad, Field: 0x16a1, Want: 0x1960}}
		h.Breaks = []tracer.SumBreak{{HeaderSum: h.Sums[1]}}
	})
	q.tunnel = overlay
	q.hook(step, nsNodeA, "eth0", tracer.HookForward, sums(tracer.SumOK, tracer.SumPartialBad)).hook(step, nsNodeA, "eth0", tracer.HookOutput, sums(tracer.SumOK, tracer.SumPartialBad))
	was := q.hops[len(q.hops)-1]
	q.tunnel = moved
	q.hook(step, nsNodeA, "eth0", tracer.HookPostrouting, sums(tracer.SumBad, tracer.SumPartialBad), func(h *tracer.Hop) {
		h.Breaks = []tracer.SumBreak{{HeaderSum: h.Sums[1], Was: tracer.SumOK, WasAt: &was, From: overlay.Src, To: moved.Src}}
	})
	q.tx(step, nsNodeA, "eth0", sums(tracer.SumBad, tracer.SumPartialBad))
	q.drop(step, nsNodeB, "eth0", &tracer.Drop{Reason: "UDP_CSUM", Function: "__udp4_lib_rcv"})
	return &tracer.Lookup{
		Start: sampleStart, End: q.at, DNSID: 8, Question: &tracer.Message{ID: 8, Name: "c.example.test.", Type: 1, Class: 1},
		Client: webPod, Server: backend, NetNS: nsPod, Attempts: 1, Legs: []tracer.Leg{{Attempt: 1, Hops: q.hops}},
		Outcome: tracer.OutcomeDropped, Detail: "the query: UDP_CSUM in __udp4_lib_rcv", FateNetNS: nsNodeB,
	}
}

func rejected() *tracer.Lookup {
	client, server := netip.MustParseAddrPort("[2001:db8::10]:41522"), netip.MustParseAddrPort("[2001:db8::53]:53")
	q := &way{at: sampleStart, src: client, dst: server}
	q.tx(0, nsPod, "eth0").rx(step, nsNodeA, "veth1").hook(step, nsNodeA, "veth1", tracer.HookPrerouting)
	q.hop(step, "icmp", "ip", tracer.ProbeICMPSend, nsNodeA, "veth1", func(h *tracer.Hop) { h.ICMP = &tracer.ICMP{Type: 3, Code: 3} })
	q.drop(step, nsNodeA, "veth1", &tracer.Drop{
		Function: "nf_hook_slow", Meaning: "a netfilter hook refused it", Inferred: "NETFILTER_DROP", Hook: tracer.HookPrerouting,
		By: &tracer.By{Name: "nftables inet filter pre → dns handle 7", Rule: `udp dport 53 reject comment "no → DNS"`, How: tracer.HowInferred},
	})
	q.hop(step, "socket-full", "socket", tracer.ProbeUDPFail, nsNodeA, "", func(h *tracer.Hop) { h.Drop = &tracer.Drop{Errno: 12, Meaning: "the socket's receive buffer is full"} })
	return &tracer.Lookup{
		Start: sampleStart, End: q.at, DNSID: 8, Question: &tracer.Message{ID: 8, Name: ".", Type: dns.TypeNS, Class: 1},
		Client: client, Server: server, NetNS: nsPod, Attempts: 1, Legs: []tracer.Leg{{Attempt: 1, Hops: q.hops}},
		Outcome: tracer.OutcomeRejected, Detail: "ICMP port unreachable", FateNetNS: nsNodeA,
	}
}

func unexpected() *tracer.Lookup {
	r := &way{at: sampleStart + uint64(3*time.Microsecond), src: backend, dst: webPod}
	r.rx(0, nsNodeA, "eth0")
	r.src, r.dst = netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("10.244.1.10:40000")
	r.tx(time.Second, nsNodeA, "veth1", changed(&tracer.Change{
		Kind: tracer.ChangeUnSNAT, From: webPod, To: r.dst, Also: &tracer.Change{Kind: tracer.ChangeUnDNAT, From: backend, To: r.src},
	}))
	q := &way{at: sampleStart, src: webPod, dst: service}
	return &tracer.Lookup{
		Start: sampleStart, End: r.at, DNSID: 9, Question: &tracer.Message{ID: 9, Name: "c.example.test.", Type: dns.TypeAAAA, Class: 1},
		Reply:    &tracer.Message{ID: 9, Response: true, Rcode: dns.RcodeServerFailure, Name: "c.example.test.", Type: dns.TypeAAAA, TC: true},
		ReplyLen: 512,
		Client:   webPod, Server: service, Backend: backend, NetNS: nsPod, Attempts: 1,
		Legs:    []tracer.Leg{{Attempt: 1, Hops: q.tx(0, nsPod, "eth0").hops}, {Response: true, Attempt: 1, Hops: r.hops}},
		Outcome: tracer.OutcomeUnexpectedSource, Detail: "the reply came from 192.0.2.1:53, the client had asked 10.96.0.10:53",
	}
}

// hostile has what a terminal would obey, and bytes that are no UTF-8.
const hostile = "x\x1b]0;owned\x07\x1b[31m\r\n\u202e\u009b\xff\x7f\"\\"

// malformed has hostile bytes wherever something else than dnspath chooses them.
func malformed() *tracer.Lookup {
	q := &way{at: sampleStart, src: webPod, dst: service}
	q.tx(0, nsPod, hostile, read(4242, hostile)).rx(step, nsUnnamed, hostile)
	q.hop(step, "read", "socket", tracer.ProbeRead, nsUnnamed, "", read(1, hostile), changed(&tracer.Change{
		Kind: tracer.ChangeDNAT, From: service, To: backend, By: &tracer.By{Name: hostile + " → " + hostile, Rule: hostile, How: tracer.HowInferred},
	}))
	return &tracer.Lookup{
		Start: sampleStart, End: q.at, Latency: 9, DNSID: 10,
		Question: &tracer.Message{ID: 10, Name: hostile, Type: 65280, Class: 1, Defect: "2 questions in one message"},
		Reply:    &tracer.Message{ID: 10, Response: true, Rcode: 14, Name: hostile, Type: 65280},
		Client:   webPod, Server: service, NetNS: nsPod, PID: 4242, Comm: hostile, Attempts: 1,
		Legs: []tracer.Leg{{Attempt: 1, Hops: q.hops}}, Outcome: tracer.OutcomeAnswered,
	}
}

func incomplete() *tracer.Lookup {
	r := &way{at: sampleStart, src: service, dst: webPod}
	r.rx(0, nsUnnamed, "eth0").hook(step, nsUnnamed, "eth0", tracer.HookPrerouting).hook(step, nsUnnamed+1, "eth0", tracer.HookInput)
	return &tracer.Lookup{
		Start: sampleStart, End: r.at, DNSID: 11, Question: &tracer.Message{ID: 11, Partial: true}, Client: webPod, Server: service, NetNS: nsUnnamed,
		Reply: &tracer.Message{ID: 11, Response: true, Defect: "message of 11 bytes, a DNS header takes 12"},
		Legs:  []tracer.Leg{{Response: true, Hops: r.hops}}, Outcome: tracer.OutcomeIncomplete, Detail: "its query was not seen",
		Incomplete: true, Why: []string{"its query was not seen", "events were lost while it was under way"},
	}
}

// export are the records of an export with all samples.
func export() []any {
	view := sampleContext()
	records := []any{Start{
		Type: "start", Schema: SchemaVersion, Tool: "dnspath", Version: "devel", Kernel: "6.18.5", Node: view.Node,
		Time: view.Wall(0).UTC(), ClockOffsetNS: view.Wall(0).UnixNano(), Probes: Probes(sampleProbes()),
	}}
	for _, l := range samples() {
		records = append(records, view.View(l))
	}
	for _, e := range sampleEvents() {
		name, _ := view.NetNS(e.NetNS)
		records = append(records, EventRecord{Type: "event", Schema: SchemaVersion, Node: view.Node, Event: e, NetNSName: name})
	}
	stats := tracer.Stats{
		Counters:    tracer.Counters{Events: 60, Lookups: 6, Evicted: 1, Cut: 2, Late: 3, Stragglers: 4, Unasked: 6},
		Undecodable: 5, Lost: map[string]uint64{"ring_full": 7, "packet_map": 0},
	}
	outcomes := map[string]uint64{}
	for _, l := range samples() {
		outcomes[string(l.Outcome)]++
	}
	return append(records, Stats(view.Node, view.Wall(2*sampleStart), &stats, outcomes, 8))
}

func sampleProbes() []tracer.ProbeStatus {
	hop := kernel.Hop{Name: "tx", Layer: "device", Kind: kernel.KindTracepoint, Program: "net_dev_queue", Target: "net_dev_queue", Sees: "handed to a device"}
	blind := kernel.Hop{Name: "tc-ingress", Layer: "tc", Kind: kernel.KindTCX, Program: "tc_ingress", Target: "tcx/ingress", Sees: "before the stack handles it"}
	return []tracer.ProbeStatus{{Hop: hop, Attached: true}, {Hop: blind, Why: "not asked for (--tc)"}}
}

// sampleEvents have every field between them.
func sampleEvents() []*tracer.Event {
	full := &tracer.Event{
		Time: sampleStart, Packet: 1, Probe: tracer.ProbeKfreeSkb, CPU: 3, NetNS: nsNodeA, Ifindex: 2, Dev: "eth0", Src: webPod, Dst: backend,
		Len: 110, TTL: 63, IPID: 5, Mark: 0x4000, Tunnel: overlay,
		CT:      &tracer.Conntrack{Info: 2, Status: 0x1a8, Orig: tracer.Flow{Src: webPod, Dst: service}, Reply: tracer.Flow{Src: backend, Dst: webPod}},
		NoTrack: true, Hook: tracer.HookPostrouting, HookLeft: true,
		Freed: &tracer.Freed{Reason: "NETFILTER_DROP", Function: "nf_hook_slow", Location: 0xffffffff81000000},
		ICMP:  &tracer.ICMP{Type: 3, Code: 3}, Errno: 12, PID: 4242, Comm: hostile,
		Checksum: tracer.Checksum{Field: 1, Outer: 2, Summed: 3, Level: 1, Start: 4, Offset: 6, L4: 5, Encap: true},
		DNSID:    4711, DNSFlags: 0x8180, DNSLen: 32, Response: true, Short: true, Nonlinear: true, Fragment: true,
		Captured: []byte("packet"), DNSOffset: 28,
	}
	return []*tracer.Event{full, {
		Time: sampleStart, Probe: tracer.ProbeNetDevQueue, Src: webPod, Dst: service, Len: 60, TTL: 64, DNSID: 4711, DNSFlags: 0x100, DNSLen: 32,
	}, {
		Time: sampleStart, Probe: tracer.ProbeNetDevQueue, Src: webPod, Dst: service, Len: 1500, TTL: 64, Tunnel: nested().Legs[0].Hops[0].Tunnel,
		Fragment: true, FragOffset: 1480, FragLast: true, TCP: &tracer.TCP{Seq: 1, Ack: 2, Len: 3, SYN: true, ACK: true, FIN: true, RST: true},
		Quote: &tracer.Quote{Type: 2, V6: true, MTU: 1280, From: netip.MustParseAddr("2001:db8::1"), To: netip.MustParseAddr("2001:db8::2")},
	}}
}
