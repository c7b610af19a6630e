package diagnose

import (
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
		l.Waited = uint64(5 * time.Second)
		return l
	}
	l := lost(out)
	checkDiagnosis(t, nic, l, id)
	checkFinding(t, l, tracer.ConfidenceLikely, "the query left eth0 of node-a intact; nothing came back in 5s; the node is not to blame", "run dnspath -o json on 192.0.2.2")

	big, queued, broken := out, out, out
	big.Len = 1600
	queued.Queued = true
	broken.Breaks = []tracer.SumBreak{{HeaderSum: tracer.HeaderSum{Header: "udp", Verdict: tracer.SumBad}}}
	for _, h := range []tracer.Hop{big, queued, broken} {
		checkDiagnosis(t, nic, lost(h), Unexplained)
	}
	checkDiagnosis(t, node(Link{Kind: "veth", PeerNetNS: nsNodeB}), lost(out), Unexplained)
	checkDiagnosis(t, node(Link{Kind: "bridge"}), lost(out), Unexplained)
	checkDiagnosis(t, fakeNode{}, lost(out), Unexplained)
	two := lost(out)
	two.Legs = append(two.Legs, tracer.Leg{Attempt: 2, Hops: []tracer.Hop{routed("rx", nsNodeA, "cni0")}})
	checkDiagnosis(t, nic, two, Unexplained)
	came := lost(out)
	came.Legs = append(came.Legs, tracer.Leg{Response: true, Hops: []tracer.Hop{routed("rx", nsNodeA, "eth0")}})
	checkDiagnosis(t, nic, came, Unexplained)
}
