/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Kernel functions: what the probes at their start and end do. */
#ifndef DNSPATH_FUNCTION_H
#define DNSPATH_FUNCTION_H

#include "frames.h"

/* report reports a call at once. */
static __noinline int report(const struct call *c, struct sk_buff *skb, const struct site *s,
			     struct life *l)
{
	struct step *st = bpf_ringbuf_reserve(&events, sizeof(*st), 0);

	if (!st) {
		count_loss(LOSS_RING_FULL);
		return 0;
	}
	__builtin_memset(st, 0, sizeof(*st));
	if (fill(st, c, skb, s, l))
		submit(st);
	else
		bpf_ringbuf_discard(st, BPF_RB_NO_WAKEUP);
	return 0;
}

/* sight_at says what the call of a function tells of the packet's way. */
static __noinline enum sight sight_at(struct sk_buff *skb, const struct found *f,
				      const struct site *s)
{
	switch (s->probe) {
	case PROBE_IP_SEND_SKB:
	case PROBE_IP6_SEND_SKB:
		return SIGHT_START;
	case PROBE_SKB_CONSUME_UDP:
		return SIGHT_END;
	case PROBE_NF_HOOK_SLOW:
		return leaves(skb, f, s) ? SIGHT_START : SIGHT_WAY;
	}
	return SIGHT_WAY;
}

/* called is what every probe at a function's start does. */
static __noinline int called(const struct call *c)
{
	const volatile struct function *fn = function_of(c->probe);
	__u16 flags = fn->flags;
	struct sk_buff *skb = skb_of(c, flags, fn->skb);
	struct site s = { .probe = c->probe, .flags = flags };
	struct nf_hook_state *state;
	struct found f;
	struct life *l = 0;

	state = state_of(c, flags, fn->state);
	if (state)
		set_state(&s, state);
	if (s.foreign || !find(&f, skb, L3_NETWORK_HEADER)) {
		skb = 0;
	} else {
		l = live(skb, (__u64)BPF_CORE_READ(skb, head), &f, sight_at(skb, &f, &s));
		if (!l)
			return 0;
		if (c->probe == PROBE_NF_HOOK_SLOW) {
			l->hook = s.hook + 1;
			l->hook_left = 0;
		}
		if (c->probe == PROBE_SKB_CONSUME_UDP)
			l->read = 1;
		if (flags & FN_ENTRY && l->seen == f.digest)
			report(c, skb, &s, l);
		else if (flags & FN_ENTRY)
			emit(skb, &f, &s, l, WAY_NONE);
	}
	if (flags & FN_RETURN)
		push(c, skb, &s, l);
	return 0;
}

/* retell looks at the headers of a packet again: it returns false if they are what they were. */
static __noinline bool retell(const struct frame *fr)
{
	struct sk_buff *skb = (struct sk_buff *)fr->skb;
	struct site s = { .probe = fr->step.h.probe, .time = fr->step.h.time, .rc = NF_ACCEPT };
	struct found f;
	struct life *l;

	if (!find(&f, skb, L3_NETWORK_HEADER) || f.digest == fr->seen)
		return false;
	l = live(skb, (__u64)BPF_CORE_READ(skb, head), &f, SIGHT_END);
	if (!l)
		return false;
	emit(skb, &f, &s, l, WAY_NONE);
	return true;
}

static __always_inline void set_ct_info(struct step *st, struct sk_buff *skb)
{
	unsigned long nfct = BPF_CORE_READ(skb, _nfct);

	st->ct_info = nfct & NFCT_INFOMASK;
	if (nfct & ~NFCT_INFOMASK)
		st->h.flags |= FLAG_CONNTRACK;
	else if (st->ct_info == IP_CT_UNTRACKED)
		st->h.flags |= FLAG_UNTRACKED;
}

/* returned is what every probe at a function's end does. probe 0: its frame tells which. */
static __noinline int returned(__u32 probe, __u64 sp, __u64 ret)
{
	struct frames *fs = frames_of(bpf_ktime_get_ns(), false);
	struct frame *fr;
	__u16 flags;

	if (!fs)
		return 0;
	fr = pop(fs, probe, sp);
	if (!fr || !fr->skb)
		return 0;
	flags = function_of(fr->step.h.probe)->flags;
	fr->step.h.ret = flags & FN_CREATES ? ret != 0 : ret;
	fr->step.h.flags |= FLAG_RETURNED;
	if (flags & FN_UNLESS_0 && !fr->step.h.ret)
		return 0;
	if (fr->step.h.ret == NF_ACCEPT) {
		if (flags & FN_UNLESS_ACCEPT)
			return 0;
		if (flags & FN_CONNTRACK)
			set_ct_info(&fr->step, (struct sk_buff *)fr->skb);
		if (flags & FN_REWRITES && retell(fr))
			return 0;
	}
	tell(fr);
	return 0;
}

#endif
