package render

import (
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/tracer"
)

// segmentSamples are lookups over TCP, in fragments, in nested tunnels, and with
// ICMP errors on their way back.
func segmentSamples() []*tracer.Lookup {
	return []*tracer.Lookup{overTCP(), unreset(), silentTCP(), fragmented(), nested()}
}

// trip makes a leg of a packet that goes from one device to the next.
func trip(at uint64, leg tracer.Leg, src, dst netip.AddrPort) tracer.Leg {
	w := &way{at: at, src: src, dst: dst}
	if leg.Response {
		leg.Hops = w.rx(0, nsNodeA, "eth0").rx(step, nsPod, "eth0").hops
	} else {
		leg.Hops = w.tx(0, nsPod, "eth0").tx(step, nsNodeA, "eth0").hops
	}
	return leg
}

// segments makes legs of TCP, each a while after the one before.
func segments(after time.Duration, legs ...tracer.Leg) []tracer.Leg {
	for i := range legs {
		legs[i].Attempt = max(legs[i].Attempt, 1)
		src, dst := webPod, service
		if legs[i].Response {
			src, dst = dst, src
		}
		legs[i] = trip(sampleStart+uint64(i)*uint64(after), legs[i], src, dst)
	}
	return legs
}

func tcpLookup(id uint16, name string, outcome tracer.Outcome, legs []tracer.Leg) *tracer.Lookup {
	last := legs[len(legs)-1].Hops
	return &tracer.Lookup{
		Start: sampleStart, End: last[len(last)-1].Time, DNSID: id, Transport: tracer.TransportTCP,
		Question: &tracer.Message{ID: id, Name: name, Type: dns.TypeA, Class: 1},
		Client:   webPod, Server: service, NetNS: nsPod, Attempts: 1, Legs: legs, Outcome: outcome,
	}
}

func overTCP() *tracer.Lookup {
	l := tcpLookup(12, "tcp.example.test.", tracer.OutcomeAnswered, segments(150*time.Microsecond,
		tracer.Leg{Segment: "SYN"}, tracer.Leg{Segment: "SYN-ACK", Response: true}, tracer.Leg{Segment: "data"},
		tracer.Leg{Segment: "data", Response: true}, tracer.Leg{Segment: "data", Response: true, Again: true},
		tracer.Leg{Segment: "FIN"}, tracer.Leg{Segment: "FIN", Response: true}, tracer.Leg{Segment: "RST"},
	))
	l.Legs[0].Hops[0].Change = &tracer.Change{
		Kind: tracer.ChangeDNAT, From: service, To: backend, Hook: tracer.HookPrerouting, HookHow: tracer.HowSeen, Conntrack: true,
		By: &tracer.By{Name: "iptables nat PREROUTING → KUBE-SVC", How: tracer.HowInferred},
	}
	l.Latency = 462_000
	l.Reply = &tracer.Message{ID: 12, Response: true, Name: "tcp.example.test.", Type: dns.TypeA, Class: 1, Answers: []netip.Addr{answerAddr}, Records: 1}
	return l
}

// unreset is a connection that the server's host resets.
func unreset() *tracer.Lookup {
	l := tcpLookup(13, "reset.example.test.", tracer.OutcomeRejected, segments(150*time.Microsecond,
		tracer.Leg{Segment: "SYN"}, tracer.Leg{Segment: "RST", Response: true},
	))
	l.Detail = "the server reset the connection"
	return l
}

// silentTCP is a connection whose SYN nobody answers.
func silentTCP() *tracer.Lookup {
	l := tcpLookup(0, "", tracer.OutcomeLost, segments(time.Second,
		tracer.Leg{Segment: "SYN"}, tracer.Leg{Segment: "SYN", Again: true, Attempt: 2}, tracer.Leg{Segment: "SYN", Again: true, Attempt: 3},
	))
	l.Question, l.Attempts, l.Detail = &tracer.Message{Partial: true}, 3, "no reply was seen"
	return l
}

// fragmented is a reply in pieces, one of which is too big on the way.
func fragmented() *tracer.Lookup {
	l := tcpLookup(14, "big.example.test.", tracer.OutcomeAnswered, segments(150*time.Microsecond,
		tracer.Leg{}, tracer.Leg{Response: true, Fragment: &tracer.Fragment{}},
		tracer.Leg{Response: true, Fragment: &tracer.Fragment{Offset: 1480, Last: true}},
		tracer.Leg{Error: &tracer.Quote{Type: 3, Code: 4, MTU: 1400, From: webPod.Addr(), To: service.Addr()}},
		tracer.Leg{Response: true, Error: &tracer.Quote{
			Type: 1, Code: 4, V6: true, From: netip.MustParseAddr("2001:db8::53"), To: netip.MustParseAddr("2001:db8::10"),
		}},
	))
	l.Transport, l.Latency = tracer.TransportUDP, 300_000
	return l
}

func nested() *tracer.Lookup {
	outer := &tracer.Tunnel{
		Kind: "ipip", Src: netip.MustParseAddrPort("198.51.100.1:0"), Dst: netip.MustParseAddrPort("198.51.100.2:0"),
	}
	inner := *overlay
	inner.In = outer
	q := &way{at: sampleStart, src: webPod, dst: service, tunnel: &inner}
	q.tx(0, nsNodeA, "eth0", changed(&tracer.Change{Kind: tracer.ChangeEncap, Tunnel: &inner}))
	l := tcpLookup(15, "nested.example.test.", tracer.OutcomeLost, []tracer.Leg{{Attempt: 1, Hops: q.hops}})
	l.Transport, l.Detail = tracer.TransportUDP, "no reply was seen"
	return l
}

// storySamples are a walk through a search list whose last name a cache asks on
// for, over TCP since the answer was truncated; then two tries of one question.
func storySamples() []*tracer.Lookup {
	var all []*tracer.Lookup
	add := func(after time.Duration, client netip.AddrPort, id uint16, name string, rcode int) *tracer.Lookup {
		at := sampleStart + uint64(after)
		q := trip(at, tracer.Leg{Attempt: 1}, client, service)
		l := &tracer.Lookup{
			Start: at, End: q.Hops[1].Time, Latency: 40_000, DNSID: id, Question: &tracer.Message{ID: id, Name: name, Type: dns.TypeA, Class: 1},
			Reply:  &tracer.Message{ID: id, Response: true, Rcode: rcode, Name: name, Type: dns.TypeA, Class: 1},
			Client: client, Server: service, NetNS: nsPod, Attempts: 1, Legs: []tracer.Leg{q}, Outcome: tracer.OutcomeAnswered,
		}
		all = append(all, l)
		return l
	}
	tie := func(a *tracer.Lookup, kind tracer.LinkKind, how string, b *tracer.Lookup) {
		a.Links = append(a.Links, tracer.Link{Kind: kind, How: how, Ref: b.Ref()})
	}
	cache := netip.MustParseAddrPort("192.0.2.1:33000")
	first := add(0, webPod, 20, "db.svc.cluster.local.", dns.RcodeNameError)
	last := add(time.Millisecond, webPod, 21, "db.", dns.RcodeSuccess)
	cut := add(1100*time.Microsecond, cache, 22, "db.", dns.RcodeSuccess)
	cut.Reply.TC = true
	whole := add(1300*time.Microsecond, cache, 23, "db.", dns.RcodeSuccess)
	whole.Transport = tracer.TransportTCP
	story := &tracer.Story{First: first.Ref(), Name: "db", Lookups: 4, NXDomain: 1, Caused: 2, OverTCP: 1}
	for _, l := range all {
		l.Story = story
	}
	tie(first, tracer.LinkSearchNext, tracer.HowSeen, last)
	tie(last, tracer.LinkSearchOf, tracer.HowSeen, first)
	for _, l := range []*tracer.Lookup{cut, whole} {
		tie(last, tracer.LinkChild, tracer.HowInferred, l)
		tie(l, tracer.LinkParent, tracer.HowInferred, last)
	}
	tie(cut, tracer.LinkOverTCP, tracer.HowSeen, whole)
	tie(whole, tracer.LinkTruncationOf, tracer.HowSeen, cut)

	try := add(2*time.Second, webPod, 24, "e.example.test.", dns.RcodeServerFailure)
	again := add(7*time.Second, netip.AddrPortFrom(webPod.Addr(), 41523), 25, "e.example.test.", dns.RcodeSuccess)
	again.Links = []tracer.Link{{Kind: tracer.LinkRetryOf, How: tracer.HowSeen, Ref: try.Ref(), Try: 2}}
	return all
}
