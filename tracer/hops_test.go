package tracer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBuildHops holds how single events become hops, and which are one hop.
func TestBuildHops(t *testing.T) {
	full := func(e *Event) { e.Errno = 12 }
	tests := []struct {
		name  string
		blind bool
		way   func(p *packet)
		want  []string
	}{
		{"queued and sent", false, func(p *packet) { p.tx(aEth0) }, []string{"tx node-a/eth0"}},
		{"sent by a device without a queue", false, func(p *packet) { p.device(ProbeNetDevStartXmit, aEth0) }, []string{"tx node-a/eth0"}},
		{"sent by another device than queued", false, func(p *packet) {
			p.device(ProbeNetDevQueue, aBridge).device(ProbeNetDevStartXmit, aVeth)
		}, []string{"tx node-a/cni0 queued", "tx node-a/veth1"}},
		{"received by a driver of its own", false, func(p *packet) { p.device(ProbeNetifReceiveSkb, aEth0) }, []string{"rx node-a/eth0"}},
		{"received by one device after another", false, func(p *packet) { p.rx(aEth0).rx(aTunnel) }, []string{"rx node-a/eth0", "rx node-a/flannel.1"}},
		{"tc", false, func(p *packet) { p.device(ProbeTCIngress, aEth0).device(ProbeTCEgress, aEth0) }, []string{
			"tc-ingress node-a/eth0", "tc-egress node-a/eth0",
		}},
		{"hook whose entry was not seen", false, func(p *packet) {
			p.rx(aEth0)
			p.dst, p.hook, p.left = backend, HookPrerouting, true
			p.see(ProbeNFLeave, aEth0)
		}, []string{
			"rx node-a/eth0", "nat node-a/eth0 PREROUTING dnat 10.96.0.10:53>10.244.2.53:53 at PREROUTING (seen)",
		}},
		{"both addresses rewritten at one hook", false, func(p *packet) {
			p.nat(aEth0, HookPostrouting, func(p *packet) { p.src, p.dst = nodeAddr, backend })
		}, []string{
			"nat node-a/eth0 POSTROUTING dnat 10.96.0.10:53>10.244.2.53:53 at POSTROUTING (seen)" +
				" snat 10.244.1.10:41522>192.0.2.1:40001 at POSTROUTING (seen)",
		}},
		{"three changes between two sights", false, func(p *packet) {
			p.rx(aEth0)
			p.src, p.dst, p.tunnel = nodeAddr, backend, overlay
			p.tx(aEth0)
		}, []string{
			"rx node-a/eth0",
			"tx node-a/eth0 encap 192.0.2.1:50741>192.0.2.2:4789 dnat 10.96.0.10:53>10.244.2.53:53 snat 10.244.1.10:41522>192.0.2.1:40001",
		}},
		{"changes before a hook and in it", false, func(p *packet) {
			p.tunnel = overlay
			p.rx(aEth0)
			p.tunnel, p.dst = nil, backend
			p.nat(aEth0, HookPostrouting, func(p *packet) { p.src = nodeAddr })
		}, []string{
			"rx node-a/eth0",
			"nat node-a/eth0 POSTROUTING decap 192.0.2.1:50741>192.0.2.2:4789 dnat 10.96.0.10:53>10.244.2.53:53" +
				" snat 10.244.1.10:41522>192.0.2.1:40001 at POSTROUTING (seen)",
		}},
		{"changes before a hook that adds none", false, func(p *packet) {
			p.tunnel = overlay
			p.rx(aEth0)
			p.tunnel, p.dst = nil, backend
			p.nat(aEth0, HookPrerouting, func(*packet) {})
		}, []string{
			"rx node-a/eth0",
			"nat node-a/eth0 PREROUTING decap 192.0.2.1:50741>192.0.2.2:4789 dnat 10.96.0.10:53>10.244.2.53:53",
		}},
		{"masquerade, inferred", true, func(p *packet) {
			p.rx(aVeth).nat(aEth0, HookPostrouting, func(p *packet) {
				p.ct = &Conntrack{Orig: Flow{webPod, service}, Reply: Flow{service, nodeAddr}}
				p.src = nodeAddr
			}).tx(aEth0)
		}, []string{
			"rx node-a/veth1",
			"tx node-a/eth0 snat 10.244.1.10:41522>192.0.2.1:40001 at POSTROUTING (inferred) by conntrack",
		}},
		{"node's own query, DNAT inferred", true, func(p *packet) {
			p.device(ProbeTCEgress, aTunnel)
			p.ct = &Conntrack{Orig: Flow{webPod, service}, Reply: Flow{backend, webPod}}
			p.dst = backend
			p.tx(aEth0)
		}, []string{
			"tc-egress node-a/flannel.1",
			"tx node-a/eth0 dnat 10.96.0.10:53>10.244.2.53:53 at OUTPUT (inferred) by conntrack",
		}},
		{"rewritten by something else than conntrack", true, func(p *packet) {
			p.rx(aVeth)
			p.dst = backend
			p.tx(aEth0)
		}, []string{"rx node-a/veth1", "tx node-a/eth0 dnat 10.96.0.10:53>10.244.2.53:53"}},

		{"read, and freed by its reader", false, func(p *packet) {
			p.rx(podEth0).see(ProbeRead, podEth0, func(e *Event) { e.PID, e.Comm = 7, "dig" }).read(podEth0, 7, "dig")
		}, []string{"rx pod/eth0", "read pod/eth0 dig[7]"}},
		{"read, known by a free in softirq alone", false, func(p *packet) {
			p.rx(podEth0).consume(podEth0, "skb_attempt_defer_free", func(e *Event) { e.PID, e.Comm = 1, "ksoftirqd/0" })
		}, []string{"rx pod/eth0", "read pod/eth0 inferred"}},
		{"read, after word to its socket", false, func(p *packet) {
			p.rx(podEth0).see(ProbeSkDataReady, podEth0).consume(podEth0, "skb_defer_free_flush")
		}, []string{"rx pod/eth0", "socket pod/eth0", "read pod/eth0 inferred"}},
		{"freed by who sent it", false, func(p *packet) { p.tx(aEth0).consume(aEth0, "napi_consume_skb") }, []string{"tx node-a/eth0"}},
		{"dropped in FORWARD is not read", false, func(p *packet) {
			p.rx(aEth0).hooks(aEth0, HookForward).consume(aEth0, "skb_defer_free_flush")
		}, []string{"rx node-a/eth0", "hook node-a/eth0 FORWARD"}},
		{"freed silently", false, func(p *packet) { p.tx(aTunnel).consume(aTunnel, "geneve_xmit") }, []string{
			"tx node-a/flannel.1", "drop node-a/flannel.1 in geneve_xmit",
		}},

		{"socket full", false, func(p *packet) { p.see(ProbeUDPFail, dnsEth0, full) }, []string{"socket-full dns/eth0 in errno 12"}},
		{"socket full, told three times", false, func(p *packet) {
			p.see(ProbeUDPFail, dnsEth0, full).see(ProbeRcvqueueFull, dnsEth0).drop(dnsEth0, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb")
		}, []string{"drop dns/eth0 SOCKET_RCVBUFF in udp_queue_rcv_one_skb errno 12"}},
		{"queue full", false, func(p *packet) {
			p.see(ProbeRcvqueueFull, dnsEth0).drop(dnsEth0, "SOCKET_RCVBUFF", "sock_queue_rcv_skb_reason")
		}, []string{"drop dns/eth0 SOCKET_RCVBUFF in sock_queue_rcv_skb_reason"}},
		{"TCP checksum wrong", false, func(p *packet) { p.see(ProbeTCPBadCsum, dnsEth0) }, []string{"bad-checksum dns/eth0 in"}},
		{"TCP checksum wrong, told twice", false, func(p *packet) {
			p.see(ProbeTCPBadCsum, dnsEth0).drop(dnsEth0, "TCP_CSUM", "tcp_v4_rcv")
		}, []string{"drop dns/eth0 TCP_CSUM in tcp_v4_rcv"}},
		{"answered by ICMP", false, func(p *packet) { p.icmp(aEth0, 3, 1).drop(aEth0, "", "ip_error") }, []string{
			"icmp node-a/eth0 host unreachable", "drop node-a/eth0 in ip_error",
		}},
		{"ICMP without a name", false, func(p *packet) { p.icmp(aEth0, 5, 7) }, []string{"icmp node-a/eth0 type 5 code 7"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			s.blind = tt.blind
			p := s.ask()
			tt.way(p)
			if diff := cmp.Diff(tt.want, hopsOf(Leg{Hops: buildHops(&legState{events: s.events})})); diff != "" {
				t.Errorf("hops (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBuildHopsOfReply holds what translating back is called, and where it happens.
func TestBuildHopsOfReply(t *testing.T) {
	s := newScene()
	s.blind = true
	r := s.query(nodeAddr, backend, 1, "a.example.test.", 1).reply().rx(aEth0)
	r.ct = &Conntrack{Info: 3, Orig: Flow{webPod, service}, Reply: Flow{backend, nodeAddr}}
	r.dst = webPod
	r.device(ProbeTCIngress, aEth0)
	r.src = service
	r.tx(aVeth)
	want := []string{
		"rx node-a/eth0",
		"tc-ingress node-a/eth0 un-snat 192.0.2.1:40001>10.244.1.10:41522 at PREROUTING (inferred) by conntrack",
		"tx node-a/veth1 un-dnat 10.244.2.53:53>10.96.0.10:53 at POSTROUTING (inferred) by conntrack",
	}
	if diff := cmp.Diff(want, hopsOf(Leg{Hops: buildHops(&legState{events: s.events, response: true})})); diff != "" {
		t.Errorf("hops (-want +got):\n%s", diff)
	}
}
