package diagnose

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestServiceNoEndpoints(t *testing.T) {
	toService := func(h tracer.Hop) tracer.Hop {
		h.Src, h.Dst = client, service
		return h
	}
	icmp := toService(tracer.Hop{Name: "icmp", NetNS: nsNodeB, ICMP: &tracer.ICMP{Type: 3, Code: 3}})
	scheduled := toService(tracer.Hop{Name: "ipvs-schedule", Layer: "ipvs", Probe: tracer.ProbeIPVSSchedule, NetNS: nsNodeB, Verdict: tracer.VerdictFailed})
	kubeProxy := byRule("iptables filter FORWARD → KUBE-SERVICES", `-d 10.96.0.10/32 -p udp -m comment --comment "kube-system/kube-dns:dns has no endpoints" -m udp --dport 53 -j REJECT`)
	nft := byRule("nftables ip kube-proxy filter-forward → service-endpoints-check → reject-chain handle 19", "reject")
	own := byRule("iptables filter FORWARD", "-p udp --dport 53 -j REJECT")
	serves := func(s *Service) *fakeNS {
		return &fakeNS{name: "node-b", services: map[tracer.Transport]*Service{tracer.TransportUDP: s}}
	}
	empty := serves(&Service{By: "IPVS", Known: true})
	for _, c := range []struct {
		name string
		node *fakeNS
		hops []tracer.Hop
		want string
	}{
		{"kube-proxy's rule", serves(nil), []tracer.Hop{icmp, toService(dropIn(tracer.HookForward, tracer.Drop{By: kubeProxy}))}, "service-no-endpoints"},
		{"its rule of nftables", serves(nil), []tracer.Hop{toService(dropIn("", tracer.Drop{By: nft, Function: "nft_do_chain"}))}, "service-no-endpoints"},
		{"IPVS, by a function", serves(nil), []tracer.Hop{scheduled, toService(dropIn(tracer.HookInput, tracer.Drop{}))}, "service-no-endpoints"},
		{"IPVS, by its table", empty, []tracer.Hop{icmp, toService(dropIn("", tracer.Drop{}))}, "service-no-endpoints"},
		{"IPVS says nothing", empty, []tracer.Hop{toService(dropIn("", tracer.Drop{}))}, Unexplained},
		{"IPVS has one", serves(&Service{By: "IPVS", Known: true, Endpoints: []netip.AddrPort{backend}}), []tracer.Hop{icmp, toService(dropIn("", tracer.Drop{}))}, Unexplained},
		{"its table unread", &fakeNS{err: errors.New("no")}, []tracer.Hop{icmp, toService(dropIn("", tracer.Drop{}))}, Unexplained},
		{"a firewall's rule", serves(nil), []tracer.Hop{icmp, toService(dropIn(tracer.HookForward, tracer.Drop{By: own}))}, "policy-reject"},
		{"for the endpoint", empty, []tracer.Hop{dropIn(tracer.HookForward, tracer.Drop{By: own})}, "policy-reject"},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkDiagnosis(t, fakeNode{nsNodeB: c.node}, fakeLookup(tracer.OutcomeRejected, c.hops...), c.want)
		})
	}
}
