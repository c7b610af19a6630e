package tracer

import "golang.org/x/sys/unix"

// dropLocation is a function that frees packets, and why it does.
type dropLocation struct {
	function string
	file     string   // of the kernel's source
	reasons  []string // that later kernels give there; several: any of them; none: they give none either
	meaning  string   // plain words; "one of" if there are several causes
}

// unspecified is the reason of a drop that nobody has given one yet.
const unspecified = "NOT_SPECIFIED"

// dropLocations are the functions that free DNS packets as kernels before 5.17
// have them (those give no reasons: the field came with c504e5c2f964), as far as
// a function says anything. Static functions that the compiler puts into others
// count there: udp4_csum_init is in __udp4_lib_rcv. A function has one reason
// only where every way to its kfree_skb() is the same failure.
var dropLocations = []dropLocation{
	// netfilter
	{"nf_hook_slow", "net/netfilter/core.c", []string{"NETFILTER_DROP"}, "a netfilter hook refused it"},
	{"nf_reinject", "net/netfilter/nf_queue.c", nil, "a program that packets are queued to (NFQUEUE) refused it"},
	{"br_nf_pre_routing_finish", "net/bridge/br_netfilter_hooks.c", nil, "in a bridge, one of: no route for where a rule sends it; the bridge has gone"},
	{"br_nf_dev_queue_xmit", "net/bridge/br_netfilter_hooks.c", nil, "in a bridge, one of: malformed; could not be fragmented"},

	// sockets
	{"__udp4_lib_rcv", "net/ipv4/udp.c", []string{"NO_SOCKET", "UDP_CSUM", "PKT_TOO_SMALL", "XFRM_POLICY"},
		"one of: no socket takes it; wrong UDP checksum; shorter than its header says; refused by an IPsec policy"},
	{"__udp6_lib_rcv", "net/ipv6/udp.c", []string{"NO_SOCKET", "UDP_CSUM", "PKT_TOO_SMALL", "XFRM_POLICY"},
		"one of: no socket takes it; wrong UDP checksum; shorter than its header says; refused by an IPsec policy"},
	{"udp_queue_rcv_one_skb", "net/ipv4/udp.c", []string{"SOCKET_RCVBUFF", "PROTO_MEM", "UDP_CSUM", "SOCKET_FILTER", "XFRM_POLICY"},
		"one of: the socket's receive buffer is full; no memory for UDP; wrong UDP checksum; refused by the socket's filter or an IPsec policy"},
	{"udpv6_queue_rcv_one_skb", "net/ipv6/udp.c", []string{"SOCKET_RCVBUFF", "PROTO_MEM", "UDP_CSUM", "SOCKET_FILTER", "XFRM_POLICY"},
		"one of: the socket's receive buffer is full; no memory for UDP; wrong UDP checksum; refused by the socket's filter or an IPsec policy"},
	{"__first_packet_length", "net/ipv4/udp.c", []string{"UDP_CSUM"}, "its UDP checksum is wrong"},
	{"udp_recvmsg", "net/ipv4/udp.c", []string{"UDP_CSUM", unspecified}, "one of: wrong UDP checksum; could not be copied to the process that reads"},
	{"udpv6_recvmsg", "net/ipv6/udp.c", []string{"UDP_CSUM", unspecified}, "one of: wrong UDP checksum; could not be copied to the process that reads"},
	{"tcp_v4_rcv", "net/ipv4/tcp_ipv4.c", []string{"NO_SOCKET", "TCP_CSUM", "PKT_TOO_SMALL", "SOCKET_FILTER", "XFRM_POLICY", unspecified},
		"one of: no socket takes it; wrong TCP checksum; malformed; refused by the socket's filter or an IPsec policy"},
	{"tcp_v6_rcv", "net/ipv6/tcp_ipv6.c", []string{"NO_SOCKET", "TCP_CSUM", "PKT_TOO_SMALL", "SOCKET_FILTER", "XFRM_POLICY", unspecified},
		"one of: no socket takes it; wrong TCP checksum; malformed; refused by the socket's filter or an IPsec policy"},
	{"tcp_v4_do_rcv", "net/ipv4/tcp_ipv4.c", []string{"TCP_CSUM", unspecified}, "one of: wrong TCP checksum; its connection refused it"},
	{"tcp_v6_do_rcv", "net/ipv6/tcp_ipv6.c", []string{"TCP_CSUM", unspecified}, "one of: wrong TCP checksum; its connection refused it"},

	// IP, received
	{"ip_rcv_core", "net/ipv4/ip_input.c", []string{"OTHERHOST", "IP_CSUM", "IP_INHDR", "PKT_TOO_SMALL", unspecified},
		"one of: the hardware address is another host's; wrong checksum of the IP header; malformed IP header; cut off"},
	{"ip6_rcv_core", "net/ipv6/ip6_input.c", []string{"OTHERHOST", "IPV6DISABLED", "IP_INHDR", "PKT_TOO_SMALL", unspecified},
		"one of: the hardware address is another host's; IPv6 is off on the device; malformed IPv6 header; cut off"},
	{"ip_rcv_finish_core", "net/ipv4/ip_input.c",
		[]string{"IP_RPFILTER", "UNICAST_IN_L2_MULTICAST", "IP_LOCAL_SOURCE", "IP_INVALID_SOURCE", "IP_LOCALNET", "IP_INVALID_DEST", unspecified},
		"one of: reverse path filtering (rp_filter) refused its source; its source or destination is impossible here (martian); bad IP options"},
	{"ip_error", "net/ipv4/route.c", []string{"IP_INNOROUTES", "IP_INADDRERRORS", unspecified},
		"one of: no route for it; this host does not forward (ip_forward); a route that forbids it (blackhole, unreachable, prohibit)"},
	{"ip6_pkt_drop", "net/ipv6/route.c", []string{"IP_INNOROUTES", "IP_OUTNOROUTES", "IP_INADDRERRORS", unspecified},
		"one of: no route for it; this host does not forward; a route that forbids it (unreachable, prohibit)"},
	{"dst_discard_out", "net/core/dst.c", nil, "one of: its route discards it (blackhole); its route was removed meanwhile"},
	{"ip_protocol_deliver_rcu", "net/ipv4/ip_input.c", []string{"IP_NOPROTO", "XFRM_POLICY"},
		"one of: nothing here takes its protocol; refused by an IPsec policy"},
	{"ip6_protocol_deliver_rcu", "net/ipv6/ip6_input.c", []string{"IP_NOPROTO", "XFRM_POLICY", unspecified},
		"one of: nothing here takes its protocol; bad extension headers; refused by an IPsec policy"},
	{"ip_defrag", "net/ipv4/ip_fragment.c", []string{"DUP_FRAG", "FRAG_TOO_FAR", "NOMEM", unspecified},
		"a fragment, one of: malformed, overlapping or there already; no memory to put it together"},
	{"ip_expire", "net/ipv4/ip_fragment.c", []string{"FRAG_REASM_TIMEOUT"}, "its other fragments did not come in time"},
	{"ip6_frag_expire", "net/ipv6/reassembly.c", []string{"FRAG_REASM_TIMEOUT"}, "its other fragments did not come in time"},

	// IP, forwarded and sent
	{"ip_forward", "net/ipv4/ip_forward.c", []string{"IP_INHDR", "PKT_TOO_BIG", "XFRM_POLICY", unspecified},
		"one of: its hop limit is used up; too big for its way (MTU); refused by an IPsec policy or by its options"},
	{"ip6_forward", "net/ipv6/ip6_output.c", []string{"IP_INHDR", "PKT_TOO_BIG", "XFRM_POLICY", "IP_INADDRERRORS", unspecified},
		"one of: its hop limit is used up; too big for its way (MTU); addresses that are not forwarded; refused by an IPsec policy"},
	{"ip_fragment", "net/ipv4/ip_output.c", nil, "it is too big for its way (MTU), and must not be fragmented (DF)"},
	{"ip_do_fragment", "net/ipv4/ip_output.c", nil, "one of: could not be fragmented; one of its fragments could not be sent"},
	{"ip6_fragment", "net/ipv6/ip6_output.c", []string{"PKT_TOO_BIG", unspecified}, "one of: too big for its way (MTU); could not be fragmented"},
	{"ip_finish_output", "net/ipv4/ip_output.c", []string{"BPF_CGROUP_EGRESS", "SKB_GSO_SEG", unspecified},
		"one of: refused by a BPF program of its sender's cgroup; could not be cut into segments"},
	{"ip6_finish_output", "net/ipv6/ip6_output.c", []string{"BPF_CGROUP_EGRESS", "SKB_GSO_SEG", unspecified},
		"one of: refused by a BPF program of its sender's cgroup; could not be cut into segments"},
	{"ip_finish_output2", "net/ipv4/ip_output.c", []string{"NEIGH_CREATEFAIL", "NOMEM"}, "one of: no neighbour entry could be made for its next hop; no memory"},
	{"ip6_finish_output2", "net/ipv6/ip6_output.c", []string{"NEIGH_CREATEFAIL", "NOMEM", unspecified},
		"one of: no neighbour entry could be made for its next hop; no memory; multicast that must stay on this host"},
	{"ip6_output", "net/ipv6/ip6_output.c", []string{"IPV6DISABLED", "BPF_CGROUP_EGRESS"},
		"one of: IPv6 is off on the device (disable_ipv6); refused by a BPF program of its sender's cgroup"},

	// neighbours
	{"arp_error_report", "net/ipv4/arp.c", []string{"NEIGH_FAILED"}, "its next hop does not answer ARP"},
	{"ndisc_error_report", "net/ipv6/ndisc.c", []string{"NEIGH_FAILED"}, "its next hop does not answer neighbour discovery"},
	{"neigh_invalidate", "net/core/neighbour.c", []string{"NEIGH_FAILED"}, "its next hop does not answer (ARP, neighbour discovery)"},
	{"__neigh_event_send", "net/core/neighbour.c", []string{"NEIGH_FAILED", "NEIGH_QUEUEFULL", "NEIGH_DEAD"},
		"one of: its next hop is known not to answer; too many packets wait for the answer; its entry was removed meanwhile"},
	{"neigh_destroy", "net/core/neighbour.c", []string{"QUEUE_PURGE", unspecified}, "it waited for its next hop's address, and the entry was removed: its device lost its carrier or went down"},
	{"neigh_flush_dev", "net/core/neighbour.c", []string{"QUEUE_PURGE", unspecified}, "it waited for its next hop's address, and its device lost its carrier or went down"},
	{"neigh_resolve_output", "net/core/neighbour.c", []string{"NEIGH_HH_FILLFAIL"}, "its link header could not be written"},
	{"neigh_connected_output", "net/core/neighbour.c", []string{"NEIGH_HH_FILLFAIL"}, "its link header could not be written"},

	// devices
	{"__netif_receive_skb_core", "net/core/dev.c", []string{"TC_INGRESS", "UNHANDLED_PROTO", unspecified},
		"one of: refused by a tc program or filter on its way in; nothing here takes its protocol"},
	{"__dev_queue_xmit", "net/core/dev.c", []string{"TC_EGRESS", "QDISC_DROP", unspecified},
		"one of: refused by a tc program or filter on its way out; dropped by the device's queue"},
	{"kfree_skb_list", "net/core/skbuff.c", []string{"QDISC_DROP", "DEV_READY", unspecified},
		"one of: dropped by the device's queue (qdisc); the device is down; it was a part of another packet"},
	{"validate_xmit_skb", "net/core/dev.c", []string{"SKB_GSO_SEG", unspecified},
		"one of: could not be cut into segments; its checksum could not be computed"},
	{"enqueue_to_backlog", "net/core/dev.c", []string{"CPU_BACKLOG", "DEV_READY"},
		"one of: the CPU's queue of received packets is full (netdev_max_backlog); the device is down"},
	{"do_xdp_generic", "net/core/dev.c", []string{"XDP", unspecified}, "one of: refused by an XDP program; could not be sent where that wants it"},
	{"veth_xdp_rcv_skb", "drivers/net/veth.c", nil, "one of: refused by an XDP program; no memory for one"},
	{"net_tx_action", "net/core/dev.c", nil, "one of: its device's driver dropped it; its device went away"},
	{"veth_xmit", "drivers/net/veth.c", nil, "the veth pair has no other end"},
	{"____dev_forward_skb", "include/linux/netdevice.h", nil, "one of: the device that it was handed to, such as a veth pair's other end, is down; its MTU is too small"},
	{"__dev_forward_skb2", "net/core/dev.c", nil, "one of: the device that it was handed to, such as a veth pair's other end, is down; its MTU is too small"}, // since 5.11
	{"__dev_forward_skb", "net/core/dev.c", nil, "one of: the device that it was handed to, such as a veth pair's other end, is down; its MTU is too small"},

	// bridges
	{"br_handle_frame", "net/bridge/br_input.c", []string{"BRIDGE_INGRESS_STP_STATE", "MAC_INVALID_SOURCE", unspecified},
		"one of: the bridge port is not forwarding; its source is no hardware address that a packet can come from"},
	{"br_handle_frame_finish", "net/bridge/br_input.c", []string{"BRIDGE_INGRESS_STP_STATE", "NO_TX_TARGET", unspecified},
		"one of: the bridge port is not forwarding; VLAN filtering refused it; no port to send it to"},
	{"br_forward", "net/bridge/br_forward.c", []string{"NO_TX_TARGET", unspecified}, "the bridge may not send it to the port that it is for"},
	{"br_flood", "net/bridge/br_forward.c", []string{"NO_TX_TARGET", unspecified}, "the bridge has no port that may send it"},
	{"br_dev_queue_push_xmit", "net/bridge/br_forward.c", []string{"PKT_TOO_BIG", unspecified}, "one of: too big for the bridge port (MTU); malformed VLAN tag"},

	// tunnels
	{"vxlan_xmit", "drivers/net/vxlan.c", []string{"NO_TX_TARGET", "TUNNEL_TXINFO", unspecified},
		"one of: the forwarding database (FDB) has no tunnel end for it; what the tunnel needs to send it is missing"},
	{"vxlan_xmit_one", "drivers/net/vxlan.c", nil, "the tunnel could not send it, one of: no route to its other end; a loop; too big"},
	{"vxlan_rcv", "drivers/net/vxlan.c",
		[]string{"VXLAN_INVALID_HDR", "VXLAN_VNI_NOT_FOUND", "VXLAN_ENTRY_EXISTS", "MAC_INVALID_SOURCE", "LOCAL_MAC", "IP_TUNNEL_ECN", unspecified},
		"one of: wrong VXLAN header; no VXLAN device here has its VNI; impossible hardware address; wrong congestion marks"},
	{"geneve_xmit", "drivers/net/geneve.c", nil, "the tunnel could not send it, one of: no route to its other end; a loop; too big"},
	{"tunnel4_rcv", "net/ipv4/tunnel4.c", nil, "one of: no IPIP tunnel here takes it; no IP header in it"},
	{"ip_tunnel_xmit", "net/ipv4/ip_tunnel.c", nil, "the tunnel could not send it, one of: no route to its other end; a loop; too big"},
	{"ip_tunnel_rcv", "net/ipv4/ip_tunnel.c", []string{"IP_TUNNEL_ECN", unspecified}, "the tunnel refused it, one of: wrong checksum; wrong sequence number; wrong congestion marks"},
}

var dropLocationOf = func() map[string]*dropLocation {
	locations := map[string]*dropLocation{}
	for i := range dropLocations {
		locations[dropLocations[i].function] = &dropLocations[i]
	}
	return locations
}()

// explain says what a drop means: by its reason, else by what a socket told, else
// by the function, which may tell the reason too. Kernels with reasons call
// unspecified what they have no name for; then the function tells only if none of
// its causes has one.
func (d *Drop) explain() {
	at := dropLocationOf[d.Function]
	switch {
	case dropReasons[d.Reason] != "":
		d.Meaning = dropReasons[d.Reason]
	case d.Errno == int(unix.ENOMEM):
		d.Meaning = dropReasons["SOCKET_RCVBUFF"]
	case d.Errno == int(unix.ENOBUFS):
		d.Meaning = dropReasons["PROTO_MEM"]
	case at == nil:
	case d.Reason == "":
		d.Meaning = at.meaning
		if len(at.reasons) == 1 {
			d.Inferred = at.reasons[0]
		}
	case d.Reason == unspecified && len(at.reasons) == 0:
		d.Meaning = at.meaning
	}
}

// String says in a few words what ended the packet, and why.
func (d *Drop) String() string {
	s := d.Reason
	switch {
	case s == "" && d.Meaning != "" && d.Function != "":
		return "dropped in " + d.Function + ": " + d.Meaning + " (this kernel gives no reason)"
	case s == "" && d.Meaning != "":
		return d.Meaning
	case s == "":
		s = "no reason given"
	}
	if d.Function != "" {
		s += " in " + d.Function
	}
	if d.Meaning != "" && d.Hook == "" { // a hook's name says as much
		s += ": " + d.Meaning
	}
	return s
}
