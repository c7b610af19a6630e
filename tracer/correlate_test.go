package tracer

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// wholeQuery and wholeReply are the hops of a lookup in which nothing goes wrong.
var (
	wholeQuery = []string{
		"tx pod/eth0 dig[4242]",
		"rx node-a/veth1",
		"nat node-a/cni0 PREROUTING dnat 10.96.0.10:53>10.244.2.53:53 at PREROUTING (seen) by conntrack",
		"rx node-a/cni0",
		"hook node-a/cni0 FORWARD",
		"hook node-a/flannel.1 POSTROUTING",
		"tx node-a/flannel.1",
		"hook node-a/eth0 OUTPUT encap 192.0.2.1:50741>192.0.2.2:4789",
		"hook node-a/eth0 POSTROUTING",
		"tx node-a/eth0",
		"rx node-b/eth0",
		"hook node-b/eth0 PREROUTING",
		"hook node-b/eth0 INPUT",
		"rx node-b/flannel.1 decap 192.0.2.1:50741>192.0.2.2:4789",
		"hook node-b/flannel.1 PREROUTING",
		"hook node-b/flannel.1 FORWARD",
		"hook node-b/cni0 POSTROUTING",
		"tx node-b/cni0",
		"tx node-b/veth1",
		"rx dns/eth0",
		"hook dns/eth0 PREROUTING",
		"hook dns/eth0 INPUT",
		"read dns/ coredns[99]",
	}
	wholeReply = []string{
		"tx dns/eth0",
		"rx node-b/veth1",
		"rx node-b/cni0",
		"hook node-b/cni0 PREROUTING",
		"hook node-b/cni0 FORWARD",
		"hook node-b/flannel.1 POSTROUTING",
		"tx node-b/flannel.1",
		"hook node-b/eth0 OUTPUT encap 192.0.2.2:50741>192.0.2.1:4789",
		"hook node-b/eth0 POSTROUTING",
		"tx node-b/eth0",
		"rx node-a/eth0",
		"hook node-a/eth0 PREROUTING",
		"hook node-a/eth0 INPUT",
		"rx node-a/flannel.1 decap 192.0.2.2:50741>192.0.2.1:4789",
		"hook node-a/flannel.1 PREROUTING",
		"hook node-a/flannel.1 FORWARD",
		"nat node-a/cni0 POSTROUTING un-dnat 10.244.2.53:53>10.96.0.10:53 at POSTROUTING (seen) by conntrack",
		"tx node-a/cni0",
		"tx node-a/veth1",
		"rx pod/eth0",
		"hook pod/eth0 PREROUTING",
		"hook pod/eth0 INPUT",
		"read pod/ dig[4242]",
	}
)

func TestWholeLookup(t *testing.T) {
	s := newScene()
	s.whole(s.ask())
	lookups := correlate(t, CorrelatorOptions{}, s.events)
	if len(lookups) != 1 {
		t.Fatalf("%d lookups, want 1", len(lookups))
	}
	l := lookups[0]
	want := map[string][]string{"query 1": wholeQuery, "reply 1": wholeReply}
	if diff := gocmp.Diff(want, legsOf(l)); diff != "" {
		t.Errorf("hops (-want +got):\n%s", diff)
	}
	l.Legs, l.Question = nil, nil
	last := s.events[len(s.events)-1].Time
	if diff := gocmp.Diff(&Lookup{
		Start: sceneStart, End: last, Latency: last - sceneStart, DNSID: 4711,
		Reply: &Message{
			ID: 4711, Response: true, Name: "a.example.test.", Type: dns.TypeA, Class: 1, Records: 1,
			Answers: []netip.Addr{answerAddr},
		},
		ReplyLen:  62,
		Transport: TransportUDP,
		Client:    webPod, Server: service, Backend: backend, NetNS: nsPod, PID: 4242, Comm: "dig", Attempts: 1,
		Outcome: OutcomeAnswered,
	}, l, compareAddrs); diff != "" {
		t.Errorf("lookup (-want +got):\n%s", diff)
	}
}

// TestWholeLookupWithoutHooks has no netfilter probes: NAT follows from the
// addresses before and after, its hook from where netfilter does what.
func TestWholeLookupWithoutHooks(t *testing.T) {
	s := newScene()
	s.blind = true
	s.whole(s.ask())
	lookups := correlate(t, CorrelatorOptions{}, s.events)
	if len(lookups) != 1 || lookups[0].Outcome != OutcomeAnswered {
		t.Fatalf("lookups are %+v, want one answered", verdictsOf(lookups))
	}
	want := map[string][]string{
		"query 1": {
			"tx pod/eth0 dig[4242]",
			"rx node-a/veth1",
			"rx node-a/cni0 dnat 10.96.0.10:53>10.244.2.53:53 at PREROUTING (inferred) by conntrack",
			"tx node-a/flannel.1",
			"tx node-a/eth0 encap 192.0.2.1:50741>192.0.2.2:4789",
			"rx node-b/eth0",
			"rx node-b/flannel.1 decap 192.0.2.1:50741>192.0.2.2:4789",
			"tx node-b/cni0",
			"tx node-b/veth1",
			"rx dns/eth0",
			"read dns/ coredns[99]",
		},
		"reply 1": {
			"tx dns/eth0",
			"rx node-b/veth1",
			"rx node-b/cni0",
			"tx node-b/flannel.1",
			"tx node-b/eth0 encap 192.0.2.2:50741>192.0.2.1:4789",
			"rx node-a/eth0",
			"rx node-a/flannel.1 decap 192.0.2.2:50741>192.0.2.1:4789",
			"tx node-a/cni0 un-dnat 10.244.2.53:53>10.96.0.10:53 at POSTROUTING (inferred) by conntrack",
			"tx node-a/veth1",
			"rx pod/eth0",
			"read pod/ dig[4242]",
		},
	}
	if diff := gocmp.Diff(want, legsOf(lookups[0])); diff != "" {
		t.Errorf("hops (-want +got):\n%s", diff)
	}
}

// Last hops that many cases share.
const (
	queryRead = "query 1: read dns/ coredns[99]"
	replyRead = "reply 1: read pod/ dig[4242]"
)

var answered = verdict{Outcome: OutcomeAnswered, Attempts: 1, Legs: []string{queryRead, replyRead}}

// verdictTests are scenes of one or more lookups, and what a user is told of each.
var verdictTests = []struct {
	name  string
	scene func(s *scene)
	opts  CorrelatorOptions
	want  []verdict
}{
	{name: "identity lost on the wire", scene: func(s *scene) {
		q := s.ask().leavePod().translate().forward().encapsulate().loseIdentity().crossWire().decapsulate().enterServer()
		q.read(dnsEth0, 99, "coredns")
		q.reply().leaveServer().loseIdentity().enterNodeA(service).untranslate(service).enterPod().read(podEth0, 4242, "dig")
	}, want: []verdict{answered}},
	{name: "identity lost at every stretch", scene: func(s *scene) {
		q := s.ask().leavePod().loseIdentity().translate().loseIdentity().forward().loseIdentity().encapsulate()
		q.loseIdentity().crossWire().loseIdentity().decapsulate().loseIdentity().enterServer().read(dnsEth0, 99, "coredns")
		q.reply().toClient()
	}, want: []verdict{answered}},
	{name: "identity unknown", scene: func(s *scene) {
		s.whole(s.ask())
		for _, e := range s.events {
			e.Packet = 0
		}
	}, want: []verdict{answered}},
	{name: "A and AAAA on one socket", scene: func(s *scene) {
		a, aaaa := s.ask(), s.query(webPod, service, 4712, "a.example.test.", dns.TypeAAAA)
		a.toServer()
		aaaa.toServer()
		aaaa.reply().toClient()
		a.reply().toClient()
	}, want: []verdict{answered, answered}},
	{name: "A and AAAA with one ID", scene: func(s *scene) {
		a, aaaa := s.ask(), s.query(webPod, service, 4711, "a.example.test.", dns.TypeAAAA)
		a.leavePod()
		aaaa.leavePod()
		for _, q := range []*packet{a, aaaa} {
			q.translate().forward().encapsulate().loseIdentity().crossWire().decapsulate().enterServer().read(dnsEth0, 99, "coredns")
			q.reply().toClient()
		}
	}, want: []verdict{answered, answered}},
	{name: "retry after the first attempt was lost", scene: func(s *scene) {
		s.ask().leavePod().translate().forward().encapsulate()
		s.pass(2 * time.Second)
		s.whole(s.ask())
	}, want: []verdict{{Outcome: OutcomeAnswered, Attempts: 2, Legs: []string{
		"query 1: tx node-a/eth0", "query 2: read dns/ coredns[99]", "reply 2: read pod/ dig[4242]",
	}}}},
	{name: "retry with the same IP ID", scene: func(s *scene) {
		first, second := s.ask(), s.ask()
		first.ipid, second.ipid = 0, 0
		first.leavePod().translate().forward().encapsulate()
		s.pass(5 * time.Second)
		s.whole(second)
	}, want: []verdict{{Outcome: OutcomeAnswered, Attempts: 2, Legs: []string{
		"query 1: tx node-a/eth0", "query 2: read dns/ coredns[99]", "reply 2: read pod/ dig[4242]",
	}}}},
	{name: "retry after the first attempt was dropped", scene: func(s *scene) {
		s.ask().leavePod().translate().hooks(aBridge, HookForward).inHook().drop(aBridge, "NETFILTER_DROP", "nf_hook_slow")
		s.pass(5 * time.Second)
		s.whole(s.ask())
	}, want: []verdict{{Outcome: OutcomeAnswered, Attempts: 2, Legs: []string{
		"query 1: drop node-a/cni0 FORWARD NETFILTER_DROP in nf_hook_slow hook FORWARD confirm false",
		"query 2: read dns/ coredns[99]", "reply 2: read pod/ dig[4242]",
	}}}},
	{name: "both attempts answered", scene: func(s *scene) {
		first, second := s.ask(), s.ask()
		first.toServer()
		second.toServer()
		first.reply().toClient()
		second.reply().toClient()
	}, want: []verdict{{Outcome: OutcomeAnswered, Attempts: 2, Legs: []string{
		queryRead, "query 2: read dns/ coredns[99]", "reply 2: read pod/ dig[4242]", "reply 2: read pod/ dig[4242]",
	}}}},
	{name: "same ID and name again after an answer", scene: func(s *scene) {
		s.whole(s.ask())
		s.pass(time.Millisecond)
		s.whole(s.ask())
	}, want: []verdict{answered, answered}},
	{name: "same ID and name again after the lookup was handed out", scene: func(s *scene) {
		s.whole(s.ask())
		s.pass(20 * time.Second)
		s.whole(s.ask())
	}, want: []verdict{answered, answered}},
	{name: "two clients with one ID", scene: func(s *scene) {
		other := netip.MustParseAddrPort("10.244.1.11:41522")
		a, b := s.ask(), s.query(other, service, 4711, "a.example.test.", dns.TypeA)
		a.toServer()
		b.toServer()
		b.reply().toClient()
		a.reply().toClient()
	}, want: []verdict{answered, answered}},

	{name: "dropped by a rule", scene: func(s *scene) {
		s.ask().leavePod().translate().hooks(aBridge, HookForward).inHook().drop(aBridge, "NETFILTER_DROP", "nf_hook_slow")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: NETFILTER_DROP in nf_hook_slow (FORWARD)", Attempts: 1, Legs: []string{
		"query 1: drop node-a/cni0 FORWARD NETFILTER_DROP in nf_hook_slow hook FORWARD confirm false",
	}}}},
	{name: "dropped by a rule, no reason given", scene: func(s *scene) {
		s.ask().leavePod().translate().hooks(aBridge, HookForward).inHook().drop(aBridge, "", "nft_do_chain")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: no reason given in nft_do_chain (FORWARD)", Attempts: 1, Legs: []string{
		"query 1: drop node-a/cni0 FORWARD in nft_do_chain hook FORWARD confirm false",
	}}}},
	{name: "dropped at conntrack's confirmation", scene: func(s *scene) {
		s.ask().leavePod().translate().hooks(aTunnel, HookPostrouting).drop(aTunnel, "NETFILTER_DROP", "nf_hook_slow")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: NETFILTER_DROP in nf_hook_slow (POSTROUTING)", Attempts: 1, Legs: []string{
		"query 1: drop node-a/flannel.1 POSTROUTING NETFILTER_DROP in nf_hook_slow hook POSTROUTING confirm true",
	}}}},
	{name: "dropped after a hook, not in it", scene: func(s *scene) {
		s.ask().leavePod().translate().hooks(aBridge, HookPrerouting).drop(aBridge, "IP_INNOROUTES", "ip_route_input_slow")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: IP_INNOROUTES in ip_route_input_slow: there is no route for it", Attempts: 1, Legs: []string{
		"query 1: drop node-a/cni0 IP_INNOROUTES in ip_route_input_slow",
	}}}},
	{name: "dropped by a qdisc", scene: func(s *scene) {
		s.ask().leavePod().translate().forward().encapsulate().device(ProbeNetDevQueue, bVeth).drop(bVeth, "QDISC_DROP", "__dev_queue_xmit")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: QDISC_DROP in __dev_queue_xmit: the device's queue (qdisc) dropped it", Attempts: 1, Legs: []string{
		"query 1: drop node-b/veth1 QDISC_DROP in __dev_queue_xmit",
	}}}},
	{name: "last attempt dropped", scene: func(s *scene) {
		s.ask().leavePod().translate().forward()
		s.pass(time.Second)
		s.ask().leavePod().drop(aVeth, "IP_RPFILTER", "ip_rcv_finish_core")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: IP_RPFILTER in ip_rcv_finish_core: reverse path filtering (rp_filter) refused its source", Attempts: 2, Legs: []string{
		"query 1: tx node-a/flannel.1", "query 2: drop node-a/veth1 IP_RPFILTER in ip_rcv_finish_core",
	}}}},
	{name: "freed silently by a tunnel", scene: func(s *scene) {
		s.ask().leavePod().translate().forward().consume(aTunnel, "vxlan_xmit_one")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: dropped in vxlan_xmit_one: the tunnel could not send it, one of: no route to its other end; a loop; too big" +
		" (this kernel gives no reason)", Attempts: 1, Legs: []string{
		"query 1: drop node-a/flannel.1 in vxlan_xmit_one",
	}}}},
	{name: "port unreachable", scene: func(s *scene) {
		s.ask().leavePod().translate().forward().encapsulate().crossWire().decapsulate().enterServer().
			icmp(dnsEth0, 3, 3).drop(dnsEth0, "NO_SOCKET", "__udp4_lib_rcv")
	}, want: []verdict{{Outcome: OutcomeRejected, Detail: "ICMP port unreachable", Attempts: 1, Legs: []string{
		"query 1: drop dns/eth0 NO_SOCKET in __udp4_lib_rcv",
	}}}},
	{name: "rejected by a rule", scene: func(s *scene) {
		s.ask().leavePod().translate().hooks(aBridge, HookForward).inHook().icmp(aBridge, 3, 13).drop(aBridge, "NETFILTER_DROP", "nf_hook_slow")
	}, want: []verdict{{Outcome: OutcomeRejected, Detail: "ICMP administratively prohibited", Attempts: 1, Legs: []string{
		"query 1: drop node-a/cni0 FORWARD NETFILTER_DROP in nf_hook_slow hook FORWARD confirm false",
	}}}},
	{name: "ICMP to the tunnel's end does not reject", scene: func(s *scene) {
		s.ask().leavePod().translate().forward().encapsulate().crossWire().icmp(bEth0, 3, 3).drop(bEth0, "NO_SOCKET", "__udp4_lib_rcv")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: NO_SOCKET in __udp4_lib_rcv: no socket takes it", Attempts: 1, Legs: []string{
		"query 1: drop node-b/eth0 NO_SOCKET in __udp4_lib_rcv",
	}}}},
	{name: "fragmentation needed does not reject", scene: func(s *scene) {
		s.ask().leavePod().translate().icmp(aBridge, 3, 4).drop(aBridge, "PKT_TOO_BIG", "ip_forward")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: PKT_TOO_BIG in ip_forward: it is too big for its way (MTU)", Attempts: 1, Legs: []string{
		"query 1: drop node-a/cni0 PKT_TOO_BIG in ip_forward",
	}}}},
	{name: "socket full", scene: func(s *scene) {
		s.ask().leavePod().translate().forward().encapsulate().crossWire().decapsulate().enterServer().
			see(ProbeUDPFail, place{ns: nsDNS}, func(e *Event) { e.Errno = 12 }).drop(place{ns: nsDNS}, "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: SOCKET_RCVBUFF in udp_queue_rcv_one_skb: the socket's receive buffer is full", Attempts: 1, Legs: []string{
		"query 1: drop dns/ SOCKET_RCVBUFF in udp_queue_rcv_one_skb errno 12",
	}}}},
	{name: "copy dropped, the packet went on", scene: func(s *scene) {
		q := s.ask().leavePod().drop(aVeth, "UNHANDLED_PROTO", "__netif_receive_skb_core")
		q.translate().forward().encapsulate().crossWire().decapsulate().enterServer().read(dnsEth0, 99, "coredns")
		q.reply().leaveServer().drop(bEth0, "UNHANDLED_PROTO", "__netif_receive_skb_core").
			enterNodeA(service).untranslate(service).enterPod().read(podEth0, 4242, "dig")
	}, want: []verdict{answered}},
	{name: "copy dropped, the packet went on under another identity", scene: func(s *scene) {
		q := s.ask().leavePod().drop(aVeth, "UNHANDLED_PROTO", "__netif_receive_skb_core").translate()
		q.loseIdentity().forward().encapsulate().crossWire().decapsulate().enterServer().read(dnsEth0, 99, "coredns")
		q.reply().toClient()
	}, want: []verdict{answered}},
	{name: "copy freed after the query was read", scene: func(s *scene) {
		q := s.ask().toServer().loseIdentity().drop(bVeth, "UNHANDLED_PROTO", "__netif_receive_skb_core")
		q.reply().toClient()
	}, want: []verdict{{Outcome: OutcomeAnswered, Attempts: 1, Legs: []string{
		"query 1: drop node-b/veth1 UNHANDLED_PROTO in __netif_receive_skb_core", replyRead,
	}}}},

	{name: "reply not translated back", scene: func(s *scene) {
		r := s.ask().toServer().reply().leaveServer().enterNodeA(service).hooks(aBridge, HookPostrouting).tx(aBridge).tx(aVeth)
		r.ct = nil
		r.enterPod().icmp(podEth0, 3, 3).drop(podEth0, "NO_SOCKET", "__udp4_lib_rcv")
	}, want: []verdict{{
		Outcome: OutcomeUnexpectedSource, Detail: "the reply came from 10.244.2.53:53, the client had asked 10.96.0.10:53", Attempts: 1,
		Legs: []string{queryRead, "reply 1: drop pod/eth0 NO_SOCKET in __udp4_lib_rcv"},
	}}},
	{name: "reply not translated back, read by an unconnected socket", scene: func(s *scene) {
		r := s.ask().toServer().reply().leaveServer().enterNodeA(service).hooks(aBridge, HookPostrouting).tx(aBridge).tx(aVeth)
		r.ct = nil
		r.enterPod().read(podEth0, 4242, "dig")
	}, want: []verdict{{
		Outcome: OutcomeUnexpectedSource, Detail: "the reply came from 10.244.2.53:53, the client had asked 10.96.0.10:53", Attempts: 1,
		Legs: []string{queryRead, replyRead},
	}}},
	{name: "reply not translated back, its end unseen", scene: func(s *scene) {
		r := s.ask().toServer().reply().leaveServer().enterNodeA(service).hooks(aBridge, HookPostrouting).tx(aBridge).tx(aVeth)
		r.ct = nil
		r.enterPod()
	}, want: []verdict{{
		Outcome: OutcomeLost, Detail: "a reply was on its way and did not arrive", Attempts: 1,
		Legs: []string{queryRead, "reply 1: hook pod/eth0 INPUT"},
	}}},
	{name: "reply dropped", scene: func(s *scene) {
		s.ask().toServer().reply().leaveServer().enterNodeA(service).inHook().drop(aTunnel, "NETFILTER_DROP", "nf_hook_slow")
	}, want: []verdict{{
		Outcome: OutcomeDropped, Detail: "the reply: NETFILTER_DROP in nf_hook_slow (FORWARD)", Attempts: 1,
		Legs: []string{queryRead, "reply 1: drop node-a/flannel.1 FORWARD NETFILTER_DROP in nf_hook_slow hook FORWARD confirm false"},
	}}},
	{name: "reply dropped in the client's namespace", scene: func(s *scene) {
		s.ask().toServer().reply().leaveServer().enterNodeA(service).untranslate(service).enterPod().drop(podEth0, "UDP_CSUM", "udp_queue_rcv_one_skb")
	}, want: []verdict{{
		Outcome: OutcomeDropped, Detail: "the reply: UDP_CSUM in udp_queue_rcv_one_skb: its UDP checksum is wrong", Attempts: 1,
		Legs: []string{queryRead, "reply 1: drop pod/eth0 UDP_CSUM in udp_queue_rcv_one_skb"},
	}}},
	{name: "node's own lookup", scene: func(s *scene) {
		r, q := nodeLookup(s)
		r.ct = q.ct
		r.nat(aEth0, HookInput, func(p *packet) { p.src = service }).read(aSocket, 4242, "dig")
	}, want: []verdict{{
		Outcome: OutcomeAnswered, Attempts: 1,
		Legs: []string{"query 1: tx node-a/eth0", "reply 1: read node-a/ dig[4242]"},
	}}},
	{name: "node's own lookup, reply dropped before it was translated back", scene: func(s *scene) {
		r, _ := nodeLookup(s)
		r.inHook().drop(aEth0, "NETFILTER_DROP", "nf_hook_slow")
	}, want: []verdict{{
		Outcome: OutcomeDropped, Detail: "the reply: NETFILTER_DROP in nf_hook_slow (PREROUTING)", Attempts: 1,
		Legs: []string{"query 1: tx node-a/eth0", "reply 1: drop node-a/eth0 PREROUTING NETFILTER_DROP in nf_hook_slow hook PREROUTING confirm false"},
	}}},
	{name: "node's own lookup, reply dropped by the reverse path filter", scene: func(s *scene) {
		r, _ := nodeLookup(s)
		r.drop(aEth0, "IP_RPFILTER", "ip_rcv_finish_core")
	}, want: []verdict{{
		Outcome: OutcomeDropped, Detail: "the reply: IP_RPFILTER in ip_rcv_finish_core: reverse path filtering (rp_filter) refused its source", Attempts: 1,
		Legs: []string{"query 1: tx node-a/eth0", "reply 1: drop node-a/eth0 IP_RPFILTER in ip_rcv_finish_core"},
	}}},
	{name: "node's own lookup, reply not translated back", scene: func(s *scene) {
		r, _ := nodeLookup(s)
		r.hooks(aEth0, HookInput).drop(aEth0, "", "__udp4_lib_rcv")
	}, want: []verdict{{
		Outcome: OutcomeUnexpectedSource, Detail: "the reply came from 10.244.2.53:53, the client had asked 10.96.0.10:53", Attempts: 1,
		Legs: []string{"query 1: tx node-a/eth0", "reply 1: drop node-a/eth0 in __udp4_lib_rcv"},
	}}},
	{name: "answered by the second copy of a reply", scene: func(s *scene) {
		q := s.ask().toServer()
		q.reply().leaveServer().drop(bEth0, "QDISC_DROP", "__dev_queue_xmit")
		q.reply().toClient()
	}, want: []verdict{{Outcome: OutcomeAnswered, Attempts: 1, Legs: []string{
		queryRead, "reply 1: drop node-b/eth0 QDISC_DROP in __dev_queue_xmit", replyRead,
	}}}},

	{name: "lost beyond the node", scene: func(s *scene) {
		s.ask().leavePod().translate().forward().encapsulate()
	}, want: []verdict{{Outcome: OutcomeLost, Detail: "no reply was seen", Attempts: 1, Legs: []string{"query 1: tx node-a/eth0"}}}},
	{name: "server silent", scene: func(s *scene) { s.ask().toServer() }, want: []verdict{{
		Outcome: OutcomeLost, Detail: "the server read the query and sent no reply", Attempts: 1, Legs: []string{queryRead},
	}}},
	{name: "reply lost on the wire", scene: func(s *scene) { s.ask().toServer().reply().leaveServer() }, want: []verdict{{
		Outcome: OutcomeLost, Detail: "a reply was on its way and did not arrive", Attempts: 1,
		Legs: []string{queryRead, "reply 1: tx node-b/eth0"},
	}}},
	{name: "reply without a query", scene: func(s *scene) { s.ask().reply().leaveServer() }, want: []verdict{{
		Outcome: OutcomeIncomplete, Detail: "its query was not seen", Incomplete: true, Legs: []string{"reply 0: tx node-b/eth0"},
	}}},
	{name: "end of a packet that was never on its way", scene: func(s *scene) {
		s.ask().drop(aVeth, "NO_SOCKET", "__udp4_lib_rcv")
		s.ask().consume(aVeth, "skb_consume_udp")
		s.ask().see(ProbeRead, podEth0)
	}},

	{name: "read, by a free in softirq after INPUT", scene: func(s *scene) {
		q := s.ask().leavePod().translate().forward().encapsulate().crossWire().decapsulate().enterServer().consume(dnsEth0, "skb_defer_free_flush")
		q.reply().toClient()
	}, want: []verdict{{Outcome: OutcomeAnswered, Attempts: 1, Legs: []string{"query 1: read dns/eth0 inferred", replyRead}}}},
	{name: "not read, by a free in softirq after transmission", scene: func(s *scene) {
		s.ask().leavePod().translate().forward().encapsulate().consume(aEth0, "skb_defer_free_flush")
	}, want: []verdict{{Outcome: OutcomeLost, Detail: "no reply was seen", Attempts: 1, Legs: []string{"query 1: tx node-a/eth0"}}}},
	{name: "queued to a device whose driver never had it", scene: func(s *scene) {
		s.ask().leavePod().translate().device(ProbeNetDevQueue, aTunnel)
	}, want: []verdict{{Outcome: OutcomeLost, Detail: "no reply was seen", Attempts: 1, Legs: []string{"query 1: tx node-a/flannel.1 queued"}}}},
	{name: "forwarding loop", scene: func(s *scene) {
		q := s.ask().leavePod().translate()
		for q.ttl > 1 {
			q.ttl--
			q.hooks(aBridge, HookForward, HookPostrouting).tx(aEth0).rx(aEth0).hooks(aEth0, HookPrerouting)
		}
		q.icmp(aEth0, 11, 0).drop(aEth0, "IP_INHDR", "ip_forward")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: IP_INHDR in ip_forward: its IP header is wrong, or its hop limit is used up", Attempts: 1, Legs: []string{
		"query 1: drop node-a/eth0 IP_INHDR in ip_forward",
	}}}},
	{name: "forwarding loop without identity", scene: func(s *scene) {
		q := s.ask().leavePod().translate()
		for q.ttl > 1 {
			q.ttl--
			q.loseIdentity().tx(aEth0).rx(aEth0)
		}
		q.drop(aEth0, "IP_INHDR", "ip_forward")
	}, want: []verdict{{Outcome: OutcomeDropped, Detail: "the query: IP_INHDR in ip_forward: its IP header is wrong, or its hop limit is used up", Attempts: 1, Legs: []string{
		"query 1: drop node-a/eth0 IP_INHDR in ip_forward",
	}}}},
	{name: "evicted for the events of many", opts: CorrelatorOptions{MaxEvents: 8}, scene: func(s *scene) {
		for i := range uint16(3) {
			s.query(webPod, service, i+1, "a.example.test.", dns.TypeA).leavePod() // four events
		}
	}, want: []verdict{
		{
			Outcome: OutcomeIncomplete, Detail: "no reply was seen, but events were lost", Attempts: 1, Incomplete: true,
			Legs: []string{"query 1: rx node-a/veth1"},
		},
		{Outcome: OutcomeLost, Detail: "no reply was seen", Attempts: 1, Legs: []string{"query 1: rx node-a/veth1"}},
		{Outcome: OutcomeLost, Detail: "no reply was seen", Attempts: 1, Legs: []string{"query 1: rx node-a/veth1"}},
	}},
	{name: "evicted", opts: CorrelatorOptions{MaxLookups: 2}, scene: func(s *scene) {
		for i := range uint16(3) {
			s.query(webPod, service, i+1, "a.example.test.", dns.TypeA).leavePod()
		}
	}, want: []verdict{
		{
			Outcome: OutcomeIncomplete, Detail: "no reply was seen, but events were lost", Attempts: 1, Incomplete: true,
			Legs: []string{"query 1: rx node-a/veth1"},
		},
		{Outcome: OutcomeLost, Detail: "no reply was seen", Attempts: 1, Legs: []string{"query 1: rx node-a/veth1"}},
		{Outcome: OutcomeLost, Detail: "no reply was seen", Attempts: 1, Legs: []string{"query 1: rx node-a/veth1"}},
	}},
}

// inHook puts p back into the hook that it entered last: the hook's rules are
// not through with it.
func (p *packet) inHook() *packet {
	p.left = false
	return p
}

// nodeLookup is a lookup by a process of the node itself, which OUTPUT
// translates; it returns the reply as it is after PREROUTING, and the query.
func nodeLookup(s *scene) (reply, query *packet) {
	q := s.query(nodeAddr, service, 4711, "a.example.test.", dns.TypeA)
	q.nat(aEth0, HookOutput, func(p *packet) {
		p.dst = backend
		p.ct = &Conntrack{Info: 2, Orig: Flow{nodeAddr, service}, Reply: Flow{backend, nodeAddr}}
	})
	q.hooks(aEth0, HookPostrouting).tx(aEth0)
	return q.reply().rx(aEth0).hooks(aEth0, HookPrerouting), q
}

func TestVerdict(t *testing.T) {
	for _, tt := range verdictTests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.scene(s)
			if diff := gocmp.Diff(tt.want, verdictsOf(correlate(t, tt.opts, s.events))); diff != "" {
				t.Errorf("lookups (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReorder holds that events within the reorder window may come in any order.
func TestReorder(t *testing.T) {
	for _, tt := range verdictTests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.scene(s)
			want := correlate(t, tt.opts, s.events)
			for seed := range uint64(5) {
				got := correlate(t, tt.opts, shuffle(s.events, seed, 8*time.Millisecond))
				if diff := gocmp.Diff(want, got, compareAddrs); diff != "" {
					t.Errorf("seed %d: lookups (-in order +shuffled):\n%s", seed, diff)
				}
			}
		})
	}
}

// shuffle delays each event by up to window, and returns them in that order.
func shuffle(events []*Event, seed uint64, window time.Duration) []*Event {
	type delayed struct {
		*Event
		at uint64
	}
	random := rand.New(rand.NewPCG(seed, 1))
	var late []delayed
	for _, e := range events {
		late = append(late, delayed{e, e.Time + random.Uint64N(uint64(window))})
	}
	slices.SortStableFunc(late, func(a, b delayed) int { return cmp.Compare(a.at, b.at) })
	out := make([]*Event, len(late))
	for i, d := range late {
		out[i] = d.Event
	}
	return out
}

// feed gives a scene's events to a Correlator of its own, whose lookups are in
// the slice that is returned.
func feed(s *scene, opts CorrelatorOptions) (*Correlator, *[]*Lookup) {
	done := new([]*Lookup)
	c := NewCorrelator(opts, func(l *Lookup) { *done = append(*done, l) })
	for _, e := range s.events {
		c.Add(e)
	}
	return c, done
}

// TestHandOut holds when a lookup is handed out: soon after its answer, else
// when its time is up.
func TestHandOut(t *testing.T) {
	opts := CorrelatorOptions{Timeout: time.Second, Linger: 50 * time.Millisecond, Reorder: time.Millisecond}
	tests := []struct {
		name  string
		scene func(s *scene)
		open  time.Duration // still open so long after the last event
		gone  time.Duration // handed out so long after it
	}{
		{"answered", func(s *scene) { s.whole(s.ask()) }, 45 * time.Millisecond, 55 * time.Millisecond},
		{"lost", func(s *scene) { s.ask().leavePod() }, time.Second, 1110 * time.Millisecond},
		{"retried", func(s *scene) {
			s.ask().leavePod()
			s.pass(time.Second)
			s.ask().leavePod()
		}, time.Second, 1110 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.scene(s)
			c, done := feed(s, opts)
			c.Advance(s.now + uint64(tt.open))
			if len(*done) != 0 || c.Open() != 1 {
				t.Errorf("%d handed out, %d open after %v, want none and 1", len(*done), c.Open(), tt.open)
			}
			c.Advance(s.now + uint64(tt.gone))
			if len(*done) != 1 || c.Open() != 0 {
				t.Errorf("%d handed out, %d open after %v, want 1 and none", len(*done), c.Open(), tt.gone)
			}
		})
	}
}

func TestTraceCutShort(t *testing.T) {
	tests := []struct {
		name  string
		scene func(s *scene)
		want  verdict
	}{
		{"under way", func(s *scene) { s.ask().leavePod() }, verdict{
			Outcome: OutcomeIncomplete, Detail: "the trace ended before its time was up", Attempts: 1, Incomplete: true,
			Legs: []string{"query 1: rx node-a/veth1"},
		}},
		{"dropped already", func(s *scene) { s.ask().leavePod().drop(aVeth, "IP_RPFILTER", "ip_rcv_finish_core") }, verdict{
			Outcome: OutcomeDropped, Detail: "the query: IP_RPFILTER in ip_rcv_finish_core: reverse path filtering (rp_filter) refused its source", Attempts: 1,
			Legs: []string{"query 1: drop node-a/veth1 IP_RPFILTER in ip_rcv_finish_core"},
		}},
		{"answered already", func(s *scene) { s.whole(s.ask()) }, answered},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.scene(s)
			c, done := feed(s, CorrelatorOptions{})
			c.Flush()
			if diff := gocmp.Diff([]verdict{tt.want}, verdictsOf(*done)); diff != "" {
				t.Errorf("lookups (-want +got):\n%s", diff)
			}
			wantEmpty(t, c)
		})
	}
}

// TestLost holds what lost events do to the lookups of their time.
func TestLost(t *testing.T) {
	silent := func(s *scene) { s.ask().leavePod().translate().forward().encapsulate() }
	answer := func(s *scene) { s.whole(s.ask()) }
	patient := func(s *scene) {
		for range 4 {
			silent(s)
			s.pass(5 * time.Second)
		}
	}
	const ms = uint64(time.Millisecond)
	tests := []struct {
		name       string
		scene      func(s *scene)
		from, to   uint64 // of the gap, ns from the first event
		outcome    Outcome
		incomplete bool
	}{
		{"answered, gap at its start", answer, 0, 0, OutcomeAnswered, true},
		{"answered, gap within", answer, 100_000, 200_000, OutcomeAnswered, true},
		{"answered, gap after", answer, 20 * ms, 30 * ms, OutcomeAnswered, false},
		{"lost, gap after the query", silent, 20 * ms, 30 * ms, OutcomeIncomplete, true},
		{"lost, gap beyond its time", silent, 6000 * ms, 6001 * ms, OutcomeLost, false},
		{"lost after retries, gap at the first attempt", patient, 20 * ms, 30 * ms, OutcomeIncomplete, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.scene(s)
			var done []*Lookup
			c := NewCorrelator(CorrelatorOptions{}, func(l *Lookup) { done = append(done, l) })
			c.Lost(sceneStart+tt.from, sceneStart+tt.to)
			for _, e := range s.events {
				c.Add(e)
				c.Advance(0)
			}
			for end := s.now + 10_000*ms; s.now < end; s.now += 50 * ms {
				c.Advance(s.now)
			}
			if len(done) != 1 {
				t.Fatalf("%d lookups, want 1", len(done))
			}
			if l := done[0]; l.Outcome != tt.outcome || l.Incomplete != tt.incomplete || (len(l.Why) > 0) != tt.incomplete {
				t.Errorf("outcome %s, incomplete %t (%q), want %s, %t", l.Outcome, l.Incomplete, l.Why, tt.outcome, tt.incomplete)
			}
		})
	}
}

// TestStragglers holds that what comes after a lookup was handed out starts no new one.
func TestStragglers(t *testing.T) {
	s := newScene()
	q := s.ask()
	q.toServer()
	r := q.reply().toClient()
	c, done := feed(s, CorrelatorOptions{})
	c.Advance(s.now + uint64(time.Minute))
	if len(*done) != 1 {
		t.Fatalf("%d lookups, want 1", len(*done))
	}
	s.pass(time.Minute)
	s.events = nil
	q.tx(bVeth)
	r.drop(podEth0, "UNHANDLED_PROTO", "__netif_receive_skb_core")
	q.reply().leaveServer() // a second reply, of an identity not seen before
	n := uint64(len(s.events))
	for _, e := range s.events {
		c.Add(e)
	}
	c.Flush()
	if len(*done) != 1 {
		t.Errorf("stragglers made %d lookups: %+v", len(*done)-1, verdictsOf((*done)[1:]))
	}
	if got := c.Counters().Stragglers; got != n {
		t.Errorf("%d stragglers counted, want %d", got, n)
	}
	wantEmpty(t, c)
}

// TestReadLate holds that a reply to an earlier lookup, which the client reads while it
// waits for another from the same port with the same ID, is not taken for that one's.
func TestReadLate(t *testing.T) {
	for _, known := range []bool{true, false} {
		s := newScene()
		first, again := s.ask(), s.ask()
		first.toServer()
		again.toServer()
		first.reply().toClient()
		s.pass(time.Second)
		late := again.reply().leaveServer().enterNodeA(service).untranslate(service).enterPod()
		next := s.query(webPod, service, 4711, "b.example.test.", dns.TypeA)
		next.toServer()
		if !known {
			late.id = s.id()
		}
		late.read(podEth0, 4242, "dig")
		next.reply().toClient()
		want := []verdict{
			{Outcome: OutcomeAnswered, Attempts: 2, Legs: []string{queryRead, "query 2: read dns/ coredns[99]", "reply 2: read pod/ dig[4242]"}},
			answered,
		}
		if diff := gocmp.Diff(want, verdictsOf(correlateLive(t, s.events))); diff != "" {
			t.Errorf("identity known: %v: lookups (-want +got):\n%s", known, diff)
		}
	}
}

// TestLate holds that an event which is too late for the reorder window is
// counted, and does not lie before the start of its lookup.
func TestLate(t *testing.T) {
	s := newScene()
	s.whole(s.ask())
	first := s.events[0]
	events := append(slices.Clone(s.events[1:]), first)
	var done []*Lookup
	c := NewCorrelator(CorrelatorOptions{Reorder: time.Nanosecond}, func(l *Lookup) { done = append(done, l) })
	for _, e := range events {
		c.Add(e)
	}
	c.Flush()
	if got := c.Counters().Late; got != 1 {
		t.Errorf("%d late events counted, want 1", got)
	}
	if len(done) != 1 {
		t.Fatalf("%d lookups, want 1", len(done))
	}
	if done[0].Start != first.Time {
		t.Errorf("lookup starts at %d, its first event was at %d", done[0].Start, first.Time)
	}
	if diff := gocmp.Diff(map[string][]string{"query 1": wholeQuery, "reply 1": wholeReply}, legsOf(done[0])); diff != "" {
		t.Errorf("hops (-want +got):\n%s", diff)
	}
}

// TestBounds holds that what is beyond the bounds of one lookup is counted, and
// leaves nothing behind.
func TestBounds(t *testing.T) {
	tests := []struct {
		name  string
		scene func(s *scene)
	}{
		{"events of a leg", func(s *scene) {
			q := s.ask()
			for i := range uint32(maxLegEvents) {
				q.device(ProbeNetDevQueue, place{nsNodeA, i, "veth"})
			}
			q.tx(bEth0)
		}},
		{"legs", func(s *scene) {
			for range maxLegs + 5 {
				s.ask().leavePod()
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.scene(s)
			c, done := feed(s, CorrelatorOptions{})
			c.Advance(s.now + uint64(time.Minute))
			wantEmpty(t, c)
			if len(*done) != 1 {
				t.Fatalf("%d lookups, want 1", len(*done))
			}
			if l := (*done)[0]; !l.Incomplete || l.Outcome != OutcomeIncomplete {
				t.Errorf("outcome %s, incomplete %t, want it to be incomplete", l.Outcome, l.Incomplete)
			}
			if c.Counters().Cut == 0 {
				t.Error("nothing was counted as cut")
			}
		})
	}
}

// TestBeyondLegs holds that a leg which was not kept outlives its lookup in no way.
func TestBeyondLegs(t *testing.T) {
	s := newScene()
	var q *packet
	for range maxLegs {
		q = s.ask().leavePod().translate()
	}
	r := q.reply().leaveServer() // the first leg that is not kept
	c, done := feed(s, CorrelatorOptions{})
	c.Advance(s.now + uint64(time.Minute))
	if len(*done) != 1 {
		t.Fatalf("%d lookups, want 1", len(*done))
	}
	s.pass(time.Minute)
	s.events = nil
	r.enterNodeA(service).untranslate(service).enterPod().read(podEth0, 4242, "dig")
	for _, e := range s.events {
		c.Add(e)
	}
	c.Flush()
	if len(*done) != 1 {
		t.Errorf("%d lookups after the reply, want 1", len(*done))
	}
	wantEmpty(t, c)
}

// TestProcess holds which process a lookup belongs to: the one that reads the
// reply, else the one that sent the query.
func TestProcess(t *testing.T) {
	s := newScene()
	s.ask().toServer()
	l := correlate(t, CorrelatorOptions{}, s.events)[0]
	if got := fmt.Sprintf("%s[%d]", l.Comm, l.PID); got != "dig[4242]" {
		t.Errorf("without a reply it belongs to %s", got)
	}
	s = newScene()
	s.ask().toServer().reply().leaveServer().enterNodeA(service).untranslate(service).enterPod().read(podEth0, 77, "thread")
	l = correlate(t, CorrelatorOptions{}, s.events)[0]
	if got := fmt.Sprintf("%s[%d]", l.Comm, l.PID); got != "thread[77]" {
		t.Errorf("with a reply it belongs to %s", got)
	}
}
