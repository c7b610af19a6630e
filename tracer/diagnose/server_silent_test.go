package diagnose

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestServerSilent(t *testing.T) {
	listens := Socket{Transport: tracer.TransportUDP, Addr: netip.MustParseAddrPort("[::]:53"), PID: 7, Process: "coredns"}
	stuck := listens
	stuck.Queue = 768
	node := func(sockets ...Socket) fakeNode { return fakeNode{nsServer: {name: "dns-b", sockets: sockets}} }
	arrived := tracer.Hop{Name: "rx", Layer: "device", Dev: "eth0", NetNS: nsServer}
	door := arrived
	door.Dst = backend
	withAddr := func(node fakeNode) fakeNode {
		node[nsServer].links = []Link{{Name: "eth0", Up: true, Addrs: []netip.Prefix{netip.PrefixFrom(backend.Addr(), 24)}}}
		return node
	}
	queued := tracer.Hop{Name: "socket", Layer: "socket", NetNS: nsServer}
	read := tracer.Hop{Name: "read", Layer: "socket", NetNS: nsServer, PID: 7, Comm: "coredns"}
	drop := func(reason, function string) tracer.Hop {
		return tracer.Hop{Name: "drop", Layer: "end", NetNS: nsServer, Drop: &tracer.Drop{Reason: reason, Function: function}}
	}
	full := tracer.Hop{Name: "socket-full", Layer: "socket", NetNS: nsServer, Drop: &tracer.Drop{Errno: 12}}
	reply := tracer.Leg{Response: true, Hops: []tracer.Hop{{Name: "tx", Layer: "device", NetNS: nsServer}}}
	handshake := tracer.Leg{Response: true, Segment: "SYN-ACK", Hops: reply.Hops}

	tests := []struct {
		name       string
		node       fakeNode
		outcome    tracer.Outcome
		hops       []tracer.Hop
		more       []tracer.Leg
		want       string
		confidence tracer.Confidence
	}{
		{"queued", node(listens), tracer.OutcomeLost, []tracer.Hop{arrived, queued}, nil, "server-silent", tracer.ConfidenceSeen},
		{"read", node(listens), tracer.OutcomeLost, []tracer.Hop{arrived, queued, read}, nil, "server-silent", tracer.ConfidenceSeen},
		{"it does not read", node(stuck), tracer.OutcomeLost, []tracer.Hop{arrived, queued}, nil, "server-silent", tracer.ConfidenceConfirmed},
		{"it reads, others wait", node(stuck), tracer.OutcomeLost, []tracer.Hop{arrived, queued, read}, nil, "server-silent", tracer.ConfidenceSeen},
		{"sockets unknown", fakeNode{nsServer: {name: "dns-b", err: errors.New("gone")}}, tracer.OutcomeLost, []tracer.Hop{queued}, nil, "server-silent", tracer.ConfidenceSeen},
		{"over TCP", node(), tracer.OutcomeLost, []tracer.Hop{queued}, []tracer.Leg{handshake}, "server-silent", tracer.ConfidenceSeen},
		{"ended before it had read", node(), tracer.OutcomeDropped, []tracer.Hop{queued, drop("QUEUE_PURGE", "udp_destruct_common")}, nil, "server-silent", tracer.ConfidenceSeen},
		{"the same without reasons", node(), tracer.OutcomeDropped, []tracer.Hop{queued, drop("", "udp_destruct_sock")}, nil, "server-silent", tracer.ConfidenceSeen},
		{"a copy was dropped", node(), tracer.OutcomeDropped, []tracer.Hop{queued, drop("NETFILTER_DROP", "nf_hook_slow")}, nil, Unexplained, ""},
		{"not at its socket", node(listens), tracer.OutcomeLost, []tracer.Hop{arrived}, nil, Unexplained, ""},
		{"not at its socket, which others wait in", withAddr(node(stuck)), tracer.OutcomeLost, []tracer.Hop{door}, nil, "server-silent", tracer.ConfidenceConfirmed},
		{"not at its socket, which is empty", withAddr(node(listens)), tracer.OutcomeLost, []tracer.Hop{door}, nil, Unexplained, ""},
		{"in another namespace", node(stuck), tracer.OutcomeLost, []tracer.Hop{door}, nil, Unexplained, ""},
		{"no room", node(listens), tracer.OutcomeDropped, []tracer.Hop{arrived, full}, nil, "server-buffer-full", ""},
		{"a reply left", node(listens), tracer.OutcomeLost, []tracer.Hop{arrived, queued}, []tracer.Leg{reply}, Unexplained, ""},
		{"answered", node(listens), tracer.OutcomeAnswered, []tracer.Hop{arrived, queued}, []tracer.Leg{reply}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := fakeLookup(tt.outcome, tt.hops...)
			l.Legs = append(l.Legs, tt.more...)
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

// A server is not blamed for what its upstream did not answer, and is if that did.
func TestServerSilentForwards(t *testing.T) {
	for outcome, want := range map[tracer.Outcome]string{
		tracer.OutcomeAnswered: "server-silent", tracer.OutcomeLost: "upstream-timeout", tracer.OutcomeIncomplete: Unexplained,
	} {
		parent := fakeLookup(tracer.OutcomeLost, tracer.Hop{Name: "socket", Layer: "socket", NetNS: nsServer})
		child := fakeChild(parent, outcome)
		New(fakeNode{}).Diagnose(parent, child)
		if got := parent.Findings[0].ID; got != want {
			t.Errorf("upstream %s: %s, want %s", outcome, got, want)
		}
	}
}

// Of several that asked it the same at once nobody knows whose its own lookup was.
func TestServerSilentInCrowd(t *testing.T) {
	for outcome, want := range map[tracer.Outcome]string{tracer.OutcomeAnswered: Unexplained, tracer.OutcomeLost: "upstream-timeout"} {
		parent := fakeLookup(tracer.OutcomeLost, tracer.Hop{Name: "socket", Layer: "socket", NetNS: nsServer})
		child := fakeChild(parent, outcome)
		parent.Links[0].How = tracer.HowInferred
		New(fakeNode{}).Diagnose(parent, child)
		if got := parent.Findings[0]; got.ID != want || want != Unexplained && got.Confidence != tracer.ConfidenceLikely {
			t.Errorf("upstream %s: %s (%s), want %s, likely", outcome, got.ID, got.Confidence, want)
		}
	}
}

// Nor is it blamed while it waits for its upstream, whose second try was answered
// when the client's time was up; nor where nobody can tell who asked.
func TestServerSilentWaits(t *testing.T) {
	const waited = uint64(2e9)
	queued := tracer.Hop{Name: "socket", Layer: "socket", NetNS: nsServer}
	for name, tt := range map[string]struct {
		first tracer.Outcome // of its first try
		ended uint64         // ns, its second one
		want  string
	}{
		"in time":            {tracer.OutcomeLost, waited - 1, "server-silent"},
		"too late":           {tracer.OutcomeLost, waited + 1e9, "upstream-timeout"},
		"nobody knows first": {tracer.OutcomeIncomplete, waited + 1e9, "upstream-timeout"},
	} {
		parent := fakeLookup(tracer.OutcomeLost, queued)
		parent.Waited = waited
		first := fakeChild(parent, tt.first)
		second := fakeChild(parent, tracer.OutcomeAnswered)
		second.Client = netip.AddrPortFrom(second.Client.Addr(), 40001)
		second.End = tt.ended
		parent.Links[1].Ref, second.Links[0].Ref = second.Ref(), parent.Ref()
		New(fakeNode{}).Diagnose(parent, first, second)
		if got := parent.Findings[0].ID; got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}

	asks := fakeLookup(tracer.OutcomeAnswered)
	asks.Client, asks.Server, asks.NetNS, asks.PID = netip.AddrPortFrom(backend.Addr(), 40000), upstream, nsServer, 7
	for _, tt := range []struct {
		netns uint32 // of the client
		pid   int    // of the server
		want  string
	}{{nsClient, 7, "server-silent"}, {nsServer, 7, Unexplained}, {nsServer, 0, Unexplained}, {nsServer, 8, "server-silent"}} {
		d := New(fakeNode{nsServer: {name: "dns-b", sockets: []Socket{{Transport: tracer.TransportUDP, Addr: backend, PID: tt.pid}}}})
		d.Diagnose(asks)
		l := fakeLookup(tracer.OutcomeLost, queued)
		l.NetNS, l.Start, l.End = tt.netns, 10, 10
		d.Diagnose(l)
		if l.Findings[0].ID != tt.want {
			t.Errorf("asked from %d, the server is process %d: %s, want %s", tt.netns, tt.pid, l.Findings[0].ID, tt.want)
		}
	}
}
