package diagnose

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestNodelocalRulesMissing(t *testing.T) {
	cache := netip.MustParseAddrPort("169.254.20.10:53")
	has := []Link{{Name: "nodelocaldns", Addrs: []netip.Prefix{netip.MustParsePrefix("169.254.20.10/32")}}}
	exempt := map[tracer.Transport]*Service{tracer.TransportUDP: {NoTrack: true}}
	input := tracer.Drop{By: byRule("iptables filter INPUT", "policy drop")}
	for _, c := range []struct {
		name       string
		response   bool
		hook       tracer.Hook
		drop       tracer.Drop
		node       fakeNS
		want       string
		confidence tracer.Confidence
		mend       string // the last
	}{
		{
			"rules gone", false, tracer.HookInput, input, fakeNS{links: has}, "nodelocal-rules-missing", tracer.ConfidenceConfirmed,
			"in node-a: iptables -I INPUT -d 169.254.20.10 -p udp --dport 53 -j ACCEPT",
		},
		{"hook not seen", false, "", input, fakeNS{links: has, services: exempt}, "nodelocal-rules-missing", tracer.ConfidenceConfirmed, ""},
		{"state unreadable", false, tracer.HookInput, input, fakeNS{err: errors.New("no permission")}, "nodelocal-rules-missing", tracer.ConfidenceSeen, ""},
		{
			"replies", true, tracer.HookOutput, tracer.Drop{By: byRule("iptables filter OUTPUT → cali-OUTPUT", "-j DROP")}, fakeNS{links: has, services: exempt},
			"nodelocal-rules-missing", tracer.ConfidenceConfirmed, "in node-a: iptables -I OUTPUT -s 169.254.20.10 -p udp --sport 53 -j ACCEPT",
		},
		{
			"nftables", false, tracer.HookInput, tracer.Drop{Function: "nft_do_chain", By: byRule("nftables inet guard in", "policy drop")}, fakeNS{links: has},
			"nodelocal-rules-missing", tracer.ConfidenceConfirmed, "in node-a: nft insert rule inet guard in udp dport 53 accept",
		},
		{"a server of the cloud", false, tracer.HookForward, input, fakeNS{}, "policy-drop", tracer.ConfidenceConfirmed, ""},
		{"the same, hook not seen", false, "", input, fakeNS{}, "policy-drop", tracer.ConfidenceConfirmed, ""},
		{"no rule: conntrack may have done it", false, tracer.HookPrerouting, tracer.Drop{}, fakeNS{links: has}, Unexplained, tracer.ConfidenceSeen, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			drop := dropIn(c.hook, c.drop)
			drop.NetNS, drop.Src, drop.Dst = nsNodeA, client, cache
			if c.response {
				drop.Src, drop.Dst = cache, client
			}
			l := fakeLookup(tracer.OutcomeDropped, drop)
			l.Server, l.Backend, l.Legs[0].Response = cache, netip.AddrPort{}, c.response
			c.node.name = "node-a"
			checkDiagnosis(t, fakeNode{nsNodeA: &c.node}, l, c.want)
			f := &l.Findings[0]
			if f.Confidence != c.confidence || c.mend != "" && f.Mend[len(f.Mend)-1] != c.mend {
				t.Errorf("finding %+v, want %s, mend %q", f, c.confidence, c.mend)
			}
			if calico := strings.HasPrefix(strings.Join(f.Mend, ""), "calicoctl"); calico != (c.response) {
				t.Errorf("mend %q", f.Mend)
			}
		})
	}
	// A server that is no node-local cache.
	l := fakeLookup(tracer.OutcomeDropped, dropIn(tracer.HookInput, input))
	checkDiagnosis(t, fakeNode{nsNodeB: {name: "node-b"}}, l, "policy-drop")
}
