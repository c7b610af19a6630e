package diagnose

import (
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestBacklogFull(t *testing.T) {
	node := fakeNode{nsNodeB: {name: "node-b"}}
	drop := dropped(nsNodeB, "eth0", "CPU_BACKLOG", "enqueue_to_backlog")
	l := fakeLookup(tracer.OutcomeDropped, drop)
	checkDiagnosis(t, node, l, "backlog-full")
	checkFinding(t, l, tracer.ConfidenceSeen, "the query was dropped in node-b", "netdev_max_backlog")
	// The same function frees what comes by a device that is down, and kernels before 5.17 do not say which it is.
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, dropped(nsNodeB, "eth0", "DEV_READY", "enqueue_to_backlog")), Unexplained)
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, dropped(nsNodeB, "eth0", "", "enqueue_to_backlog")), Unexplained)
	for _, why := range []string{"", "NOT_SPECIFIED"} {
		old := dropped(nsNodeB, "eth0", why, "enqueue_to_backlog")
		for up, id := range map[bool]string{true: "backlog-full", false: Unexplained} {
			node := fakeNode{nsNodeB: {name: "node-b", links: []Link{{Name: "eth0", Up: up}}}}
			checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, old), id)
		}
	}
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeAnswered, drop))
}
