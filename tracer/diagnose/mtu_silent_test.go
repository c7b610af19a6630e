package diagnose

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// sized is a lookup whose reply leaves node-b for node-a in a packet of so many
// bytes, and comes there, or does not.
func sized(i int, size uint32, came bool) *tracer.Lookup {
	out := inside(routed("tx", nsNodeA, "eth0"))
	in := inside(routed("rx", nsNodeB, "eth0"))
	l := fakeLookup(tracer.OutcomeLost, routed("tx", nsClient, "eth0"), out, in, routed("rx", nsServer, "eth0"))
	left := routed("tx", nsNodeB, "eth0")
	left.Time, left.Len, left.Src, left.Dst = 20, size, backend, client
	left.Tunnel = &tracer.Tunnel{Kind: "vxlan", VNI: in.Tunnel.VNI, Src: netip.AddrPortFrom(in.Tunnel.Dst.Addr(), 40000), Dst: netip.AddrPortFrom(in.Tunnel.Src.Addr(), 4789)}
	reply := tracer.Leg{Response: true, Attempt: 1, Hops: []tracer.Hop{{Name: "tx", Layer: "device", Time: 10, NetNS: nsServer, Dev: "eth0", Src: backend, Dst: client, Len: size - 50}, left}}
	if came {
		l.Outcome = tracer.OutcomeAnswered
		back := routed("rx", nsNodeA, "eth0")
		back.Time, back.Len, back.Tunnel = 30, size, left.Tunnel
		reply.Hops = append(reply.Hops, back)
	}
	l.Legs = append(l.Legs, reply)
	l.Start, l.End, l.Waited = uint64(i)*uint64(time.Second), uint64(i)*uint64(time.Second)+30, uint64(5*time.Second)
	l.Question = &tracer.Message{Name: fmt.Sprintf("n%d.example.test.", i), Type: 16}
	return l
}

func TestSilentlyTooBig(t *testing.T) {
	const big, small = 1479, 1179
	nic := func(name string) *fakeNS {
		return &fakeNS{name: name, host: true, links: []Link{{Name: "eth0", MTU: 1500, Up: true}}}
	}
	type reply struct {
		size uint32
		came bool
	}
	lost, came := reply{big, false}, reply{small, true}
	for _, tt := range []struct {
		name    string
		replies []reply
		change  func(*tracer.Lookup) // the last
		want    string
	}{
		{"three and three", []reply{came, lost, came, came, lost, lost}, nil, "mtu-too-big"},
		{"two were lost", []reply{came, lost, came, came, lost}, nil, "lost-beyond-node"},
		{"two came", []reply{came, lost, came, lost, lost}, nil, "lost-beyond-node"},
		{"the way was gone from some time on", []reply{came, came, came, lost, lost, lost}, nil, "lost-beyond-node"},
		{"a big one came", []reply{came, lost, came, {big, true}, came, lost, lost}, nil, "lost-beyond-node"},
		{"a small one was lost", []reply{came, lost, {small, false}, came, came, lost, lost}, nil, "lost-beyond-node"},
		{"so small that it must pass", []reply{{200, true}, {576, false}, {200, true}, {200, true}, {576, false}, {576, false}}, nil, "lost-beyond-node"},
		{"for another peer", []reply{came, lost, came, came, lost, lost}, func(l *tracer.Lookup) {
			other := netip.MustParseAddrPort("192.0.2.9:4789")
			l.Legs[0].Hops[2].Tunnel = &tracer.Tunnel{Kind: "vxlan", VNI: 4096, Src: other, Dst: netip.MustParseAddrPort("192.0.2.2:4789")}
			l.Legs[1].Hops[1].Tunnel.Dst = other
		}, "lost-beyond-node"},
		{"long ago", []reply{came, lost, came, came, lost, lost}, func(l *tracer.Lookup) { l.End += 2 * backendMemory }, "lost-beyond-node"},
		{"dropped here", []reply{came, lost, came, came, lost, lost}, func(l *tracer.Lookup) {
			l.Outcome = tracer.OutcomeDropped
			l.Legs[1].Hops = append(l.Legs[1].Hops, dropped(nsNodeA, "eth0", "NOT_SPECIFIED", "x"))
		}, Unexplained},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := New(fakeNode{nsNodeA: nic("node-a"), nsNodeB: nic("node-b"), nsClient: {name: "client", links: []Link{{Name: "eth0", Kind: "veth", PeerNetNS: 99}}}})
			var l *tracer.Lookup
			for i, r := range tt.replies {
				l = sized(i, r.size, r.came)
				if i == len(tt.replies)-1 && tt.change != nil {
					tt.change(l)
				}
				d.Diagnose(l)
			}
			if got := idsOf(l); got != tt.want {
				t.Errorf("finding %q, want %q: %+v", got, tt.want, l.Findings)
			}
			if tt.want == "mtu-too-big" {
				checkFinding(t, l, tracer.ConfidenceLikely, "replies in packets of up to 1179 bytes arrive, of 1479 and more they do not", "ping -c 1 -M do -s 1451 192.0.2.1")
			}
		})
	}
}
