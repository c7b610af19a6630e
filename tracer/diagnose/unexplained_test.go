package diagnose

import (
	"errors"
	"slices"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

// What rules could not read is told of a lookup that none of them explains, once.
func TestUnexplainedTellsGaps(t *testing.T) {
	node := fakeNode{
		nsClient: {name: "client", err: errors.New("permission denied")},
		nsNodeA:  {name: "node-a", err: errors.New("permission denied")},
	}
	l := fakeLookup(tracer.OutcomeLost,
		tracer.Hop{Name: "tx", NetNS: nsClient, Dev: "eth0", Src: client, Dst: service},
		tracer.Hop{Name: "rx", NetNS: nsNodeA, Dev: "veth1", Src: client, Dst: service})
	l.Backend = service
	checkDiagnosis(t, node, l, Unexplained)
	evidence := l.Findings[0].Evidence
	if !slices.Contains(evidence, "not read: services of node-a: permission denied") {
		t.Errorf("evidence is %q", evidence)
	}
	slices.Sort(evidence)
	if n := len(evidence); len(slices.Compact(evidence)) != n {
		t.Errorf("told twice: %q", evidence)
	}
}
