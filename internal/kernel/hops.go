package kernel

import (
	"slices"

	"github.com/cilium/ebpf"

	"github.com/dnspath/dnspath/gen"
)

// Kind is a way of observing a hop.
type Kind string

// The ways, each with what it needs from the kernel.
const (
	KindTracepoint Kind = "tracepoint" // BTF-typed tracepoint (tp_btf, 5.5)
	KindNetfilter  Kind = "nf-link"    // BPF link on a netfilter hook (6.4)
	KindTCX        Kind = "tcx"        // BPF link on a device's tc hook (6.6)

	// KindFunction is a probe on a kernel function, in whichever of the next
	// three ways the running kernel has: see Backend.
	KindFunction    Kind = "function"
	KindKprobeMulti Kind = "kprobe-multi" // fprobe (5.18)
	KindKprobe      Kind = "kprobe"
	KindFentry      Kind = "fentry" // BPF trampolines (5.5), of modules 5.11
)

// Hop is a row of the table of hops: a place on a packet's way, and one program
// that observes it. A hop seen by several programs has several rows.
type Hop struct {
	Name    string           // as in exports
	Layer   string           // socket, bridge, ip, netfilter, ipvs, tunnel, device, tc, end
	Kind    Kind             // how it is observed
	Program string           // name of the program in the object; of functions, the function's
	Target  string           // what it attaches to
	Sees    string           // for people
	Probe   gen.DnspathProbe // what its events say

	module string              // that a function lives in, unless the kernel has it built in
	unless string              // the program that makes this one superfluous
	attach ebpf.AttachType     // tcx only
	call   gen.DnspathFunction // functions only: what its arguments are
}

// function makes the row of a kernel function.
func function(name, layer, symbol, module, sees string, probe gen.DnspathProbe, call gen.DnspathFunction) Hop {
	return Hop{Name: name, Layer: layer, Kind: KindFunction, Program: symbol, Target: symbol, module: module,
		Sees: sees, Probe: probe, call: call}
}

// The flags of struct function (bpf/facts.h), shorter.
const (
	entry        = uint16(gen.DnspathFunctionFlagFN_ENTRY)
	returns      = uint16(gen.DnspathFunctionFlagFN_RETURN)
	unlessAccept = uint16(gen.DnspathFunctionFlagFN_UNLESS_ACCEPT)
	unless0      = uint16(gen.DnspathFunctionFlagFN_UNLESS_0)
	creates      = uint16(gen.DnspathFunctionFlagFN_CREATES)
	rewrites     = uint16(gen.DnspathFunctionFlagFN_REWRITES)
	conntrack    = uint16(gen.DnspathFunctionFlagFN_CONNTRACK)
	pointer      = uint16(gen.DnspathFunctionFlagFN_POINTER)
	staleDev     = uint16(gen.DnspathFunctionFlagFN_STALE_DEV)
	route        = uint16(gen.DnspathFunctionFlagFN_ROUTE)
	caller       = uint16(gen.DnspathFunctionFlagFN_CALLER)
	nftChain     = uint16(gen.DnspathFunctionFlagFN_NFT)
	neighbour    = uint16(gen.DnspathFunctionFlagFN_NEIGH)
	port         = uint16(gen.DnspathFunctionFlagFN_PORT)
)

// hops is the table, in the order of a packet's way. The arguments of functions
// are those of net/ in 5.10 to 7.2; where they changed, configure knows.
var hops = []Hop{
	function("send", "socket", "ip_send_skb", "", "sent by a process", gen.DnspathProbePROBE_IP_SEND_SKB,
		gen.DnspathFunction{Flags: entry | caller | route, Skb: 2}),
	function("send", "socket", "ip6_send_skb", "", "sent by a process", gen.DnspathProbePROBE_IP6SEND_SKB,
		gen.DnspathFunction{Flags: entry | caller | route, Skb: 1}),
	{Name: "tx", Layer: "device", Kind: KindTracepoint, Program: "net_dev_queue", Target: "net_dev_queue",
		Sees: "handed to a device", Probe: gen.DnspathProbePROBE_NET_DEV_QUEUE},
	{Name: "qdisc", Layer: "device", Kind: KindTracepoint, Program: "qdisc_enqueue", Target: "qdisc_enqueue",
		Sees: "put into a device's qdisc", Probe: gen.DnspathProbePROBE_QDISC_ENQUEUE},
	{Name: "tx", Layer: "device", Kind: KindTracepoint, Program: "net_dev_start_xmit", Target: "net_dev_start_xmit",
		Sees: "handed to its driver", Probe: gen.DnspathProbePROBE_NET_DEV_START_XMIT},
	{Name: "rx", Layer: "device", Kind: KindTracepoint, Program: "netif_rx", Target: "netif_rx",
		Sees: "put on a CPU's backlog", Probe: gen.DnspathProbePROBE_NETIF_RX},
	{Name: "rx", Layer: "device", Kind: KindTracepoint, Program: "netif_receive_skb", Target: "netif_receive_skb",
		Sees: "taken from a device", Probe: gen.DnspathProbePROBE_NETIF_RECEIVE_SKB},
	{Name: "tc-ingress", Layer: "tc", Kind: KindTCX, Program: "tc_ingress", Target: "tcx/ingress",
		Sees: "before the stack handles it", Probe: gen.DnspathProbePROBE_TC_INGRESS, attach: ebpf.AttachTCXIngress},
	{Name: "tc-egress", Layer: "tc", Kind: KindTCX, Program: "tc_egress", Target: "tcx/egress",
		Sees: "before a device's qdisc", Probe: gen.DnspathProbePROBE_TC_EGRESS, attach: ebpf.AttachTCXEgress},
	function("bridge", "bridge", "br_handle_frame", "bridge", "taken by a bridge from its port",
		gen.DnspathProbePROBE_BR_HANDLE_FRAME, gen.DnspathFunction{Flags: entry | pointer, Skb: 1}),
	function("bridge-nf", "bridge", "br_nf_pre_routing", "br_netfilter", "handed to iptables, or not",
		gen.DnspathProbePROBE_BR_NF_PRE_ROUTING, gen.DnspathFunction{Flags: returns, Skb: 2}),
	function("bridge-forward", "bridge", "__br_forward", "bridge", "sent on by a bridge to a port",
		gen.DnspathProbePROBE_BR_FORWARD, gen.DnspathFunction{Flags: entry | port, Skb: 2}),
	function("bridge-up", "bridge", "br_pass_frame_up", "bridge", "passed up by a bridge to its own device",
		gen.DnspathProbePROBE_BR_PASS_FRAME_UP, gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("ip-in", "ip", "ip_rcv_core", "", "received as IPv4", gen.DnspathProbePROBE_IP_RCV_CORE,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("ip-in", "ip", "ip6_rcv_core", "", "received as IPv6", gen.DnspathProbePROBE_IP6RCV_CORE,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("hook", "netfilter", "nf_hook_slow", "", "entering a hook, and its verdict", gen.DnspathProbePROBE_NF_HOOK_SLOW,
		gen.DnspathFunction{Flags: entry | returns | unlessAccept, Skb: 1, State: 2}),
	{Name: "hook", Layer: "netfilter", Kind: KindNetfilter, Program: "nf_enter", Target: "first in each hook",
		Sees: "entering a hook", Probe: gen.DnspathProbePROBE_NF_ENTER, unless: "nf_hook_slow"},
	{Name: "nat", Layer: "netfilter", Kind: KindNetfilter, Program: "nf_leave", Target: "last in each hook",
		Sees: "rewritten by a hook", Probe: gen.DnspathProbePROBE_NF_LEAVE, unless: "nf_hook_slow"},
	function("conntrack", "netfilter", "nf_conntrack_in", "nf_conntrack", "looked up in conntrack, and its state",
		gen.DnspathProbePROBE_NF_CONNTRACK_IN, gen.DnspathFunction{Flags: returns | conntrack, Skb: 1, State: 2}),
	function("iptables", "netfilter", "ipt_do_table", "ip_tables", "table of iptables, and its verdict",
		gen.DnspathProbePROBE_IPT_DO_TABLE, gen.DnspathFunction{Flags: returns, Table: 1, Skb: 2, State: 3}),
	function("iptables", "netfilter", "ip6t_do_table", "ip6_tables", "table of ip6tables, and its verdict",
		gen.DnspathProbePROBE_IP6T_DO_TABLE, gen.DnspathFunction{Flags: returns, Table: 1, Skb: 2, State: 3}),
	function("nftables", "netfilter", "nft_do_chain", "nf_tables", "base chain of nftables, and its verdict",
		gen.DnspathProbePROBE_NFT_DO_CHAIN, gen.DnspathFunction{Flags: returns | pointer | nftChain, Skb: 1}),
	function("nat", "netfilter", "nf_nat_manip_pkt", "nf_nat", "rewritten by NAT", gen.DnspathProbePROBE_NF_NAT_MANIP_PKT,
		gen.DnspathFunction{Flags: returns | rewrites, Skb: 1}),
	function("confirm", "netfilter", "__nf_conntrack_confirm", "nf_conntrack", "entered into conntrack, or refused",
		gen.DnspathProbePROBE_NF_CONNTRACK_CONFIRM, gen.DnspathFunction{Flags: returns, Skb: 1}),
	function("ipvs", "ipvs", "ip_vs_in_hook", "ip_vs", "taken by IPVS", gen.DnspathProbePROBE_IP_VS_IN_HOOK,
		gen.DnspathFunction{Flags: returns | unlessAccept, Skb: 2, State: 3}),
	// Up to 5.13 there were four of it.
	function("ipvs", "ipvs", "ip_vs_remote_request4", "ip_vs", "taken by IPVS", gen.DnspathProbePROBE_IP_VS_REMOTE_REQUEST4,
		gen.DnspathFunction{Flags: returns | unlessAccept, Skb: 2, State: 3}),
	function("ipvs", "ipvs", "ip_vs_local_request4", "ip_vs", "taken by IPVS", gen.DnspathProbePROBE_IP_VS_LOCAL_REQUEST4,
		gen.DnspathFunction{Flags: returns | unlessAccept, Skb: 2, State: 3}),
	function("ipvs", "ipvs", "ip_vs_remote_request6", "ip_vs", "taken by IPVS", gen.DnspathProbePROBE_IP_VS_REMOTE_REQUEST6,
		gen.DnspathFunction{Flags: returns | unlessAccept, Skb: 2, State: 3}),
	function("ipvs", "ipvs", "ip_vs_local_request6", "ip_vs", "taken by IPVS", gen.DnspathProbePROBE_IP_VS_LOCAL_REQUEST6,
		gen.DnspathFunction{Flags: returns | unlessAccept, Skb: 2, State: 3}),
	function("ipvs-schedule", "ipvs", "ip_vs_schedule", "ip_vs", "given a real server, or none", gen.DnspathProbePROBE_IP_VS_SCHEDULE,
		gen.DnspathFunction{Flags: returns | creates, Skb: 2}),
	function("ipvs-nat", "ipvs", "ip_vs_nat_xmit", "ip_vs", "translated by IPVS and sent on", gen.DnspathProbePROBE_IP_VS_NAT_XMIT,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("ipvs-nat", "ipvs", "ip_vs_nat_xmit_v6", "ip_vs", "translated by IPVS and sent on", gen.DnspathProbePROBE_IP_VS_NAT_XMIT_V6,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("ipvs-route", "ipvs", "ip_vs_dr_xmit", "ip_vs", "sent on by IPVS as it is", gen.DnspathProbePROBE_IP_VS_DR_XMIT,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("ipvs-tunnel", "ipvs", "ip_vs_tunnel_xmit", "ip_vs", "sent on by IPVS in a tunnel", gen.DnspathProbePROBE_IP_VS_TUNNEL_XMIT,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("ipvs-reply", "ipvs", "handle_response", "ip_vs", "translated back by IPVS", gen.DnspathProbePROBE_HANDLE_RESPONSE,
		gen.DnspathFunction{Flags: returns | rewrites, Skb: 2}),
	function("deliver", "ip", "ip_local_deliver", "", "routed to this host", gen.DnspathProbePROBE_IP_LOCAL_DELIVER,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("deliver", "ip", "ip6_input", "", "routed to this host", gen.DnspathProbePROBE_IP6INPUT,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("forward", "ip", "ip_forward", "", "routed onwards: device, gateway", gen.DnspathProbePROBE_IP_FORWARD,
		gen.DnspathFunction{Flags: entry | route, Skb: 1}),
	function("forward", "ip", "ip6_forward", "", "routed onwards: device, gateway", gen.DnspathProbePROBE_IP6FORWARD,
		gen.DnspathFunction{Flags: entry | route, Skb: 1}),
	function("unroutable", "ip", "ip_error", "", "routed nowhere, and why", gen.DnspathProbePROBE_IP_ERROR,
		gen.DnspathFunction{Flags: entry | route, Skb: 1}),
	function("output", "ip", "ip_output", "", "on its way out", gen.DnspathProbePROBE_IP_OUTPUT,
		gen.DnspathFunction{Flags: entry | route, Skb: 3}),
	function("output", "ip", "ip6_output", "", "on its way out", gen.DnspathProbePROBE_IP6OUTPUT,
		gen.DnspathFunction{Flags: entry | route, Skb: 3}),
	function("neighbour", "ip", "__neigh_event_send", "", "waiting for its neighbour's address", gen.DnspathProbePROBE_NEIGH_EVENT_SEND,
		gen.DnspathFunction{Flags: returns | unless0 | neighbour, Skb: 2}),
	function("tunnel-out", "tunnel", "vxlan_xmit", "vxlan", "handed to a VXLAN device", gen.DnspathProbePROBE_VXLAN_XMIT,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("tunnel-out", "tunnel", "geneve_xmit", "geneve", "handed to a Geneve device", gen.DnspathProbePROBE_GENEVE_XMIT,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("tunnel-out", "tunnel", "ipgre_xmit", "ip_gre", "handed to a GRE device", gen.DnspathProbePROBE_IPGRE_XMIT,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("tunnel-out", "tunnel", "ip_tunnel_xmit", "ip_tunnel", "put into IPv4", gen.DnspathProbePROBE_IP_TUNNEL_XMIT,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("tunnel-out", "tunnel", "ip6_tnl_xmit", "ip6_tunnel", "put into IPv6", gen.DnspathProbePROBE_IP6TNL_XMIT,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("tunnel-out", "tunnel", "iptunnel_xmit", "", "given its outer IPv4 header", gen.DnspathProbePROBE_IPTUNNEL_XMIT,
		gen.DnspathFunction{Flags: entry, Skb: 3}),
	function("tunnel-in", "tunnel", "vxlan_rcv", "vxlan", "taken out of VXLAN", gen.DnspathProbePROBE_VXLAN_RCV,
		gen.DnspathFunction{Flags: entry, Skb: 2}),
	function("tunnel-in", "tunnel", "geneve_udp_encap_recv", "geneve", "taken out of Geneve", gen.DnspathProbePROBE_GENEVE_UDP_ENCAP_RECV,
		gen.DnspathFunction{Flags: entry, Skb: 2}),
	function("tunnel-in", "tunnel", "ipip_rcv", "ipip", "taken out of IPv4", gen.DnspathProbePROBE_IPIP_RCV,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("tunnel-in", "tunnel", "gre_rcv", "ip_gre", "taken out of GRE", gen.DnspathProbePROBE_GRE_RCV,
		gen.DnspathFunction{Flags: entry, Skb: 1}),
	function("socket", "socket", "__udp_enqueue_schedule_skb", "", "queued to a socket", gen.DnspathProbePROBE_UDP_ENQUEUE_SCHEDULE_SKB,
		gen.DnspathFunction{Flags: returns | staleDev, Skb: 2}),
	{Name: "socket", Layer: "socket", Kind: KindTracepoint, Program: "sk_data_ready", Target: "sk_data_ready",
		Sees: "queued to a socket", Probe: gen.DnspathProbePROBE_SK_DATA_READY},
	function("read", "socket", "skb_consume_udp", "", "read by a process", gen.DnspathProbePROBE_SKB_CONSUME_UDP,
		gen.DnspathFunction{Flags: entry | staleDev | caller, Skb: 2}),
	{Name: "read", Layer: "socket", Kind: KindTracepoint, Program: "skb_copy_datagram_iovec",
		Target: "skb_copy_datagram_iovec", Sees: "read by a process", Probe: gen.DnspathProbePROBE_SKB_COPY_DATAGRAM_IOVEC},
	{Name: "socket-full", Layer: "socket", Kind: KindTracepoint, Program: "udp_fail_queue_rcv_skb",
		Target: "udp_fail_queue_rcv_skb", Sees: "no room in the socket", Probe: gen.DnspathProbePROBE_UDP_FAIL_QUEUE_RCV_SKB},
	{Name: "socket-full", Layer: "socket", Kind: KindTracepoint, Program: "sock_rcvqueue_full",
		Target: "sock_rcvqueue_full", Sees: "receive queue full", Probe: gen.DnspathProbePROBE_SOCK_RCVQUEUE_FULL},
	{Name: "bad-checksum", Layer: "socket", Kind: KindTracepoint, Program: "tcp_bad_csum",
		Target: "tcp_bad_csum", Sees: "TCP checksum wrong", Probe: gen.DnspathProbePROBE_TCP_BAD_CSUM},
	{Name: "icmp", Layer: "ip", Kind: KindTracepoint, Program: "icmp_send", Target: "icmp_send",
		Sees: "answered by an ICMP error", Probe: gen.DnspathProbePROBE_ICMP_SEND},
	{Name: "drop", Layer: "end", Kind: KindTracepoint, Program: "kfree_skb", Target: "kfree_skb",
		Sees: "dropped: reason, function", Probe: gen.DnspathProbePROBE_KFREE_SKB},
	{Name: "read", Layer: "socket", Kind: KindTracepoint, Program: "consume_skb", Target: "consume_skb",
		Sees: "freed by its reader, or silently", Probe: gen.DnspathProbePROBE_CONSUME_SKB},
}

// required are the programs without which there is nothing to show.
var required = map[string]bool{"net_dev_queue": true, "netif_receive_skb": true, "kfree_skb": true}

// Hops returns the table of hops, in the order of a packet's way.
func Hops() []Hop { return slices.Clone(hops) }

// HopOf returns the row of the table that a probe's events belong to.
func HopOf(p gen.DnspathProbe) (Hop, bool) {
	if int(p) < len(byProbe) && byProbe[p] != nil {
		return *byProbe[p], true
	}
	return Hop{}, false
}

var byProbe = func() (rows [gen.DnspathProbePROBE_MAX]*Hop) {
	for i := range hops {
		rows[hops[i].Probe] = &hops[i]
	}
	return rows
}()
