package diagnose

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

func TestLostBeyondNode(t *testing.T) {
	const id = "lost-beyond-node"
	node := func(l Link) fakeNode {
		l.Name, l.MTU = "eth0", 1500
		return fakeNode{nsNodeA: {name: "node-a", host: true, links: []Link{l}}}
	}
	nic := node(Link{Up: true})
	out := inside(routed("tx", nsNodeA, "eth0"))
	out.Len = 110
	lost := func(h tracer.Hop) *tracer.Lookup {
		l := fakeLookup(tracer.OutcomeLost, routed("rx", nsNodeA, "cni0"), h)
		l.Legs[0].Hops[1].Time = uint64(114 * time.Millisecond)
		l.Waited = uint64(5 * time.Second)
		return l
	}
	l := lost(out)
	checkDiagnosis(t, nic, l, id)
	checkFinding(t, l, tracer.ConfidenceLikely, "the query left eth0 of node-a intact at 10:00:00.114; nothing came back in 5s; the node is not to blame", "on 192.0.2.2, the tunnel's other end: dnspath --client 10.244.1.10")

	big, queued, broken := out, out, out
	big.Len = 1600
	queued.Queued = true
	broken.Breaks = []tracer.SumBreak{{HeaderSum: tracer.HeaderSum{Header: "udp", Verdict: tracer.SumBad}}}
	for _, h := range []tracer.Hop{big, queued, broken} {
		checkDiagnosis(t, nic, lost(h), Unexplained)
	}
	checkDiagnosis(t, node(Link{Kind: "veth", PeerNetNS: nsNodeB}), lost(out), Unexplained)
	checkDiagnosis(t, node(Link{Kind: "bridge"}), lost(out), Unexplained)
	checkDiagnosis(t, node(Link{Up: true, XDP: true}), lost(out), Unexplained) // it may have dropped what came back
	checkDiagnosis(t, node(Link{}), lost(out), Unexplained)
	checkDiagnosis(t, fakeNode{}, lost(out), Unexplained)
	frame := node(Link{Up: true, MAC: "02:00:00:00:00:01"})
	for size, want := range map[uint32]string{1514: id, 1515: Unexplained} { // with the frame's header
		full := out
		full.Len = size
		checkDiagnosis(t, frame, lost(full), want)
	}
	two := lost(out)
	two.Legs = append(two.Legs, tracer.Leg{Attempt: 2, Hops: []tracer.Hop{routed("rx", nsNodeA, "cni0")}})
	checkDiagnosis(t, nic, two, Unexplained)
	came := lost(out)
	came.Legs = append(came.Legs, tracer.Leg{Response: true, Hops: []tracer.Hop{routed("rx", nsNodeA, "eth0")}})
	checkDiagnosis(t, nic, came, Unexplained)
}

// Over TCP the last segment that left and did not come is what was lost: the
// handshake came to where it should.
func TestSegmentLostBeyondNode(t *testing.T) {
	left, back := inside(routed("tx", nsNodeA, "eth0")), routed("rx", nsNodeA, "eth0")
	l := fakeLookup(tracer.OutcomeLost, routed("tx", nsClient, "eth0"), left)
	l.Transport, l.Legs[0].Segment, l.Waited = tracer.TransportTCP, "SYN", uint64(5*time.Second)
	home := routed("rx", nsClient, "eth0")
	back.Time, home.Time = 10, 11
	query := slices.Clone(l.Legs[0].Hops)
	query[0].Time, query[1].Time = 20, 21
	l.Legs = append(l.Legs, tracer.Leg{Response: true, Segment: "SYN-ACK", Hops: []tracer.Hop{back, home}}, tracer.Leg{Segment: "data", Hops: query})
	node := fakeNode{nsNodeA: {name: "node-a", links: []Link{{Name: "eth0", MTU: 1500, Up: true}}}}
	checkDiagnosis(t, node, l, "lost-beyond-node")
	checkFinding(t, l, tracer.ConfidenceLikely, "the query left eth0 of node-a intact", "")
	l.Legs[1].Hops = l.Legs[1].Hops[:1] // the SYN-ACK is lost in node-a
	checkDiagnosis(t, node, l, Unexplained)
}

// A reply that left the server's node, and did not come to the client's.
func TestReplyLostBeyondNode(t *testing.T) {
	const id = "lost-beyond-node"
	nic := func(name string) *fakeNS {
		return &fakeNS{name: name, host: true, links: []Link{{Name: "eth0", MTU: 1500, Up: true}, {Name: "eth1", MTU: 1500, Up: true}}}
	}
	back := func(t *tracer.Tunnel) *tracer.Tunnel {
		return &tracer.Tunnel{Kind: t.Kind, VNI: t.VNI, Src: netip.AddrPortFrom(t.Dst.Addr(), 40000), Dst: netip.AddrPortFrom(t.Src.Addr(), t.Dst.Port())}
	}
	for _, tt := range []struct {
		name    string
		change  func(fakeNode, *tracer.Lookup, *tracer.Hop) // the hop is the reply's last
		want    string
		summary string
	}{
		{"watched", nil, id, "the reply left eth0 of node-b intact at 10:00:00.001; it did not come to node-a in the 4.999s after that; neither node is to blame"},
		{"the client's pod alone is watched", func(_ fakeNode, l *tracer.Lookup, _ *tracer.Hop) {
			l.Legs[0].Hops = slices.Delete(l.Legs[0].Hops, 1, 2)
		}, id, "it did not come to its client 10.244.1.10:41522 in the 4.999s after that; node-b is not to blame"},
		{"the client's node is watched, its device not known", func(n fakeNode, _ *tracer.Lookup, _ *tracer.Hop) { delete(n, nsNodeA) }, Unexplained, ""},
		{"two queries, of which one did not come", func(_ fakeNode, l *tracer.Lookup, _ *tracer.Hop) {
			l.Legs = append(l.Legs, tracer.Leg{Attempt: 2, Hops: slices.Clone(l.Legs[0].Hops[:2])})
		}, id, "the reply left eth0 of node-b"},
		{"dropped on its way", func(_ fakeNode, l *tracer.Lookup, _ *tracer.Hop) {
			l.Legs = append(l.Legs, tracer.Leg{Attempt: 2, Hops: []tracer.Hop{dropped(nsNodeA, "eth0", "NOT_SPECIFIED", "x")}})
		}, Unexplained, ""},
		{"too late", func(_ fakeNode, l *tracer.Lookup, h *tracer.Hop) { h.Time = l.Waited }, Unexplained, ""},
		{"by another device", func(_ fakeNode, _ *tracer.Lookup, h *tracer.Hop) { h.Dev = "eth1" }, Unexplained, ""},
		{"outside the tunnel", func(_ fakeNode, _ *tracer.Lookup, h *tracer.Hop) { h.Tunnel = nil }, Unexplained, ""},
		{"to another node", func(_ fakeNode, _ *tracer.Lookup, h *tracer.Hop) {
			h.Tunnel.Dst = netip.MustParseAddrPort("192.0.2.3:4789")
		}, Unexplained, ""},
		{"from another source", func(_ fakeNode, _ *tracer.Lookup, h *tracer.Hop) { h.Src = service }, Unexplained, ""},
		{"a program may have dropped it", func(n fakeNode, _ *tracer.Lookup, _ *tracer.Hop) { n[nsNodeA].links[0].XDP = true }, Unexplained, ""},
		{"the other end is a namespace here", func(n fakeNode, _ *tracer.Lookup, _ *tracer.Hop) {
			n[nsNodeB].links[0].Kind, n[nsNodeB].links[0].PeerNetNS = "veth", nsNodeA
		}, Unexplained, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := inside(routed("tx", nsNodeA, "eth0"))
			came := inside(routed("rx", nsNodeB, "eth0"))
			l := fakeLookup(tracer.OutcomeLost, routed("tx", nsClient, "eth0"), out, came, routed("rx", nsServer, "eth0"))
			left := routed("tx", nsNodeB, "eth0")
			left.Time, left.Src, left.Dst, left.Tunnel = uint64(time.Millisecond), backend, client, back(came.Tunnel)
			l.Legs = append(l.Legs, tracer.Leg{Response: true, Attempt: 1, Hops: []tracer.Hop{{Name: "tx", Time: 9, NetNS: nsServer}, left}})
			l.Waited = uint64(5 * time.Second)
			node := fakeNode{nsNodeA: nic("node-a"), nsNodeB: nic("node-b"), nsClient: {name: "client", links: []Link{{Name: "eth0", Kind: "veth", PeerNetNS: 99}}}}
			if tt.change != nil {
				tt.change(node, l, &l.Legs[1].Hops[1])
			}
			checkDiagnosis(t, node, l, tt.want)
			if tt.want == id {
				checkFinding(t, l, tracer.ConfidenceLikely, tt.summary, "let UDP port 4789 (vxlan) from 192.0.2.2 to 192.0.2.1 through")
			}
		})
	}
}
