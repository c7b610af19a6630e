/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Emission: one observation into the ring buffer. */
#ifndef DNSPATH_EMIT_H
#define DNSPATH_EMIT_H

#include "arrival.h"
#include "compat.h"

/* emit writes the observation of the packet f in skb, at site s. */
static __noinline void emit(struct sk_buff *skb, const struct found *f, const struct site *s,
			    struct life *l, bool born)
{
	struct place at;
	struct event *e;
	__u32 want = 0;

	find_place(&at, skb, s, l);
	if (filter_netns && !bpf_map_lookup_elem(&netns_wanted, &at.netns))
		return;
	if (!l || l->seen != f->digest) {
		want = f->l4_off + sizeof(struct udphdr) + f->dns_len;
		if (want > f->linear)
			want = f->linear;
	}
	e = reserve((void *)f->l3, want);
	if (!e)
		return;
	e->h.time = s->time ? s->time : bpf_ktime_get_ns();
	e->h.packet = l ? l->id : 0;
	e->h.cpu = bpf_get_smp_processor_id();
	e->h.probe = s->probe;
	e->location = s->location;
	e->reason = s->reason;
	e->h.ret = s->rc;
	e->icmp_type = s->icmp_type;
	e->icmp_code = s->icmp_code;
	e->h.flags = f->flags | (born ? FLAG_NEW : 0);
	set_hook(&e->h, s, l);
	set_place(&e->h, &at, l);
	set_headers(e, f);
	set_buffer(e, skb, f);
	set_conntrack(e, skb);
	set_process(&e->h, skb, s, l);
	if (s->flags & FN_ROUTE)
		set_route(&e->route, skb);
	if (l) {
		l->seen = f->digest;
		if (s->probe < PROBE_NF_ENTER)
			l->sent = 1;
	}
	if (arrives(s))
		arrive(e);
	submit(e);
}

/* observe is what every hook does: recognise, identify, emit. */
static __always_inline void observe(struct sk_buff *skb, const struct site *s, enum l3_at at)
{
	struct found f;
	bool born = false;

	if (!find(&f, skb, at))
		return;

	struct life *l = live(skb, (__u64)BPF_CORE_READ(skb, head), &f, &born);

	if (l && s->probe == PROBE_NF_ENTER) {
		l->hook = s->hook + 1;
		l->hook_left = 0;
	} else if (l && s->probe == PROBE_NF_LEAVE) {
		l->hook_left = 1;
		if (l->seen == f.digest) /* as NF_ENTER reported it: nothing to add */
			return;
	} else if (l && s->probe < PROBE_NF_ENTER) {
		l->hook = 0; /* a device: whatever hook it was in lies behind */
	}
	if (l && s->probe == PROBE_SKB_COPY_DATAGRAM_IOVEC)
		l->read = 1;
	emit(skb, &f, s, l, born);
}

#endif
