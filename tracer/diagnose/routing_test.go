package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer"
)

// checkFinding checks the only finding of a lookup, in part.
func checkFinding(t *testing.T, l *tracer.Lookup, confidence tracer.Confidence, summary, mend string) {
	t.Helper()
	if len(l.Findings) != 1 {
		t.Fatalf("%d findings", len(l.Findings))
	}
	f := l.Findings[0]
	if f.Confidence != confidence || !strings.Contains(f.Summary, summary) || !strings.Contains(strings.Join(f.Mend, "\n"), mend) {
		t.Errorf("%q (%s), mend %q; want %q (%s), %q", f.Summary, f.Confidence, f.Mend, summary, confidence, mend)
	}
}

func TestRPFilter(t *testing.T) {
	const id = "rp-filter-drop"
	drop := dropped(nsNodeB, "vxlan.calico", "IP_RPFILTER", "ip_rcv_finish_core")
	old := dropped(nsNodeB, "vxlan.calico", "", "ip_rcv_finish_core")
	away := &fakeNS{
		name: "node-b", links: []Link{podTunnel},
		sysctls: map[string]string{"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/vxlan.calico/rp_filter": "1"},
		route: func(q RouteQuery) *Route {
			if q.Iif != "" {
				return &Route{Errno: int(unix.EXDEV)}
			}
			return &Route{Dev: "eth0", Default: true}
		},
	}
	l := fakeLookup(tracer.OutcomeDropped, drop)
	checkDiagnosis(t, fakeNode{nsNodeB: away}, l, id)
	checkFinding(t, l, tracer.ConfidenceConfirmed, "its route back leads by eth0", "ip route add 10.244.1.10")
	l = fakeLookup(tracer.OutcomeDropped, old)
	checkDiagnosis(t, fakeNode{nsNodeB: away}, l, id)
	checkFinding(t, l, tracer.ConfidenceConfirmed, "from 10.244.1.10 that come by vxlan.calico", "rp_filter=2")
	l = fakeLookup(tracer.OutcomeDropped, drop)
	checkDiagnosis(t, fakeNode{}, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "refuses packets from 10.244.1.10", "rp_filter=2")

	outer := drop
	outer.Tunnel = &tracer.Tunnel{Kind: "vxlan", Src: netip.MustParseAddrPort("192.0.2.1:4000"), Dst: netip.MustParseAddrPort("192.0.2.2:4789")}
	l = fakeLookup(tracer.OutcomeDropped, outer)
	checkDiagnosis(t, fakeNode{}, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "refuses packets from 192.0.2.1", "")

	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeDropped, old), Unexplained)
	martian := &fakeNS{name: "node-b", route: always(Route{Errno: int(unix.EINVAL)})}
	checkDiagnosis(t, fakeNode{nsNodeB: martian}, fakeLookup(tracer.OutcomeDropped, old), Unexplained)
	checkDiagnosis(t, fakeNode{nsNodeB: away}, fakeLookup(tracer.OutcomeAnswered, drop))
}

func TestMartianSource(t *testing.T) {
	const id = "martian-source"
	own := &fakeNS{name: "node-a", links: []Link{{Name: "cni0", Addrs: []netip.Prefix{netip.PrefixFrom(client.Addr(), 24)}}}}
	pod := &fakeNS{name: "client", links: []Link{{Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(client.Addr(), 32)}}}}
	sent := routed("tx", nsClient, "eth0")
	for _, reason := range []string{"IP_LOCAL_SOURCE", "NOT_SPECIFIED", ""} {
		l := fakeLookup(tracer.OutcomeDropped, sent, dropped(nsNodeA, "cni0", reason, "ip_rcv_finish_core"))
		checkDiagnosis(t, fakeNode{nsNodeA: own, nsClient: pod}, l, id)
		checkFinding(t, l, tracer.ConfidenceConfirmed, "10.244.1.10 is an address of its own", "in client: ip addr del 10.244.1.10 dev eth0")
	}
	l := fakeLookup(tracer.OutcomeDropped, dropped(nsNodeA, "cni0", "IP_INVALID_SOURCE", "ip_rcv_finish_core"))
	checkDiagnosis(t, fakeNode{}, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "is no address that a packet can come from", "")

	foreign := &fakeNS{name: "node-a", links: []Link{podTunnel}}
	checkDiagnosis(t, fakeNode{nsNodeA: foreign}, fakeLookup(tracer.OutcomeDropped, dropped(nsNodeA, "cni0", "NOT_SPECIFIED", "ip_rcv_finish_core")), Unexplained)
	checkDiagnosis(t, fakeNode{nsNodeA: own}, fakeLookup(tracer.OutcomeDropped, dropped(nsNodeA, "cni0", "NOT_SPECIFIED", "ip_rcv_core")), Unexplained)
}

func TestForwardingOff(t *testing.T) {
	const id = "forwarding-off"
	off := &fakeNS{name: "node-a", sysctls: map[string]string{"net/ipv4/conf/cni0/forwarding": "0", "net/ipv6/conf/all/forwarding": "0"}}
	router := &fakeNS{name: "node-a", sysctls: on}
	drop := dropped(nsNodeA, "cni0", "IP_INADDRERRORS", "ip_error")
	old := dropped(nsNodeA, "cni0", "", "ip_error")
	six := dropped(nsNodeA, "cni0", "NOT_SPECIFIED", "ip6_forward")
	six.Src, six.Dst = netip.MustParseAddrPort("[fd00::1]:4000"), netip.MustParseAddrPort("[fd00::2]:53")

	for _, hop := range []tracer.Hop{drop, old, six} {
		l := fakeLookup(tracer.OutcomeDropped, hop)
		checkDiagnosis(t, fakeNode{nsNodeA: off}, l, id)
		checkFinding(t, l, tracer.ConfidenceConfirmed, "node-a does not forward packets", "=1")
	}
	l := fakeLookup(tracer.OutcomeDropped, drop)
	checkDiagnosis(t, fakeNode{nsNodeA: router}, l, id) // it was off then
	checkFinding(t, l, tracer.ConfidenceSeen, "does not forward packets", "net.ipv4.ip_forward=1")
	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeDropped, old), Unexplained)
	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeDropped, six), Unexplained)
}

func TestTTLExpired(t *testing.T) {
	const id = "ttl-expired"
	drop := dropped(nsNodeB, "eth0", "IP_INHDR", "ip_forward")
	drop.TTL = 1
	a, b := routed("tx", nsNodeA, "eth0"), routed("tx", nsNodeB, "eth0")
	node := fakeNode{nsNodeA: {name: "node-a", route: always(Route{Dev: "eth0"})}, nsNodeB: {name: "node-b", route: always(Route{Dev: "eth0"})}}
	l := fakeLookup(tracer.OutcomeDropped, a, b, a, b, drop)
	checkDiagnosis(t, node, l, id)
	checkFinding(t, l, tracer.ConfidenceConfirmed, "node-a and node-b send the query to 10.244.2.53 to each other", "in node-b: ip route show match")
	checkDiagnosis(t, fakeNode{}, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "a routing loop", "")

	short := a
	short.TTL = 2
	l = fakeLookup(tracer.OutcomeDropped, short, drop)
	checkDiagnosis(t, node, l, id)
	checkFinding(t, l, tracer.ConfidenceSeen, "was sent with too small a hop limit (TTL 2)", "")

	old := drop
	old.Drop = &tracer.Drop{Function: "ip_forward"}
	icmp := routed("icmp", nsNodeB, "eth0")
	icmp.ICMP = &tracer.ICMP{Type: 11}
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, short, icmp, old), id)
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, short, old), Unexplained)
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, a, b, a, b, old), id)
	checkDiagnosis(t, node, fakeLookup(tracer.OutcomeDropped, short, dropped(nsNodeB, "eth0", "PKT_TOO_BIG", "ip_forward")), "mtu-too-big")
}
