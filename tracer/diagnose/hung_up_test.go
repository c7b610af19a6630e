package diagnose

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// A client that closes a connection early did not wait; one that closes it after a
// while had a reason to.
func TestHungUp(t *testing.T) {
	const ms = time.Millisecond
	node := fakeNode{nsServer: {name: "dns-b"}, nsClient: {name: "client"}, nsNodeA: {name: "node-a"}}
	query := tracer.Leg{Attempt: 1, Segment: "data", Hops: []tracer.Hop{
		{Name: "tx", Layer: "device", NetNS: nsClient, Src: client, Dst: service},
		{Name: "socket", Layer: "socket", NetNS: nsServer, Src: client, Dst: backend, Time: uint64(ms)},
	}}
	unseen := query // the server is on another node
	unseen.Hops = []tracer.Hop{query.Hops[0], {Name: "tx", Layer: "device", Dev: "eth0", NetNS: nsNodeA, Src: client, Dst: backend, Time: uint64(ms)}}
	lateQuery := query // on its way for long
	lateQuery.Hops = slices.Clone(query.Hops)
	lateQuery.Hops[1].Time = uint64(450 * ms)
	lateRead := query
	lateRead.Hops = append(slices.Clone(query.Hops), tracer.Hop{Name: "read", Layer: "socket", NetNS: nsServer, Src: client, Dst: backend, Time: uint64(450 * ms)})
	segment := func(kind string, at time.Duration) tracer.Leg {
		return tracer.Leg{Segment: kind, Hops: []tracer.Hop{{Name: "tx", Layer: "device", NetNS: nsClient, Src: client, Dst: service, Time: uint64(at)}}}
	}
	reply := func(at time.Duration, why, function string) tracer.Leg {
		return tracer.Leg{Response: true, Segment: "data", Hops: []tracer.Hop{
			{Name: "tx", Layer: "device", NetNS: nsServer, Src: backend, Dst: client, Time: uint64(at)},
			{Name: "drop", NetNS: nsClient, Src: service, Dst: client, Time: uint64(at + ms), Drop: &tracer.Drop{Reason: why, Function: function}},
		}}
	}
	closes := tracer.Leg{Response: true, Segment: "FIN", Hops: []tracer.Hop{{Name: "tx", Layer: "device", NetNS: nsServer, Time: uint64(50 * ms)}}}
	follows := closes
	follows.Hops = []tracer.Hop{{Name: "tx", Layer: "device", NetNS: nsServer, Time: uint64(90 * ms)}}
	for _, tt := range []struct {
		name       string
		outcome    tracer.Outcome
		legs       []tracer.Leg
		want       string
		confidence tracer.Confidence
	}{
		{"soon", tracer.OutcomeLost, []tracer.Leg{query, segment("FIN", 80*ms)}, "client-gone", tracer.ConfidenceLikely},
		{"soon, with a reset", tracer.OutcomeLost, []tracer.Leg{query, segment("RST", 80*ms)}, "client-gone", tracer.ConfidenceLikely},
		{"soon, and refused what came", tracer.OutcomeLost, []tracer.Leg{query, segment("FIN", 80*ms), segment("RST", 400*ms)}, "client-gone", tracer.ConfidenceSeen},
		{"soon, and the reply met nobody", tracer.OutcomeLost, []tracer.Leg{query, segment("FIN", 80*ms), reply(400*ms, "NOT_SPECIFIED", "tcp_v4_rcv")}, "client-gone", tracer.ConfidenceSeen},
		{"the same while it closed", tracer.OutcomeDropped, []tracer.Leg{query, segment("FIN", 80*ms), reply(81*ms, "TCP_ABORT_ON_DATA", "tcp_v6_do_rcv")}, "client-gone", tracer.ConfidenceSeen},
		{"soon, and something else was dropped", tracer.OutcomeDropped, []tracer.Leg{query, segment("FIN", 80*ms), reply(70*ms, "TCP_OVERWINDOW", "tcp_v4_do_rcv")}, Unexplained, ""},
		{"after a while, of a slow server", tracer.OutcomeLost, []tracer.Leg{query, segment("FIN", 300*ms), reply(400*ms, "NOT_SPECIFIED", "tcp_v4_rcv")}, "server-slow", tracer.ConfidenceSeen},
		{"after a while, of one that spoke later", tracer.OutcomeLost, []tracer.Leg{query, segment("FIN", 300*ms), segment("RST", 400*ms)}, "server-slow", tracer.ConfidenceSeen},
		{"after a while, of one that may have", tracer.OutcomeLost, []tracer.Leg{query, segment("FIN", 300*ms)}, "server-slow", tracer.ConfidenceLikely},
		{"long after, of one that did not", tracer.OutcomeLost, []tracer.Leg{query, segment("FIN", 500*ms)}, "server-silent", tracer.ConfidenceSeen},
		{"of one that read it late", tracer.OutcomeLost, []tracer.Leg{lateRead, segment("FIN", 500*ms), segment("RST", 600*ms)}, "server-slow", tracer.ConfidenceSeen},
		{"of one that got it late, and spoke later", tracer.OutcomeLost, []tracer.Leg{lateQuery, segment("FIN", 500*ms), segment("RST", 600*ms)}, Unexplained, ""},
		{"after a while, of one that is not seen", tracer.OutcomeLost, []tracer.Leg{unseen, segment("FIN", 300*ms), segment("RST", 400*ms)}, "server-slow", tracer.ConfidenceLikely},
		{"soon, and the server followed", tracer.OutcomeLost, []tracer.Leg{query, segment("FIN", 80*ms), follows}, "client-gone", tracer.ConfidenceLikely},
		{"the server did", tracer.OutcomeLost, []tracer.Leg{query, closes, segment("FIN", 80*ms)}, "server-silent", ""},
		{"answered", tracer.OutcomeAnswered, []tracer.Leg{query, segment("FIN", 80*ms), segment("RST", 90*ms)}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := fakeLookup(tt.outcome)
			l.Transport, l.Legs = tracer.TransportTCP, tt.legs
			if tt.want == "" {
				checkDiagnosis(t, node, l)
				return
			}
			checkDiagnosis(t, node, l, tt.want)
			if got := l.Findings[0].Confidence; tt.confidence != "" && got != tt.confidence {
				t.Errorf("confidence %s, want %s", got, tt.confidence)
			}
		})
	}
}

// A server that asks others may wait for them, when its client hangs up.
func TestHungUpOnForwarder(t *testing.T) {
	hangsUp := func() *tracer.Lookup {
		l := fakeLookup(tracer.OutcomeLost)
		l.Transport = tracer.TransportTCP
		l.Legs = []tracer.Leg{
			{Attempt: 1, Segment: "data", Hops: []tracer.Hop{{Name: "tx", NetNS: nsClient}, {Name: "socket", Layer: "socket", NetNS: nsServer, Time: 1}}},
			{Segment: "FIN", Hops: []tracer.Hop{{Name: "tx", NetNS: nsClient, Time: uint64(time.Second)}}},
		}
		return l
	}
	d := New(fakeNode{nsServer: {name: "dns-b"}, nsClient: {name: "client"}})
	l := hangsUp()
	if d.Diagnose(l); idsOf(l) != "server-silent" {
		t.Errorf("finding %q, want server-silent", idsOf(l))
	}
	for i, want := range []string{"server-silent", "server-silent", "server-slow"} { // once is by chance
		parent := fakeLookup(tracer.OutcomeAnswered)
		parent.Client = netip.AddrPortFrom(parent.Client.Addr(), uint16(5000+i))
		d.Diagnose(parent, fakeChild(parent, tracer.OutcomeAnswered))
		l = hangsUp()
		if d.Diagnose(l); idsOf(l) != want {
			t.Errorf("it has asked %d times: finding %q, want %s", i+1, idsOf(l), want)
		}
	}
}
