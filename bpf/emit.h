/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Emission: one observation into the ring buffer. */
#ifndef DNSPATH_EMIT_H
#define DNSPATH_EMIT_H

#include "arrival.h"
#include "compat.h"

/*
 * wanted says what to copy of a packet: nothing if user space has it, unless its
 * payload was out of reach till now. Without branches where it can be: the verifier
 * walks all of emit() again for each way to get to reserve().
 */
static __always_inline void wanted(struct slice *want, const struct found *f, const struct life *l,
				   enum way way)
{
	__u32 linear = f->end < f->linear ? f->end : f->linear;
	__u32 reach = have_pages() || have_dynptr(way);
	__u32 fresh = (l->seen != f->digest) | (reach & (l->whole == 0));
	__u32 paged = f->end - linear;

	if (paged > CAPTURE_LARGE)
		paged = CAPTURE_LARGE;
	want->linear = linear * fresh + zero;
	want->paged = paged * (fresh & reach & (linear >= f->dns_off)) + zero;
}

/* set_payload notes whether the payload, or its beginning, was copied. */
static __always_inline void set_payload(struct event *e, const struct found *f, struct life *l)
{
	__u32 need = f->dns_off + 12 < f->end ? f->dns_off + 12 : f->end;
	bool whole = e->cap_len >= need;

	if (!e->cap_len)
		return;
	if (!whole)
		e->h.flags |= FLAG_NONLINEAR;
	l->whole = whole;
}

/* emit writes the observation of the packet f in skb, at site s. */
static __noinline void emit(struct sk_buff *skb, const struct found *f, const struct site *s,
			    struct life *l, enum way way)
{
	struct place at;
	struct event *e;
	struct slice want;

	find_place(&at, skb, s, l);
	if (filter_netns && !bpf_map_lookup_elem(&netns_wanted, &at.netns))
		return;
	wanted(&want, f, l, way);
	e = reserve(skb, f, &want, way);
	if (!e)
		return;
	e->h.time = s->time ? s->time : bpf_ktime_get_ns();
	e->h.packet = l->id;
	e->h.cpu = bpf_get_smp_processor_id();
	e->h.probe = s->probe;
	e->location = s->location;
	e->reason = s->reason;
	e->h.ret = s->rc;
	e->icmp_type = s->icmp_type;
	e->icmp_code = s->icmp_code;
	e->h.flags = f->flags;
	set_payload(e, f, l);
	set_hook(&e->h, s, l);
	set_place(&e->h, &at, l);
	set_headers(e, f);
	set_buffer(e, skb, f);
	set_conntrack(e, skb);
	set_process(&e->h, skb, s, l, f->proto);
	if (s->flags & FN_ROUTE)
		set_route(&e->route, skb);
	l->seen = f->digest;
	if (s->probe < PROBE_NF_ENTER)
		l->sent = 1;
	if (arrives(s) && !f->frag_off && !(f->flags & FLAG_QUOTE))
		arrive(e);
	submit(e);
}

/* knows_later reads the DNS header by a dynptr. */
static __noinline int knows_later(struct sk_buff *skb, struct found *f)
{
	__u8 dns[4];

	if (by_dynptr(skb, dns, sizeof(dns), f->l3 + f->dns_off))
		knows_dns(f, dns);
	return 0;
}

/* leaves says whether a process of this host sends the packet, and not a tunnel or IPVS. */
static __always_inline bool leaves(struct sk_buff *skb, const struct found *f, const struct site *s)
{
	return s->in_hook && !s->foreign && s->hook == NF_INET_LOCAL_OUT && !f->tunnel &&
	       BPF_CORE_READ(skb, sk);
}

/* sight_of says what a probe that is no function's tells of the packet's way. */
static __always_inline enum sight sight_of(struct sk_buff *skb, const struct found *f,
					   const struct site *s)
{
	if (s->probe == PROBE_NF_ENTER && leaves(skb, f, s))
		return SIGHT_START;
	if (s->probe == PROBE_NET_DEV_QUEUE)
		return SIGHT_SEND;
	return s->probe < PROBE_SK_DATA_READY ? SIGHT_WAY : SIGHT_END;
}

/* observe is what every hook does: recognise, identify, emit. */
static __always_inline void observe(struct sk_buff *skb, const struct site *s, enum l3_at at,
				    enum way way)
{
	struct found f;

	if (!find(&f, skb, at))
		return;
	if (f.vague && have_dynptr(way))
		knows_later(skb, &f);

	struct life *l = live(skb, (__u64)BPF_CORE_READ(skb, head), &f, sight_of(skb, &f, s));

	if (!l)
		return;
	if (s->probe == PROBE_NF_ENTER) {
		l->hook = s->hook + 1;
		l->hook_left = 0;
	} else if (s->probe == PROBE_NF_LEAVE) {
		l->hook_left = 1;
		if (l->seen == f.digest) /* as NF_ENTER reported it: nothing to add */
			return;
	} else if (s->probe < PROBE_NF_ENTER) {
		l->hook = 0; /* a device: whatever hook it was in lies behind */
	}
	if (s->probe == PROBE_SKB_COPY_DATAGRAM_IOVEC) {
		if (udp_read_by_function && f.proto == IPPROTO_UDP)
			return;
		l->read = 1;
	}
	emit(skb, &f, s, l, way);
}

#endif
