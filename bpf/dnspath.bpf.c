// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The hooks, in the order of a packet's way. Each is a few lines that call observe(). */
#include "emit.h"

/* Nothing but numbers refers to these; a pointer each keeps them in BTF, for bpf2go. */
const enum probe *keep_probe __attribute__((unused));
const enum tunnel *keep_tunnel __attribute__((unused));
const enum event_flag *keep_event_flag __attribute__((unused));
const enum loss *keep_loss __attribute__((unused));

char __license[] SEC("license") = "Dual BSD/GPL";

/* --- devices ------------------------------------------------------------ */

SEC("tp_btf/net_dev_queue")
int net_dev_queue(__u64 *ctx)
{
	struct site s = { .probe = PROBE_NET_DEV_QUEUE };

	observe((struct sk_buff *)ctx[0], &s, L3_NETWORK_HEADER);
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int net_dev_start_xmit(__u64 *ctx)
{
	struct site s = { .probe = PROBE_NET_DEV_START_XMIT, .dev = (struct net_device *)ctx[1] };

	observe((struct sk_buff *)ctx[0], &s, L3_NETWORK_HEADER);
	return 0;
}

SEC("tp_btf/netif_rx")
int netif_rx(__u64 *ctx)
{
	struct site s = { .probe = PROBE_NETIF_RX };

	observe((struct sk_buff *)ctx[0], &s, L3_DATA);
	return 0;
}

SEC("tp_btf/netif_receive_skb")
int netif_receive_skb(__u64 *ctx)
{
	struct site s = { .probe = PROBE_NETIF_RECEIVE_SKB };

	observe((struct sk_buff *)ctx[0], &s, L3_DATA);
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

	observe(bpf_cast_to_kern_ctx(ctx), &s, L3_NETWORK_HEADER);
	return TCX_NEXT;
}

SEC("tcx/egress")
int tc_egress(struct __sk_buff *ctx)
{
	struct site s = { .probe = PROBE_TC_EGRESS };

	observe(bpf_cast_to_kern_ctx(ctx), &s, L3_NETWORK_HEADER);
	return TCX_NEXT;
}

/* --- netfilter hooks (BPF links, 6.4): they accept, always --------------- */

static __always_inline int netfilter(struct bpf_nf_ctx *ctx, __u8 probe)
{
	const struct nf_hook_state *state = ctx->state;
	struct site s = { .probe = probe };

	s.hook = BPF_CORE_READ(state, hook);
	s.net = BPF_CORE_READ(state, net);
	s.dev = s.hook == NF_INET_LOCAL_OUT || s.hook == NF_INET_POST_ROUTING
			? BPF_CORE_READ(state, out)
			: BPF_CORE_READ(state, in);
	observe(ctx->skb, &s, L3_NETWORK_HEADER);
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
 * Only datagrams that are not linear: udp_recvmsg() copies the others without
 * a tracepoint, and their end (consume_skb) tells that they were read.
 */
SEC("tp_btf/skb_copy_datagram_iovec")
int skb_copy_datagram_iovec(__u64 *ctx)
{
	struct site s = { .probe = PROBE_SKB_COPY_DATAGRAM_IOVEC, .dev_is_stale = true };

	observe((struct sk_buff *)ctx[0], &s, L3_NETWORK_HEADER);
	return 0;
}

SEC("tp_btf/udp_fail_queue_rcv_skb")
int udp_fail_queue_rcv_skb(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[1];
	struct site s = { .probe = PROBE_UDP_FAIL_QUEUE_RCV_SKB,
			  .rc = (__s16)ctx[0],
			  .dev_is_stale = true };
	struct sk_buff *skb = udp_fail_skb(ctx);

	s.net = BPF_CORE_READ(sk, __sk_common.skc_net.net);
	if (skb)
		observe(skb, &s, L3_NETWORK_HEADER);
	return 0;
}

SEC("tp_btf/sock_rcvqueue_full")
int sock_rcvqueue_full(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct site s = { .probe = PROBE_SOCK_RCVQUEUE_FULL, .dev_is_stale = true };

	s.net = BPF_CORE_READ(sk, __sk_common.skc_net.net);
	observe((struct sk_buff *)ctx[1], &s, L3_NETWORK_HEADER);
	return 0;
}

/* --- the end --------------------------------------------------------------- */

SEC("tp_btf/icmp_send")
int icmp_send(__u64 *ctx)
{
	struct site s = { .probe = PROBE_ICMP_SEND,
			  .icmp_type = (__u8)ctx[1],
			  .icmp_code = (__u8)ctx[2] };

	observe((struct sk_buff *)ctx[0], &s, L3_NETWORK_HEADER);
	return 0;
}

SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct site s = { .probe = PROBE_KFREE_SKB,
			  .location = ctx[1],
			  .reason = kfree_skb_reason(ctx) };

	observe(skb, &s, L3_NETWORK_HEADER);
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
			  .dev_is_stale = true };
	__u64 head = (__u64)BPF_CORE_READ(skb, head);
	struct life *l = bpf_map_lookup_elem(&packets, &head);

	if (!l)
		return 0;
	if (!l->read)
		observe(skb, &s, L3_NETWORK_HEADER);
	forget(skb, head);
	return 0;
}
