package diagnose

import (
	"errors"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

// summed gives a hop its packet's own checksum of UDP, which is wrong since this hop
// if broke is set.
func summed(h tracer.Hop, verdict tracer.SumVerdict, broke *tracer.SumBreak) tracer.Hop {
	sum := tracer.HeaderSum{Header: "udp", Verdict: verdict, Field: 1, Want: 2}
	h.Sums = []tracer.HeaderSum{sum}
	if broke != nil {
		b := *broke
		b.HeaderSum = sum
		h.Breaks = []tracer.SumBreak{b}
	}
	return h
}

// refusedBy is netfilter's drop of a packet, by a rule.
func refusedBy(ns uint32, by *tracer.By) tracer.Hop {
	h := dropped(ns, "cni0", "NETFILTER_DROP", "nf_hook_slow")
	h.Drop.Hook, h.Drop.By = tracer.HookForward, by
	return h
}

func TestChecksumBad(t *testing.T) {
	const id = "checksum-bad"
	rule := func(text string) *tracer.By { return &tracer.By{Name: "iptables filter FORWARD", Rule: text} }
	raw := &tracer.SumBreak{}
	sent := summed(routed("tx", nsClient, "eth0"), tracer.SumBad, raw)
	came := summed(routed("rx", nsNodeA, "cni0"), tracer.SumBad, nil)
	good := summed(routed("rx", nsNodeA, "cni0"), tracer.SumOK, nil)
	died := dropped(nsServer, "eth0", "UDP_CSUM", "__udp4_lib_rcv")
	rewrote := summed(routed("tx", nsNodeA, "eth0"), tracer.SumBad, &tracer.SumBreak{Was: tracer.SumOK, WasAt: &good, From: service, To: backend})
	overwrote := summed(routed("tx", nsNodeA, "eth0"), tracer.SumBad, &tracer.SumBreak{Was: tracer.SumOK, WasAt: &good})
	between := summed(routed("rx", nsNodeB, "eth0"), tracer.SumBad, &tracer.SumBreak{Was: tracer.SumPartial, WasAt: &good})
	mended := summed(routed("tx", nsNodeA, "eth0"), tracer.SumOK, nil)
	old := died
	old.Drop = &tracer.Drop{Function: "__udp4_lib_rcv", Inferred: "UDP_CSUM"}
	tunnelled := overwrote
	tunnelled.Tunnel = &tracer.Tunnel{Kind: "vxlan"}
	tracked := refusedBy(nsNodeA, rule("-j DROP"))
	tracked.CT = &tracer.Conntrack{}
	svc := &Service{By: "iptables"}
	svc.Endpoints = append(svc.Endpoints, backend)
	node := func(s *Service) fakeNode {
		return fakeNode{
			nsClient: {name: "client"},
			nsNodeA:  {name: "node-a", host: true, services: map[tracer.Transport]*Service{tracer.TransportUDP: s}},
		}
	}
	bare := []tracer.Hop{toService(sent), toService(came), toService(routed("tx", nsNodeA, "eth0"))}
	for _, c := range []struct {
		name       string
		hops       []tracer.Hop
		outcome    tracer.Outcome
		service    *Service
		want       string // the finding; empty: none
		confidence tracer.Confidence
		summary    string
		mend       string
	}{
		{"sent so", []tracer.Hop{sent, came, died}, tracer.OutcomeDropped, nil, id, tracer.ConfidenceSeen, "client sent the query with a wrong UDP checksum", "raw sockets"},
		{"without a reason", []tracer.Hop{sent, came, old}, tracer.OutcomeDropped, nil, id, tracer.ConfidenceSeen, "client sent the query", ""},
		{"where it is looked at", []tracer.Hop{sent, came, dropped(nsServer, "eth0", "NOT_SPECIFIED", "udp_recvmsg")}, tracer.OutcomeDropped, nil, id, tracer.ConfidenceSeen, "client sent the query", ""},
		{"rewritten", []tracer.Hop{good, rewrote, died}, tracer.OutcomeDropped, nil, id, tracer.ConfidenceSeen, "something in node-a rewrote 10.96.0.10:53 → 10.244.2.53:53", "bpftool net show dev eth0"},
		{"written over", []tracer.Hop{good, overwrote, died}, tracer.OutcomeDropped, nil, id, tracer.ConfidenceSeen, "something in node-a wrote over the query", "nft -a list ruleset"},
		{"between", []tracer.Hop{good, between, died}, tracer.OutcomeDropped, nil, id, tracer.ConfidenceSeen, "became wrong between node-a and ", "ethtool -K cni0 tx off"},
		{"came so", []tracer.Hop{summed(came, tracer.SumBad, raw), died}, tracer.OutcomeDropped, nil, id, tracer.ConfidenceSeen, "the query came to node-a with a wrong UDP checksum", "on the node of 10.244.1.10"},
		{"the drop alone", []tracer.Hop{died}, tracer.OutcomeDropped, nil, id, tracer.ConfidenceSeen, "the UDP checksum of the query is wrong", ""},
		{"invalid", []tracer.Hop{sent, came, refusedBy(nsNodeA, rule("-m conntrack --ctstate INVALID -j DROP"))}, tracer.OutcomeDropped, nil, "conntrack-invalid", tracer.ConfidenceConfirmed, "checksum is wrong", ""},
		{"a rule that is not known", []tracer.Hop{sent, came, refusedBy(nsNodeA, nil)}, tracer.OutcomeDropped, nil, id, tracer.ConfidenceLikely, "client sent", ""},
		{"past NAT", bare, tracer.OutcomeLost, svc, id, tracer.ConfidenceConfirmed, "client sent", ""},
		{"lost", []tracer.Hop{sent, came, routed("tx", nsNodeA, "eth0")}, tracer.OutcomeLost, nil, id, tracer.ConfidenceLikely, "client sent", ""},

		{"dropped by another rule", []tracer.Hop{sent, came, refusedBy(nsNodeA, rule("-p udp -j DROP"))}, tracer.OutcomeDropped, nil, "policy-drop", tracer.ConfidenceConfirmed, "", ""},
		{"dropped though conntrack knew it", []tracer.Hop{sent, came, tracked}, tracer.OutcomeDropped, nil, "policy-drop", tracer.ConfidenceConfirmed, "", ""},
		{"a good one dropped as invalid", []tracer.Hop{good, refusedBy(nsNodeA, rule("--ctstate INVALID -j DROP"))}, tracer.OutcomeDropped, nil, "conntrack-invalid", tracer.ConfidenceConfirmed, "", ""},
		{"in the tunnel", []tracer.Hop{good, tunnelled, died}, tracer.OutcomeDropped, nil, "tunnel-checksum", tracer.ConfidenceSeen, "", ""},
		{"mended, and lost", []tracer.Hop{sent, came, mended}, tracer.OutcomeLost, nil, Unexplained, tracer.ConfidenceSeen, "", ""},
		{"a good one, where it is looked at", []tracer.Hop{good, dropped(nsServer, "eth0", "", "__udp4_lib_rcv")}, tracer.OutcomeDropped, nil, Unexplained, tracer.ConfidenceSeen, "", ""},
		{"died of something else", []tracer.Hop{sent, came, dropped(nsServer, "eth0", "NO_PROTO", "x")}, tracer.OutcomeDropped, nil, Unexplained, tracer.ConfidenceSeen, "", ""},
		{"delivered", []tracer.Hop{sent, came, routed("socket", nsServer, "")}, tracer.OutcomeLost, nil, "server-silent", tracer.ConfidenceSeen, "", ""},
		{"answered", []tracer.Hop{sent, came}, tracer.OutcomeAnswered, nil, "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := fakeLookup(c.outcome, c.hops...)
			if c.want == "" {
				checkDiagnosis(t, node(c.service), l)
				return
			}
			if c.service != nil {
				l.Backend = service
			}
			checkDiagnosis(t, node(c.service), l, c.want)
			checkFinding(t, l, c.confidence, c.summary, c.mend)
		})
	}
	// Configuration that can't be read takes no finding away where the packet itself proves it.
	gone := fakeNode{nsServer: {name: "dns-b", err: errors.New("no")}}
	checkDiagnosis(t, gone, fakeLookup(tracer.OutcomeDropped, sent, came, died), id)
}
