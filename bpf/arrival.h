/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Delivery: which datagram made a socket readable. */
#ifndef DNSPATH_ARRIVAL_H
#define DNSPATH_ARRIVAL_H

#include "facts.h"
#include "ring.h"

/*
 * What this CPU's receive path holds now. It queues a datagram to its socket
 * before it takes the next one, and no softirq interrupts another, so a socket
 * that becomes readable meanwhile does so because of this datagram, if it is
 * the one that it is addressed to. The sk_buff itself may be gone by then:
 * another CPU can have read it. So what is reported are its headers as they
 * were at the last probe before: INPUT may have translated them since.
 */
struct arrival {
	struct event e;
	__u32 waiting;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct arrival);
} arriving SEC(".maps");

static __always_inline void arrive(const struct event *e)
{
	__u32 zeroth = 0;
	struct arrival *a = bpf_map_lookup_elem(&arriving, &zeroth);

	if (!a)
		return;
	__builtin_memcpy(&a->e, e, sizeof(*e));
	a->waiting = 1;
}

static __always_inline bool arrives(const struct site *s)
{
	return s->probe == PROBE_NETIF_RECEIVE_SKB ||
	       (s->hook == NF_INET_LOCAL_IN &&
		(s->probe == PROBE_NF_ENTER || s->probe == PROBE_NF_LEAVE));
}

/* is_for says whether the arriving packet is one that makes sk readable. */
static __always_inline bool is_for(const struct arrival *a, struct sock *sk)
{
	const struct event *e = &a->e;

	if (!a->waiting || e->tunnel || e->proto != BPF_CORE_READ(sk, sk_protocol) ||
	    e->flow.dport != BPF_CORE_READ(sk, __sk_common.skc_num) ||
	    e->h.netns != BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum))
		return false;
	if (e->proto == IPPROTO_UDP)
		return !udp_queued_by_function;
	return e->dns_len && e->flow.sport == bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
}

/* queued reports that the arriving packet was queued to sk, if that is what made sk readable. */
static __always_inline void queued(struct sock *sk)
{
	__u32 zeroth = 0;
	struct arrival *a;
	struct event *e;

	a = bpf_map_lookup_elem(&arriving, &zeroth);
	if (!a || !is_for(a, sk))
		return;
	a->waiting = 0;
	deliver(a->e.skb, a->e.head, a->e.h.packet);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count_loss(LOSS_RING_FULL);
		return;
	}
	__builtin_memcpy(e, &a->e, sizeof(*e));
	e->h.time = bpf_ktime_get_ns();
	e->h.probe = PROBE_SK_DATA_READY;
	e->h.flags &= ~(FLAG_NEW | FLAG_NONLINEAR);
	e->cap_len = 0;
	e->h.ifindex = 0;
	__builtin_memset(e->h.dev, 0, sizeof(e->h.dev));
	submit(e);
}

#endif
