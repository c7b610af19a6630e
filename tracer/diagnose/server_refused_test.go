package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/tracer"
)

// fakeAnswer is a lookup that its server answered after a while.
func fakeAnswer(rcode int, after time.Duration) *tracer.Lookup {
	l := fakeLookup(tracer.OutcomeAnswered, tracer.Hop{Name: "rx", NetNS: nsServer}, tracer.Hop{Name: "socket", NetNS: nsServer})
	l.Start = uint64(time.Hour)
	for i := range l.Legs[0].Hops {
		l.Legs[0].Hops[i].Time += l.Start
	}
	l.Reply = &tracer.Message{Rcode: rcode, Name: l.Question.Name, Type: 1, Response: true}
	l.Legs = append(l.Legs, tracer.Leg{Response: true, Attempt: 1, Hops: []tracer.Hop{
		{Name: "tx", Dev: "eth0", NetNS: nsServer, Time: l.Start + uint64(after), Src: backend, Dst: client},
	}})
	l.End = l.Start + uint64(after)
	return l
}

func TestServerRefused(t *testing.T) {
	node := fakeNode{nsServer: {name: "dns-b"}}
	for _, rcode := range []int{dns.RcodeServerFailure, dns.RcodeRefused} {
		checkDiagnosis(t, node, fakeAnswer(rcode, time.Millisecond), "server-refused")
		checkDiagnosis(t, fakeNode{}, fakeAnswer(rcode, time.Millisecond), "server-refused")
		// It may have asked somebody who was not seen.
		checkDiagnosis(t, node, fakeAnswer(rcode, time.Second))
	}
	checkDiagnosis(t, node, fakeAnswer(dns.RcodeNameError, time.Millisecond))
	checkDiagnosis(t, node, fakeAnswer(dns.RcodeSuccess, time.Millisecond))

	// A server elsewhere: its reply came in by a device.
	remote := fakeAnswer(dns.RcodeServerFailure, time.Millisecond)
	remote.Legs[1].Hops[0].Name = "rx"
	checkDiagnosis(t, node, remote)

	// What upstream answers is passed on.
	parent := fakeAnswer(dns.RcodeServerFailure, time.Millisecond)
	New(node).Diagnose(parent, fakeChild(parent, tracer.OutcomeAnswered))
	if len(parent.Findings) != 0 {
		t.Errorf("findings %+v of what upstream said", parent.Findings)
	}

	// The same from memory, and a lookup by another name meanwhile.
	for _, name := range []string{parent.Question.Name, "ns.example.test."} {
		d := New(node)
		other := fakeLookup(tracer.OutcomeAnswered)
		other.Client, other.Question.Name, other.Start = backend, name, parent.Start+10
		d.Diagnose(other)
		again := fakeAnswer(dns.RcodeServerFailure, time.Millisecond)
		if d.Diagnose(again); len(again.Findings) != 0 {
			t.Errorf("findings %+v after its own lookup for %s", again.Findings, name)
		}
	}

	// A node-local cache asks from its node's address; what its clients there ask it is not its own.
	for server, want := range map[netip.AddrPort]string{upstream: "", service: "server-refused"} {
		d := New(node)
		other := fakeLookup(tracer.OutcomeAnswered)
		other.Client, other.Server, other.NetNS, other.Start = netip.MustParseAddrPort("192.0.2.1:4000"), server, nsServer, parent.Start+10
		d.Diagnose(other)
		again := fakeAnswer(dns.RcodeRefused, time.Millisecond)
		if d.Diagnose(again); idsOf(again) != want {
			t.Errorf("asked %v meanwhile: finding %q, want %q", server, idsOf(again), want)
		}
	}

	// Seen first on another node, it has an address that is nobody's here; a client may ask two servers at once.
	for client, want := range map[netip.AddrPort]string{netip.MustParseAddrPort("192.0.2.1:4000"): "", netip.AddrPortFrom(parent.Client.Addr(), 4000): "server-refused"} {
		d := New(node)
		other := fakeLookup(tracer.OutcomeAnswered)
		other.Client, other.Server, other.NetNS, other.Start = client, upstream, nsServer+1, parent.Start+10
		d.Diagnose(other)
		again := fakeAnswer(dns.RcodeRefused, time.Millisecond)
		if d.Diagnose(again); idsOf(again) != want {
			t.Errorf("%v asked upstream meanwhile: finding %q, want %q", client, idsOf(again), want)
		}
	}
}
