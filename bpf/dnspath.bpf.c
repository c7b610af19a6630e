// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The hooks, in the order of a packet's way. Each is a few lines that call observe(), or called() and returned(). */
#include "function.h"
#include "regs.h"

/* Nothing but numbers refers to these; a pointer each keeps them in BTF, for bpf2go. */
const enum probe *keep_probe __attribute__((unused));
const enum tunnel *keep_tunnel __attribute__((unused));
const enum event_flag *keep_event_flag __attribute__((unused));
const enum loss *keep_loss __attribute__((unused));
const enum record *keep_record __attribute__((unused));
const enum function_flag *keep_function_flag __attribute__((unused));
const struct step *keep_step __attribute__((unused));

char __license[] SEC("license") = "Dual BSD/GPL";

/* --- devices ------------------------------------------------------------ */

SEC("tp_btf/net_dev_queue")
int net_dev_queue(__u64 *ctx)
{
	struct site s = { .probe = PROBE_NET_DEV_QUEUE, .flags = FN_ROUTE };

	observe((struct sk_buff *)ctx[0], &s, L3_NETWORK_HEADER, WAY_TRACING);
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int net_dev_start_xmit(__u64 *ctx)
{
	struct site s = { .probe = PROBE_NET_DEV_START_XMIT, .dev = (struct net_device *)ctx[1] };

	observe((struct sk_buff *)ctx[0], &s, L3_NETWORK_HEADER, WAY_TRACING);
	return 0;
}

/* 5.18. A device without a queue, such as veth's, has no qdisc. */
SEC("tp_btf/qdisc_enqueue")
int qdisc_enqueue(__u64 *ctx)
{
	struct site s = { .probe = PROBE_QDISC_ENQUEUE };

	observe((struct sk_buff *)ctx[2], &s, L3_NETWORK_HEADER, WAY_TRACING);
	return 0;
}

SEC("tp_btf/netif_rx")
int netif_rx(__u64 *ctx)
{
	struct site s = { .probe = PROBE_NETIF_RX };

	observe((struct sk_buff *)ctx[0], &s, L3_DATA, WAY_TRACING);
	return 0;
}

SEC("tp_btf/netif_receive_skb")
int netif_receive_skb(__u64 *ctx)
{
	struct site s = { .probe = PROBE_NETIF_RECEIVE_SKB };

	observe((struct sk_buff *)ctx[0], &s, L3_DATA, WAY_TRACING);
	return 0;
}

/*
 * tcx (6.6): the kernel's own sk_buff is behind the context, which the
 * bpf_cast_to_kern_ctx kfunc (6.2) hands out. The program passes every packet on.
 */
extern void *bpf_cast_to_kern_ctx(void *) __ksym;

SEC("tcx/ingress")
int tc_ingress(struct __sk_buff *ctx)
{
	struct site s = { .probe = PROBE_TC_INGRESS };

	observe(bpf_cast_to_kern_ctx(ctx), &s, L3_NETWORK_HEADER, WAY_NONE);
	return TCX_NEXT;
}

SEC("tcx/egress")
int tc_egress(struct __sk_buff *ctx)
{
	struct site s = { .probe = PROBE_TC_EGRESS };

	observe(bpf_cast_to_kern_ctx(ctx), &s, L3_NETWORK_HEADER, WAY_NONE);
	return TCX_NEXT;
}

/* --- netfilter hooks (BPF links, 6.4): they accept, always --------------- */

static __always_inline int netfilter(struct bpf_nf_ctx *ctx, __u8 probe)
{
	struct site s = { .probe = probe };

	set_state(&s, ctx->state);
	observe(ctx->skb, &s, L3_NETWORK_HEADER, WAY_NETFILTER);
	return NF_ACCEPT;
}

SEC("netfilter")
int nf_enter(struct bpf_nf_ctx *ctx)
{
	return netfilter(ctx, PROBE_NF_ENTER);
}

SEC("netfilter")
int nf_leave(struct bpf_nf_ctx *ctx)
{
	return netfilter(ctx, PROBE_NF_LEAVE);
}

/* --- sockets -------------------------------------------------------------- */

/* sock:sk_data_ready came in 6.3. */
SEC("tp_btf/sk_data_ready")
int sk_data_ready(__u64 *ctx)
{
	queued((struct sock *)ctx[0]);
	return 0;
}

/*
 * TCP, and datagrams that are not linear: udp_recvmsg() copies the others
 * without a tracepoint, and their end (consume_skb) tells that they were read.
 */
SEC("tp_btf/skb_copy_datagram_iovec")
int skb_copy_datagram_iovec(__u64 *ctx)
{
	struct site s = { .probe = PROBE_SKB_COPY_DATAGRAM_IOVEC,
			  .flags = FN_STALE_DEV | FN_CALLER };

	observe((struct sk_buff *)ctx[0], &s, L3_NETWORK_HEADER, WAY_TRACING);
	return 0;
}

SEC("tp_btf/udp_fail_queue_rcv_skb")
int udp_fail_queue_rcv_skb(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[1];
	struct site s = { .probe = PROBE_UDP_FAIL_QUEUE_RCV_SKB,
			  .rc = (__s32)ctx[0],
			  .flags = FN_STALE_DEV };
	struct sk_buff *skb = udp_fail_skb(ctx);

	s.net = BPF_CORE_READ(sk, __sk_common.skc_net.net);
	if (skb)
		observe(skb, &s, L3_NETWORK_HEADER, WAY_TRACING);
	return 0;
}

SEC("tp_btf/sock_rcvqueue_full")
int sock_rcvqueue_full(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct site s = { .probe = PROBE_SOCK_RCVQUEUE_FULL, .flags = FN_STALE_DEV };

	s.net = BPF_CORE_READ(sk, __sk_common.skc_net.net);
	observe((struct sk_buff *)ctx[1], &s, L3_NETWORK_HEADER, WAY_TRACING);
	return 0;
}

/* 5.13. Before 5.18 TCP frees some of what it throws away without a tracepoint: __kfree_skb(). */
SEC("tp_btf/tcp_bad_csum")
int tcp_bad_csum(__u64 *ctx)
{
	struct site s = { .probe = PROBE_TCP_BAD_CSUM };

	observe((struct sk_buff *)ctx[0], &s, L3_NETWORK_HEADER, WAY_TRACING);
	return 0;
}

/* --- the end --------------------------------------------------------------- */

SEC("tp_btf/icmp_send")
int icmp_send(__u64 *ctx)
{
	struct site s = { .probe = PROBE_ICMP_SEND,
			  .icmp_type = (__u8)ctx[1],
			  .icmp_code = (__u8)ctx[2] };

	observe((struct sk_buff *)ctx[0], &s, L3_NETWORK_HEADER, WAY_TRACING);
	return 0;
}

SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct site s = { .probe = PROBE_KFREE_SKB,
			  .location = ctx[1],
			  .reason = kfree_skb_reason(ctx) };

	observe(skb, &s, L3_NETWORK_HEADER, WAY_TRACING);
	forget(skb, (__u64)BPF_CORE_READ(skb, head));
	return 0;
}

/*
 * dev_kfree_skb() is consume_skb(): some error paths of drivers, such as
 * vxlan_xmit_one()'s, free that way. Nothing is reported of a packet that a
 * process has read.
 */
SEC("tp_btf/consume_skb")
int consume_skb(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct site s = { .probe = PROBE_CONSUME_SKB,
			  .location = consume_skb_location(ctx),
			  .flags = FN_STALE_DEV | FN_CALLER };
	__u64 head = (__u64)BPF_CORE_READ(skb, head);
	struct life *l = bpf_map_lookup_elem(&packets, &head);

	if (!l)
		return 0;
	if (!l->read)
		observe(skb, &s, L3_NETWORK_HEADER, WAY_TRACING);
	forget(skb, head);
	return 0;
}

/* --- trials: user space loads each alone, to learn whether the kernel takes it --- */

SEC("tp_btf/netif_receive_skb")
int try_dynptr_tracing(__u64 *ctx)
{
	struct bpf_dynptr d;

	return bpf_dynptr_from_skb((struct __sk_buff *)ctx[0], 0, &d);
}

SEC("netfilter")
int try_dynptr_netfilter(struct bpf_nf_ctx *ctx)
{
	struct bpf_dynptr d;

	return bpf_dynptr_from_skb((struct __sk_buff *)ctx->skb, 0, &d) ? NF_ACCEPT : NF_ACCEPT;
}

/* --- kernel functions ------------------------------------------------------ */

/* By kprobe, two programs serve all functions. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PROBE_MAX);
	__type(key, __u64);
	__type(value, __u32);
} functions_at SEC(".maps");

static __always_inline __u32 probe_of(struct pt_regs *ctx)
{
	__u64 addr;
	__u32 *probe;

	if (have_cookies)
		return bpf_get_attach_cookie(ctx);
	addr = REGS_FUNCTION(ctx);
	probe = bpf_map_lookup_elem(&functions_at, &addr);
	return probe ? *probe : PROBE_UNKNOWN;
}

static __always_inline int by_kprobe(struct pt_regs *ctx)
{
	struct call c = { .sp = REGS_SP(ctx), .probe = probe_of(ctx) };

	c.args[0] = REGS_ARG0(ctx);
	c.args[1] = REGS_ARG1(ctx);
	c.args[2] = REGS_ARG2(ctx);
	c.args[3] = REGS_ARG3(ctx);
	return c.probe ? called(&c) : 0;
}

static __always_inline int by_kretprobe(struct pt_regs *ctx)
{
	return returned(have_cookies ? bpf_get_attach_cookie(ctx) : PROBE_UNKNOWN, REGS_SP(ctx),
			REGS_RET(ctx));
}

SEC("kprobe")
int function_called(struct pt_regs *ctx)
{
	return by_kprobe(ctx);
}

SEC("kretprobe")
int function_returned(struct pt_regs *ctx)
{
	return by_kretprobe(ctx);
}

/* Programs for many symbols at once are of a kind of their own (5.18). */
SEC("kprobe.multi")
int functions_called(struct pt_regs *ctx)
{
	return by_kprobe(ctx);
}

SEC("kretprobe.multi")
int functions_returned(struct pt_regs *ctx)
{
	return by_kretprobe(ctx);
}

/*
 * By fentry, each function has a program of its own, which may read as many
 * arguments as the function has.
 */
#define ARGS_1(ctx) (ctx)[0]
#define ARGS_2(ctx) ARGS_1(ctx), (ctx)[1]
#define ARGS_3(ctx) ARGS_2(ctx), (ctx)[2]
#define ARGS_4(ctx) ARGS_3(ctx), (ctx)[3]

#define CALLED(fn, id, nargs)                                                     \
	SEC("fentry/" #fn)                                                        \
	int called_##fn(__u64 *ctx)                                               \
	{                                                                         \
		struct call c = { .args = { ARGS_##nargs(ctx) }, .probe = (id) }; \
                                                                                  \
		return called(&c);                                                \
	}

/* The return value lies behind all the arguments: nargs is how many the function has. */
#define RETURNED(fn, id, nargs)                         \
	SEC("fexit/" #fn)                               \
	int returned_##fn(__u64 *ctx)                   \
	{                                               \
		return returned((id), 0, ctx[(nargs)]); \
	}

/* Of a pointer the verifier allows little but to ask whether it is one. */
#define CREATED(fn, id, nargs)                               \
	SEC("fexit/" #fn)                                    \
	int returned_##fn(__u64 *ctx)                        \
	{                                                    \
		return returned((id), 0, ctx[(nargs)] != 0); \
	}

CALLED(ip_send_skb, PROBE_IP_SEND_SKB, 2)
CALLED(ip6_send_skb, PROBE_IP6_SEND_SKB, 1)
CALLED(br_nf_pre_routing, PROBE_BR_NF_PRE_ROUTING, 2)
RETURNED(br_nf_pre_routing, PROBE_BR_NF_PRE_ROUTING, 3)
CALLED(__br_forward, PROBE_BR_FORWARD, 2)
CALLED(br_pass_frame_up, PROBE_BR_PASS_FRAME_UP, 1)
CALLED(ip_rcv_core, PROBE_IP_RCV_CORE, 1)
CALLED(ip6_rcv_core, PROBE_IP6_RCV_CORE, 1)
CALLED(nf_hook_slow, PROBE_NF_HOOK_SLOW, 2)
RETURNED(nf_hook_slow, PROBE_NF_HOOK_SLOW, 4)
CALLED(nf_conntrack_in, PROBE_NF_CONNTRACK_IN, 2)
RETURNED(nf_conntrack_in, PROBE_NF_CONNTRACK_IN, 2)
CALLED(ipt_do_table, PROBE_IPT_DO_TABLE, 3)
RETURNED(ipt_do_table, PROBE_IPT_DO_TABLE, 3)
CALLED(ip6t_do_table, PROBE_IP6T_DO_TABLE, 3)
RETURNED(ip6t_do_table, PROBE_IP6T_DO_TABLE, 3)
CALLED(nft_do_chain, PROBE_NFT_DO_CHAIN, 2)
RETURNED(nft_do_chain, PROBE_NFT_DO_CHAIN, 2)
CALLED(nf_nat_manip_pkt, PROBE_NF_NAT_MANIP_PKT, 2)
RETURNED(nf_nat_manip_pkt, PROBE_NF_NAT_MANIP_PKT, 4)
CALLED(__nf_conntrack_confirm, PROBE_NF_CONNTRACK_CONFIRM, 1)
RETURNED(__nf_conntrack_confirm, PROBE_NF_CONNTRACK_CONFIRM, 1)
CALLED(ip_vs_in_hook, PROBE_IP_VS_IN_HOOK, 3)
RETURNED(ip_vs_in_hook, PROBE_IP_VS_IN_HOOK, 3)
CALLED(ip_vs_schedule, PROBE_IP_VS_SCHEDULE, 2)
CREATED(ip_vs_schedule, PROBE_IP_VS_SCHEDULE, 5)
CALLED(ip_vs_nat_xmit, PROBE_IP_VS_NAT_XMIT, 1)
CALLED(ip_vs_nat_xmit_v6, PROBE_IP_VS_NAT_XMIT_V6, 1)
CALLED(ip_vs_dr_xmit, PROBE_IP_VS_DR_XMIT, 1)
CALLED(ip_vs_tunnel_xmit, PROBE_IP_VS_TUNNEL_XMIT, 1)
CALLED(handle_response, PROBE_HANDLE_RESPONSE, 2)
RETURNED(handle_response, PROBE_HANDLE_RESPONSE, 6)
CALLED(ip_local_deliver, PROBE_IP_LOCAL_DELIVER, 1)
CALLED(ip6_input, PROBE_IP6_INPUT, 1)
CALLED(ip_forward, PROBE_IP_FORWARD, 1)
CALLED(ip6_forward, PROBE_IP6_FORWARD, 1)
CALLED(ip_error, PROBE_IP_ERROR, 1)
CALLED(ip_output, PROBE_IP_OUTPUT, 3)
CALLED(ip6_output, PROBE_IP6_OUTPUT, 3)
CALLED(__neigh_event_send, PROBE_NEIGH_EVENT_SEND, 2)

/* It gained a third argument in 5.17. */
SEC("fexit/__neigh_event_send")
int returned___neigh_event_send(__u64 *ctx)
{
	__u64 ret;

	/* Each with a barrier: else the two loads become one, of an address that is not constant. */
	if (neigh_event_send_args >= 3) {
		ret = ctx[3];
		barrier_var(ret);
	} else {
		ret = ctx[2];
		barrier_var(ret);
	}
	return returned(PROBE_NEIGH_EVENT_SEND, 0, ret);
}

CALLED(vxlan_xmit, PROBE_VXLAN_XMIT, 1)
CALLED(geneve_xmit, PROBE_GENEVE_XMIT, 1)
CALLED(ipgre_xmit, PROBE_IPGRE_XMIT, 1)
CALLED(ip_tunnel_xmit, PROBE_IP_TUNNEL_XMIT, 1)
CALLED(ip6_tnl_xmit, PROBE_IP6_TNL_XMIT, 1)
CALLED(iptunnel_xmit, PROBE_IPTUNNEL_XMIT, 3)
CALLED(vxlan_rcv, PROBE_VXLAN_RCV, 2)
CALLED(geneve_udp_encap_recv, PROBE_GENEVE_UDP_ENCAP_RECV, 2)
CALLED(ipip_rcv, PROBE_IPIP_RCV, 1)
CALLED(gre_rcv, PROBE_GRE_RCV, 1)
CALLED(__udp_enqueue_schedule_skb, PROBE_UDP_ENQUEUE_SCHEDULE_SKB, 2)
RETURNED(__udp_enqueue_schedule_skb, PROBE_UDP_ENQUEUE_SCHEDULE_SKB, 2)
CALLED(skb_consume_udp, PROBE_SKB_CONSUME_UDP, 2)
