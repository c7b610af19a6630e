package diagnose

import (
	"errors"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestConntrackFull(t *testing.T) {
	full := &fakeNS{name: "node-b", conntrack: &ConntrackStats{Count: 65530, Max: 65536, Stats: map[string]uint64{"drop": 7}}}
	empty := &fakeNS{name: "node-b", conntrack: &ConntrackStats{Count: 12, Max: 65536}}
	known := dropIn(tracer.HookPrerouting, tracer.Drop{By: &tracer.By{Name: "conntrack", How: tracer.HowSeen}})
	forwarded, delivered := dropIn(tracer.HookForward, tracer.Drop{}), dropIn(tracer.HookInput, tracer.Drop{})
	tracked, untracked := dropIn("", tracer.Drop{}), dropIn("", tracer.Drop{})
	tracked.CT = &tracer.Conntrack{Status: 1 << 3}
	untracked.NoTrack = true
	rule := dropIn(tracer.HookPrerouting, tracer.Drop{By: byRule("iptables raw PREROUTING", "-p udp --dport 53 -j DROP")})
	for _, c := range []struct {
		name string
		node *fakeNS
		drop tracer.Hop
		want string
	}{
		{"where it comes in", full, dropIn(tracer.HookPrerouting, tracer.Drop{}), "conntrack-full"},
		{"where it is sent", full, dropIn(tracer.HookOutput, tracer.Drop{}), "conntrack-full"},
		{"hook not seen", full, dropIn("", tracer.Drop{}), "conntrack-full"},
		{"its function seen", full, known, "conntrack-full"},
		{"room enough", empty, known, Unexplained},
		{"unread", &fakeNS{err: errors.New("no permission")}, known, Unexplained},
		{"it has an entry", full, tracked, Unexplained},
		{"it needs none", full, untracked, Unexplained},
		{"farther on", full, delivered, Unexplained},
		{"by a rule before that", full, rule, "policy-drop"},
		{"by a rule after that", full, forwarded, "policy-drop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkDiagnosis(t, fakeNode{nsNodeB: c.node}, fakeLookup(tracer.OutcomeDropped, c.drop), c.want)
		})
	}
}
