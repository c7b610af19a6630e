package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer"
)

// routed is a hop of a packet in a namespace.
func routed(name string, ns uint32, dev string) tracer.Hop {
	return tracer.Hop{Name: name, Layer: "device", NetNS: ns, Dev: dev}
}

// dropped is the end of one.
func dropped(ns uint32, dev, reason, function string) tracer.Hop {
	h := routed("drop", ns, dev)
	h.Layer, h.Drop = "end", &tracer.Drop{Reason: reason, Function: function}
	return h
}

// toService makes a hop's packet one that nothing has translated.
func toService(h tracer.Hop) tracer.Hop {
	h.Src, h.Dst = client, service
	return h
}

// podTunnel is a tunnel's device as CNIs have it.
var podTunnel = Link{
	Index: 7, Name: "vxlan.calico", Kind: "vxlan", Up: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/32")},
	Tunnel: &TunnelLink{VNI: 4096, Port: 4789},
}

// always is a route for each destination.
func always(r Route) func(RouteQuery) *Route { return func(RouteQuery) *Route { return &r } }

// on are the sysctls of a router.
var on = map[string]string{"net/ipv4/conf/cni0/forwarding": "1"}

func TestNoRoute(t *testing.T) {
	rx := routed("rx", nsNodeA, "cni0")
	icmp := func(code uint8) tracer.Hop {
		h := routed("icmp", nsNodeA, "cni0")
		h.ICMP = &tracer.ICMP{Type: 3, Code: code}
		return h
	}
	noRoute := dropped(nsNodeA, "cni0", "IP_INNOROUTES", "ip_error")
	forbids := dropped(nsNodeA, "cni0", "NOT_SPECIFIED", "ip_error")
	old := dropped(nsNodeA, "cni0", "", "ip_error")
	const id = "no-route-to-endpoint"
	has := func(errno unix.Errno) *fakeNS {
		return &fakeNS{name: "node-a", links: []Link{podTunnel}, route: always(Route{Errno: int(errno)}), sysctls: on}
	}
	for _, c := range []struct {
		name    string
		ns      *fakeNS
		hops    []tracer.Hop
		want    string
		summary string // a part of it
		sure    tracer.Confidence
	}{
		{"no route", has(unix.ENETUNREACH), []tracer.Hop{rx, noRoute}, id, "node-a has no route to 10.244.2.53", tracer.ConfidenceConfirmed},
		{"nothing can be read", nil, []tracer.Hop{rx, noRoute}, id, "has no route to 10.244.2.53", tracer.ConfidenceSeen},
		{"blackhole", has(unix.EINVAL), []tracer.Hop{rx, forbids}, id, "(blackhole)", tracer.ConfidenceConfirmed},
		{"unreachable", nil, []tracer.Hop{rx, icmp(1), forbids}, id, "(unreachable)", tracer.ConfidenceSeen},
		{"prohibit", nil, []tracer.Hop{rx, icmp(13), forbids}, id, "(prohibit)", tracer.ConfidenceSeen},
		{"one of them", nil, []tracer.Hop{rx, forbids}, id, "or one that forbids it", tracer.ConfidenceSeen},
		{"no reasons, and a word to the sender", nil, []tracer.Hop{rx, icmp(0), old}, id, "has no route", tracer.ConfidenceSeen},
		{"no reasons, and a router", has(unix.EINVAL), []tracer.Hop{rx, old}, id, "(blackhole)", tracer.ConfidenceConfirmed},
		{"no reasons, and perhaps no router", nil, []tracer.Hop{rx, old}, Unexplained, "", tracer.ConfidenceSeen},
		{"does not forward", has(unix.EHOSTUNREACH), []tracer.Hop{rx, dropped(nsNodeA, "cni0", "IP_INADDRERRORS", "ip_error")}, "forwarding-off", "", tracer.ConfidenceSeen},
		{"filtered", has(unix.EINVAL), []tracer.Hop{rx, dropped(nsNodeA, "cni0", "NETFILTER_DROP", "nf_hook_slow")}, Unexplained, "", tracer.ConfidenceSeen},
	} {
		t.Run(c.name, func(t *testing.T) {
			node := fakeNode{}
			if c.ns != nil {
				node[nsNodeA] = c.ns
			}
			l := fakeLookup(tracer.OutcomeDropped, c.hops...)
			checkDiagnosis(t, node, l, c.want)
			if f := l.Findings[0]; !strings.Contains(f.Summary, c.summary) || f.Confidence != c.sure {
				t.Errorf("%q (%s), want %q (%s)", f.Summary, f.Confidence, c.summary, c.sure)
			}
		})
	}
	answered := fakeLookup(tracer.OutcomeAnswered, rx, noRoute)
	checkDiagnosis(t, fakeNode{nsNodeA: has(unix.ENETUNREACH)}, answered)
}

// A packet for a wrong address is no matter of routes.
func TestNoRouteToWrongAddress(t *testing.T) {
	dnat := routed("hook", nsNodeA, "")
	dnat.Change = &tracer.Change{Kind: tracer.ChangeDNAT, From: service, To: backend}
	drop := dropped(nsNodeA, "cni0", "IP_INNOROUTES", "ip_error")
	of := func(s *Service) fakeNode {
		return fakeNode{nsNodeA: {name: "node-a", services: map[tracer.Transport]*Service{tracer.TransportUDP: s}}}
	}
	other := netip.MustParseAddrPort("10.244.2.54:53")
	const id = "no-route-to-endpoint"
	checkDiagnosis(t, of(&Service{Known: true, Endpoints: []netip.AddrPort{backend}}), fakeLookup(tracer.OutcomeDropped, dnat, drop), id)
	checkDiagnosis(t, of(&Service{Endpoints: []netip.AddrPort{other}}), fakeLookup(tracer.OutcomeDropped, dnat, drop), id)
	checkDiagnosis(t, of(&Service{Known: true, Endpoints: []netip.AddrPort{other}}), fakeLookup(tracer.OutcomeDropped, dnat, drop), "stale-endpoint")

	untranslated := toService(drop)
	checkDiagnosis(t, of(&Service{}), fakeLookup(tracer.OutcomeDropped, untranslated), Unexplained)
	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeDropped, untranslated), id) // nothing says that it is a service
	resolver := &Resolver{Nameservers: []netip.Addr{service.Addr()}, Search: []string{"default.svc.cluster.local"}}
	checkDiagnosis(t, fakeNode{nsClient: {resolver: resolver}}, fakeLookup(tracer.OutcomeDropped, untranslated), Unexplained)

	reply := fakeLookup(tracer.OutcomeDropped, routed("rx", nsNodeB, "cni0"))
	back := dropped(nsNodeB, "cni0", "IP_INNOROUTES", "ip_error")
	back.Src, back.Dst = backend, client
	reply.Legs = append(reply.Legs, tracer.Leg{Response: true, Hops: []tracer.Hop{back}})
	checkDiagnosis(t, fakeNode{}, reply, id)
	reply.Legs[1].Hops[0].Dst = netip.MustParseAddrPort("203.0.113.9:4000") // masqueraded so
	checkDiagnosis(t, fakeNode{}, reply, Unexplained)
}

func TestLeftBare(t *testing.T) {
	out := routed("tx", nsNodeA, "eth0")
	byDefault := always(Route{Dev: "eth0", Gateway: netip.MustParseAddr("192.0.2.254"), Default: true})
	node := func(l Link, route func(RouteQuery) *Route) fakeNode {
		return fakeNode{nsNodeA: {name: "node-a", links: []Link{l}, route: route}}
	}
	const id = "no-route-to-endpoint"
	l := fakeLookup(tracer.OutcomeLost, routed("rx", nsNodeA, "cni0"), out)
	checkDiagnosis(t, node(podTunnel, byDefault), l, id)
	if f := l.Findings[0]; f.Confidence != tracer.ConfidenceConfirmed || !strings.Contains(f.Mend[0], "vxlan.calico") {
		t.Errorf("%+v", f)
	}
	// The gateway does not answer: the same cause.
	checkDiagnosis(t, node(podTunnel, byDefault), fakeLookup(tracer.OutcomeDropped, dropped(nsNodeA, "eth0", "NEIGH_FAILED", "arp_error_report")), id)

	down, elsewhere := podTunnel, podTunnel
	down.Up = false
	elsewhere.Addrs = []netip.Prefix{netip.MustParsePrefix("10.9.0.1/32")}
	checkDiagnosis(t, node(down, byDefault), fakeLookup(tracer.OutcomeLost, out), Unexplained)
	checkDiagnosis(t, node(elsewhere, byDefault), fakeLookup(tracer.OutcomeLost, out), Unexplained)
	checkDiagnosis(t, node(podTunnel, always(Route{Dev: "eth0"})), fakeLookup(tracer.OutcomeLost, out), Unexplained)
	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeLost, out), Unexplained)
	tunneled := out
	tunneled.Tunnel = &tracer.Tunnel{Kind: "vxlan"}
	checkDiagnosis(t, node(podTunnel, byDefault), fakeLookup(tracer.OutcomeLost, tunneled), Unexplained)
	checkDiagnosis(t, node(podTunnel, byDefault), fakeLookup(tracer.OutcomeLost, out, routed("rx", nsNodeB, "eth0")), Unexplained)
}
