package diagnose

import (
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestConntrackInvalid(t *testing.T) {
	node := fakeNode{nsNodeB: {name: "node-b"}}
	rule := byRule("iptables filter FORWARD → KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP")
	bad := dropIn(tracer.HookForward, tracer.Drop{By: rule})
	bad.Sums = []tracer.HeaderSum{{Header: "udp", Verdict: tracer.SumBad, Field: 1, Want: 2}}
	tracked := dropIn(tracer.HookForward, tracer.Drop{By: rule})
	tracked.CT = &tracer.Conntrack{}
	for name, c := range map[string]struct {
		drop tracer.Hop
		want string
	}{
		"a wrong checksum": {bad, "conntrack-invalid"},
		"another way":      {dropIn(tracer.HookForward, tracer.Drop{By: rule}), "conntrack-invalid"},
		"of nftables":      {dropIn("", tracer.Drop{Function: "nft_do_chain", By: byRule("nftables inet fw in handle 2", "ct state invalid drop")}), "conntrack-invalid"},
		"another rule":     {dropIn(tracer.HookForward, tracer.Drop{By: byRule("iptables filter FORWARD", "-p udp -j DROP")}), "policy-drop"},
		"it has an entry":  {tracked, Unexplained},
	} {
		t.Run(name, func(t *testing.T) { checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, c.drop), c.want) })
	}
}
