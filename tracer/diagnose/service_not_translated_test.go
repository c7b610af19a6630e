package diagnose

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestServiceNotTranslated(t *testing.T) {
	toService := func(h tracer.Hop) tracer.Hop {
		h.Src, h.Dst = client, service
		return h
	}
	sent := toService(tracer.Hop{Name: "tx", Layer: "device", NetNS: nsClient, Dev: "eth0"})
	came := toService(tracer.Hop{Name: "rx", Layer: "device", NetNS: nsNodeA, Dev: "cni0"})
	left := toService(tracer.Hop{Name: "tx", Layer: "device", NetNS: nsNodeA, Dev: "eth0"})
	untracked := came
	untracked.NoTrack = true
	noSocket := toService(tracer.Hop{Name: "drop", NetNS: nsNodeA, Drop: &tracer.Drop{Reason: "NO_SOCKET", Function: "__udp4_lib_rcv"}})
	firewall := toService(dropIn(tracer.HookPrerouting, tracer.Drop{By: byRule("iptables raw PREROUTING", "-p udp --dport 53 -j DROP")}))
	firewall.NetNS = nsNodeA
	translated := tracer.Hop{
		Name: "nat", NetNS: nsNodeA, Src: client, Dst: backend, Change: &tracer.Change{Kind: tracer.ChangeDNAT, From: service, To: backend},
	}
	iptables := &Service{By: "iptables", Known: true, Endpoints: []netip.AddrPort{backend}}
	exempt := *iptables
	exempt.NoTrack = true
	serves := func(udp, tcp *Service) fakeNode {
		return fakeNode{nsClient: {name: "client"}, nsNodeA: {name: "node-a", services: map[tracer.Transport]*Service{
			tracer.TransportUDP: udp, tracer.TransportTCP: tcp,
		}}}
	}
	local := serves(&exempt, iptables)
	local[nsNodeA].route = func(RouteQuery) *Route { return &Route{Local: true} }
	balanced := serves(nil, nil)
	balanced[nsNodeA].links = []Link{{Name: ipvsDev, Addrs: []netip.Prefix{netip.PrefixFrom(service.Addr(), 32)}}}
	guarded := serves(&Service{By: "iptables", Rejects: true}, &Service{By: "iptables", Rejects: true})
	guarded[nsNodeA].links = balanced[nsNodeA].links
	named := serves(nil, nil)
	named[nsClient].resolver = &Resolver{Nameservers: []netip.Addr{service.Addr()}, Search: []string{"default.svc.cluster.local"}}
	unread := fakeNode{nsClient: {name: "client"}, nsNodeA: {name: "node-a", err: errors.New("no permission")}}
	const finding = "service-not-translated"
	for _, c := range []struct {
		name       string
		node       fakeNode
		hops       []tracer.Hop
		want       string
		confidence tracer.Confidence
	}{
		{"the other transport is", serves(nil, iptables), []tracer.Hop{sent, came, left}, finding, tracer.ConfidenceConfirmed},
		{"not seen beyond", serves(nil, iptables), []tracer.Hop{sent, came}, finding, tracer.ConfidenceLikely},
		{"exempt", serves(&exempt, iptables), []tracer.Hop{sent, untracked}, finding, tracer.ConfidenceConfirmed},
		{"exempt by its rules alone", serves(&exempt, iptables), []tracer.Hop{sent, came}, finding, tracer.ConfidenceLikely},
		{"IPVS lacks it", balanced, []tracer.Hop{sent, came, noSocket}, finding, tracer.ConfidenceConfirmed},
		{"IPVS lacks it, and a rule rejects other ports", guarded, []tracer.Hop{sent, came, noSocket}, finding, tracer.ConfidenceConfirmed},
		{"resolv.conf names it", named, []tracer.Hop{sent, came, left}, finding, tracer.ConfidenceConfirmed},
		{"a node-local cache has its address", local, []tracer.Hop{sent, untracked}, Unexplained, tracer.ConfidenceSeen},
		{"no service, for all we know", serves(nil, nil), []tracer.Hop{sent, came, left}, Unexplained, tracer.ConfidenceSeen},
		{"there are rules", serves(iptables, iptables), []tracer.Hop{sent, came, left}, Unexplained, tracer.ConfidenceSeen},
		{"translated", serves(nil, iptables), []tracer.Hop{sent, came, translated}, Unexplained, tracer.ConfidenceSeen},
		{"dropped before that", serves(nil, iptables), []tracer.Hop{sent, came, firewall}, "policy-drop", tracer.ConfidenceConfirmed},
		{"never came to a node", serves(nil, iptables), []tracer.Hop{sent}, Unexplained, tracer.ConfidenceSeen},
		{"state unreadable", unread, []tracer.Hop{sent, came, left}, Unexplained, tracer.ConfidenceSeen},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := fakeLookup(tracer.OutcomeLost, c.hops...)
			if c.hops[len(c.hops)-1].Dst == service {
				l.Backend = netip.AddrPort{}
			}
			checkDiagnosis(t, c.node, l, c.want)
			if got := l.Findings[0].Confidence; got != c.confidence {
				t.Errorf("confidence %s, want %s", got, c.confidence)
			}
		})
	}
	// It was translated a moment ago.
	d := New(serves(nil, nil))
	d.Diagnose(fakeLookup(tracer.OutcomeAnswered, sent, came, translated))
	l := fakeLookup(tracer.OutcomeLost, sent, came, left)
	l.Backend = netip.AddrPort{}
	d.Diagnose(l)
	if len(l.Findings) != 1 || l.Findings[0].ID != finding {
		t.Errorf("after a lookup that was translated: findings %+v", l.Findings)
	}
}
