package diagnose

import (
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestFragmentLost(t *testing.T) {
	node := fakeNode{nsClient: {name: "client"}, nsNodeA: {name: "node-a"}}
	// reply is a reply of three fragments, of which some come to the client.
	reply := func(outcome tracer.Outcome, name string, come ...int) *tracer.Lookup {
		l := fakeLookup(outcome, tracer.Hop{Name: "tx", NetNS: nsClient})
		for i := range 3 {
			leg := tracer.Leg{Response: true, Attempt: 1}
			if i > 0 {
				leg.Fragment = &tracer.Fragment{Offset: uint16(1424 * i), Last: i == 2}
			}
			hop := tracer.Hop{Name: "tx", Dev: "eth0", NetNS: nsNodeA, Src: service, Dst: client, Len: 1444, Time: uint64(10 + i)}
			leg.Hops = append(leg.Hops, hop)
			for _, c := range come {
				if c == i {
					hop.Name, hop.NetNS, hop.Time = name, nsClient, hop.Time+10
					leg.Hops = append(leg.Hops, hop)
				}
			}
			l.Legs = append(l.Legs, leg)
		}
		return l
	}
	for _, tt := range []struct {
		name string
		l    *tracer.Lookup
		want string
	}{
		{"one in the middle", reply(tracer.OutcomeLost, "rx", 0, 2), "fragment-lost"},
		{"the last", reply(tracer.OutcomeLost, "rx", 0, 1), "fragment-lost"},
		{"the first", reply(tracer.OutcomeLost, "rx", 1, 2), "fragment-lost"},
		{"all came", reply(tracer.OutcomeLost, "rx", 0, 1, 2), Unexplained},
		{"none came", reply(tracer.OutcomeLost, "rx"), Unexplained},
		{"they went on", reply(tracer.OutcomeLost, "tx", 0, 2), Unexplained},
		{"the drop was seen", reply(tracer.OutcomeDropped, "rx", 0, 2), Unexplained},
	} {
		t.Run(tt.name, func(t *testing.T) { checkDiagnosis(t, node, tt.l, tt.want) })
	}
}
