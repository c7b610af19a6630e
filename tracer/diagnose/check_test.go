package diagnose

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestWalk(t *testing.T) {
	prefix := netip.MustParsePrefix
	peer := netip.MustParseAddr("192.0.2.2")
	healthy := func() (pod, node, server *fakeNS) {
		both := &Service{By: "iptables", Endpoints: []netip.AddrPort{backend}, Known: true}
		pod = &fakeNS{
			name: "client", links: []Link{{Name: "eth0", Index: 2, Kind: "veth", Peer: 5, Addrs: []netip.Prefix{prefix("10.244.1.10/24")}}},
			route: func(RouteQuery) *Route { return &Route{Dev: "eth0", Src: client.Addr()} },
		}
		node = &fakeNS{
			name: "node-a", sysctls: map[string]string{"net/ipv4/ip_forward": "1"}, conntrack: &ConntrackStats{Count: 10, Max: 100},
			services: map[tracer.Transport]*Service{tracer.TransportUDP: both, tracer.TransportTCP: both},
			links: []Link{
				{Name: "eth0", Up: true, State: "up", MTU: 1500, Addrs: []netip.Prefix{prefix("192.0.2.1/24")}},
				{Name: "vxlan.calico", Kind: "vxlan", Up: true, State: "unknown", MTU: 1450, Tunnel: &TunnelLink{FDB: []netip.Addr{peer}}},
				{Name: "veth1", Index: 5, Kind: "veth", Peer: 2, Master: 4, Up: true, State: "up", MTU: 1450},
				{Name: "cni0", Index: 4, Kind: "bridge", Up: true, State: "up", MTU: 1450, Addrs: []netip.Prefix{prefix("10.244.1.1/24")}},
			},
			route: func(q RouteQuery) *Route {
				if q.Dst == peer {
					return &Route{Dev: "eth0"}
				}
				return &Route{Dev: "vxlan.calico", Gateway: netip.MustParseAddr("10.244.2.0")}
			},
		}
		any4 := netip.MustParseAddrPort("0.0.0.0:53")
		server = &fakeNS{
			name: "dns-b", links: []Link{{Name: "eth0", Addrs: []netip.Prefix{prefix("10.244.2.53/24")}}},
			sockets: []Socket{{Transport: tracer.TransportUDP, Addr: any4}, {Transport: tracer.TransportTCP, Addr: any4}},
		}
		return pod, node, server
	}
	leaves := func(n *fakeNS, rule string) { // the inner checksum to the device
		n.masquerade, n.links[1].Tunnel.UDPChecksum, n.links[1].Features = rule, true, map[string]bool{"tx-checksum-ip-generic": true}
	}
	strictly := func(n *fakeNS, all, bridge string) {
		n.sysctls["net/ipv4/conf/all/rp_filter"], n.sysctls["net/ipv4/conf/cni0/rp_filter"] = all, bridge
		n.sysctls["net/ipv4/conf/vxlan.calico/rp_filter"] = "0"
	}
	tests := []struct {
		name  string
		spoil func(pod, node, server *fakeNS)
		want  []string // statuses and findings of what is not well
	}{
		{"healthy", func(_, _, _ *fakeNS) {}, nil},
		{"one transport", func(_, n, _ *fakeNS) { delete(n.services, tracer.TransportUDP) }, []string{"fail service-not-translated"}},
		{"no endpoints", func(_, n, _ *fakeNS) { n.services[tracer.TransportTCP] = &Service{By: "IPVS", Known: true} }, []string{"fail service-no-endpoints"}},
		{"exempt from conntrack", func(_, n, _ *fakeNS) {
			n.services[tracer.TransportUDP] = &Service{By: "iptables", Endpoints: []netip.AddrPort{backend}, Known: true, NoTrack: true}
		}, []string{"fail service-not-translated"}},
		{"endpoints not known", func(_, n, _ *fakeNS) { n.services[tracer.TransportUDP] = &Service{By: "nftables"} }, []string{"unknown "}},
		{"no route", func(_, n, _ *fakeNS) { n.route = func(RouteQuery) *Route { return &Route{Errno: 101} } }, []string{"fail no-route-to-endpoint", "fail no-route-to-endpoint"}},
		{"default route", func(_, n, _ *fakeNS) {
			n.route = func(RouteQuery) *Route { return &Route{Dev: "eth0", Default: true} }
		}, []string{"warn no-route-to-endpoint", "warn no-route-to-endpoint"}},
		{"device down", func(_, n, _ *fakeNS) { n.links[1].Up = false }, []string{"fail device-down"}},
		{"tunnel's MTU", func(_, n, _ *fakeNS) { n.links[0].MTU = 1499 }, []string{"warn mtu-too-big"}},
		{"tunnel's packets are translated", func(_, n, _ *fakeNS) {
			leaves(n, "iptables nat POSTROUTING: -j MASQUERADE")
		}, []string{"warn tunnel-checksum"}},
		{"no rule is sure to do that", func(_, n, _ *fakeNS) { leaves(n, "") }, nil},
		{"translated, without an outer checksum", func(_, n, _ *fakeNS) { n.masquerade = "a rule" }, nil},
		{"queries from elsewhere", func(_, n, _ *fakeNS) { strictly(n, "1", "0") }, []string{"fail rp-filter-drop"}},
		{"from elsewhere, loosely", func(_, n, _ *fakeNS) { strictly(n, "1", "2") }, nil},
		{"from where the route leads", func(_, n, _ *fakeNS) {
			strictly(n, "0", "1")
			n.route = func(q RouteQuery) *Route { return &Route{Dev: "cni0"} }
			n.sysctls["net/bridge/bridge-nf-call-iptables"] = "1"
		}, nil},
		{"tunnel without peers", func(_, n, _ *fakeNS) { n.links[1].Tunnel.FDB = nil }, []string{"fail tunnel-peer-unknown"}},
		{"neighbour", func(_, n, _ *fakeNS) {
			n.neighbours = []Neighbour{{Addr: netip.MustParseAddr("10.244.2.0"), Dev: "vxlan.calico", State: "FAILED"}}
		}, []string{"fail neighbour-failed"}},
		{"nobody listens", func(_, _, s *fakeNS) { s.sockets = s.sockets[:1] }, []string{"fail no-listener"}},
		{"a bridge that iptables does not see", func(_, n, _ *fakeNS) {
			n.route = func(RouteQuery) *Route { return &Route{Dev: "cni0"} }
		}, []string{"fail reply-not-untranslated"}},
		{"a bridge that iptables sees", func(_, n, _ *fakeNS) {
			n.route = func(RouteQuery) *Route { return &Route{Dev: "cni0"} }
			n.sysctls["net/bridge/bridge-nf-call-iptables"] = "1"
		}, nil},
		{"no forwarding", func(_, n, _ *fakeNS) { n.sysctls["net/ipv4/ip_forward"] = "0" }, []string{"fail forwarding-off"}},
		{"conntrack", func(_, n, _ *fakeNS) { n.conntrack.Count = 95 }, []string{"warn conntrack-full"}},
		{"nothing can be read", func(_, n, _ *fakeNS) { n.err = errors.New("permission denied") }, []string{"unknown ", "unknown ", "unknown ", "unknown ", "unknown "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod, node, server := healthy()
			tt.spoil(pod, node, server)
			var bad []string
			for _, c := range Walk(CheckOptions{Client: pod, Node: node, All: []NetNS{pod, node, server}, Servers: []netip.AddrPort{service}}) {
				t.Logf("%s %v %s: %s", c.Status, c.Transport, c.What, c.Detail)
				if c.Status != StatusOK {
					bad = append(bad, string(c.Status)+" "+c.Finding)
				}
				if c.Finding != "" && len(c.Mend) == 0 {
					t.Errorf("%s does not say what mends it", c.Finding)
				}
			}
			if !slices.Equal(bad, tt.want) {
				t.Errorf("not well: %q, want %q", bad, tt.want)
			}
		})
	}
}

func TestDotted(t *testing.T) {
	if got := dotted("net/ipv4/conf/eth0.7/rp_filter"); got != "net.ipv4.conf.eth0/7.rp_filter" || strings.Contains(got, "0.7") {
		t.Errorf("got %s", got)
	}
}
