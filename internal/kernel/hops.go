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
)

// Hop is a row of the table of hops: a place on a packet's way, and one program
// that observes it. A hop seen by several programs has several rows.
type Hop struct {
	Name    string           // as in exports
	Layer   string           // device, tc, netfilter, socket, ip, end
	Kind    Kind             // how it is observed
	Program string           // name of the program in the object
	Target  string           // what it attaches to
	Sees    string           // for people
	Probe   gen.DnspathProbe // what its events say
	attach  ebpf.AttachType  // tcx only
}

// hops is the table, in the order of a packet's way.
var hops = []Hop{
	{Name: "tx", Layer: "device", Kind: KindTracepoint, Program: "net_dev_queue", Target: "net_dev_queue",
		Sees: "handed to a device", Probe: gen.DnspathProbePROBE_NET_DEV_QUEUE},
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
	{Name: "hook", Layer: "netfilter", Kind: KindNetfilter, Program: "nf_enter", Target: "first in each hook",
		Sees: "entering a hook", Probe: gen.DnspathProbePROBE_NF_ENTER},
	{Name: "nat", Layer: "netfilter", Kind: KindNetfilter, Program: "nf_leave", Target: "last in each hook",
		Sees: "rewritten by a hook", Probe: gen.DnspathProbePROBE_NF_LEAVE},
	{Name: "socket", Layer: "socket", Kind: KindTracepoint, Program: "sk_data_ready", Target: "sk_data_ready",
		Sees: "queued to a socket", Probe: gen.DnspathProbePROBE_SK_DATA_READY},
	{Name: "read", Layer: "socket", Kind: KindTracepoint, Program: "skb_copy_datagram_iovec",
		Target: "skb_copy_datagram_iovec", Sees: "read by a process", Probe: gen.DnspathProbePROBE_SKB_COPY_DATAGRAM_IOVEC},
	{Name: "socket-full", Layer: "socket", Kind: KindTracepoint, Program: "udp_fail_queue_rcv_skb",
		Target: "udp_fail_queue_rcv_skb", Sees: "no room in the socket", Probe: gen.DnspathProbePROBE_UDP_FAIL_QUEUE_RCV_SKB},
	{Name: "socket-full", Layer: "socket", Kind: KindTracepoint, Program: "sock_rcvqueue_full",
		Target: "sock_rcvqueue_full", Sees: "receive queue full", Probe: gen.DnspathProbePROBE_SOCK_RCVQUEUE_FULL},
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
