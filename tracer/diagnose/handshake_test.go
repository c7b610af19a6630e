package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// A server's connection that fails before it carries a question, and the lookups
// that wait for the server, are told of each other; neither is the other's cause.
func TestConnectionOfServer(t *testing.T) {
	const pid = 77
	cache := netip.MustParseAddrPort("169.254.20.10:53")
	silent := func(at time.Duration) *tracer.Lookup {
		read := tracer.Hop{Name: "read", NetNS: nsNodeA, Src: client, Dst: cache}
		l := fakeLookup(tracer.OutcomeLost, routed("rx", nsNodeA, "cni0"), read)
		l.Server, l.Backend, l.Waited, l.Start = cache, netip.AddrPort{}, uint64(5*time.Second), uint64(at)
		l.End = l.Start + 9
		return l
	}
	connect := func(at time.Duration, pid, netns uint32) *tracer.Lookup {
		l := fakeLookup(tracer.OutcomeLost, routed("tx", netns, "eth0"))
		l.Transport, l.Question, l.PID, l.NetNS, l.Start = tracer.TransportTCP, &tracer.Message{}, pid, netns, uint64(at)
		l.End = l.Start + 9
		l.Client = netip.MustParseAddrPort("192.0.2.1:40110")
		l.Legs[0].Segment = "SYN"
		return l
	}
	node := fakeNode{nsNodeA: {name: "node-a", sockets: []Socket{
		{Transport: tracer.TransportUDP, Addr: cache, PID: pid, Process: "coredns"},
		{Transport: tracer.TransportUDP, Addr: netip.MustParseAddrPort("127.0.0.53:53"), PID: 5, Process: "other"},
	}}}
	const server, owes = "is itself a DNS server: coredns[77]", "at that time it had the query of 10.244.1.10:41522 for a.example.test."
	for _, tt := range []struct {
		name      string
		at        time.Duration
		pid, ns   uint32
		has, lack string
	}{
		{"while the query waits", time.Second, pid, nsNodeA, owes, ""},
		{"after that", 6 * time.Second, pid, nsNodeA, server, owes},
		{"of another server", time.Second, 5, nsNodeA, "other[5]", owes},
		{"of no server", time.Second, 6, nsNodeA, "", "DNS server"},
		{"of a process that is not known", time.Second, 0, nsNodeA, "", "DNS server"},
		{"elsewhere", time.Second, pid, nsNodeB, "", "DNS server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, l := New(node), connect(tt.at, tt.pid, tt.ns)
			d.Diagnose(silent(0))
			d.Diagnose(l)
			evidence := strings.Join(l.Findings[0].Evidence, "\n")
			if idsOf(l) != Unexplained || !strings.Contains(evidence, tt.has) || tt.lack != "" && strings.Contains(evidence, tt.lack) {
				t.Errorf("%s, evidence is %q; want %q, not %q", idsOf(l), evidence, tt.has, tt.lack)
			}
			d.Diagnose(silent(2 * time.Second))
			next := silent(tt.at + 3*time.Second)
			d.Diagnose(next)
			told := strings.Contains(strings.Join(next.Findings[0].Evidence, "\n"), "of its own connections 1 failed in the last minute, to 10.96.0.10:53")
			if own := tt.pid == pid && tt.ns == nsNodeA; idsOf(next) != "server-silent" || told != own {
				t.Errorf("%s, of its connections told: %v, want %v", idsOf(next), told, own)
			}
		})
	}
}
