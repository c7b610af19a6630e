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

	// It asked for something meanwhile, or remembers what it was told.
	asked := fakeAnswer(dns.RcodeServerFailure, time.Millisecond)
	asked.ServerAsked = true
	checkDiagnosis(t, node, asked)

	// It asks over TLS; another process of its namespace may.
	for pid, want := range map[int]string{7: "", 8: "server-refused", 0: ""} {
		server := &fakeNS{
			name:       "dns-b",
			sockets:    []Socket{{Transport: tracer.TransportUDP, Addr: backend, PID: 7}},
			unobserved: []Socket{{Transport: tracer.TransportTCP, Addr: backend, Peer: netip.MustParseAddrPort("192.0.2.53:853"), PID: pid}},
		}
		l := fakeAnswer(dns.RcodeServerFailure, time.Millisecond)
		if New(fakeNode{nsServer: server}).Diagnose(l); idsOf(l) != want {
			t.Errorf("process %d asks over TLS: finding %q, want %q", pid, idsOf(l), want)
		}
	}

	// Whether it asked for this name is known of names that are.
	nameless := fakeAnswer(dns.RcodeRefused, time.Millisecond)
	nameless.Question = &tracer.Message{Partial: true}
	checkDiagnosis(t, node, nameless)
}
