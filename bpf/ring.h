/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The way to user space: the ring buffer. */
#ifndef DNSPATH_RING_H
#define DNSPATH_RING_H

#include "config.h"
#include "event.h"
#include "loss.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024); /* user space sets it by --ring-size */
	__type(value, struct event);
} events SEC(".maps");

/* What to copy of a packet. */
struct slice {
	__u32 linear; /* bytes from its outermost IP header on, in the linear buffer */
	__u32 paged;  /* and how many to append that lie in pages */
};

/* The verifier adds the most that each length can be: linear bytes are followed by others only if they are few. */
#define LINEAR_SMALL 127
#define LINEAR_LARGE 255

/*
 * at_most returns n, a length, max at the most, so that the verifier sees it: up
 * to 5.10 it can come to believe in lengths below 0, which the mask mends.
 */
static __always_inline __u64 at_most(__u64 n, __u64 max)
{
	barrier_var(n);
	n &= 0xffff;
	if (n > max)
		n = max;
	barrier_var(n);
	return n;
}

/* copy_in copies want bytes, room at the most, behind e. It returns how many are there. */
static __always_inline __u32 copy_in(struct event *e, __u32 room, const void *from, __u32 want)
{
	if (want > room)
		want = room;
	return bpf_probe_read_kernel(e + 1, want, from) ? 0 : forget_bounds(want);
}

/* append_piece appends the nth of the pieces that lie in pages: up to room bytes, at the offset at, which is no more than most. */
static __always_inline __u64 append_piece(struct event *e, const struct found *f, __u32 nth,
					  __u64 at, __u64 most, __u64 room, __u64 want)
{
	__u32 len;
	__u64 from = page_at((struct sk_buff *)f->skb, nth, &len);

	if (want > len)
		want = len;
	barrier_var(at);
	if (!from || at > most)
		return 0;
	want = at_most(want, room);
	return bpf_probe_read_kernel((__u8 *)(e + 1) + at, want, (void *)from)
		       ? 0
		       : forget_bounds(want);
}

/* append appends want bytes that lie in pages, behind the first at bytes of the packet. It returns how many. */
static __always_inline __u64 append(struct event *e, struct sk_buff *skb, const struct found *f,
				    __u64 at, __u64 most, __u64 room, __u64 want, enum way way)
{
	__u64 first;

	barrier_var(at);
	if (!want || at > most)
		return 0;
	room -= most;
	want = at_most(want, room);
	if (have_pages()) {
		first = append_piece(e, f, 0, at, most, room, want);
		/* A second one only if the first fills no more than half; a third is not looked for. */
		most = (most + room) / 2;
		return first + append_piece(e, f, 1, at + first, most, most, want - first);
	}
	if (have_dynptr(way) && by_dynptr(skb, (__u8 *)(e + 1) + at, want, f->l3 + at))
		return want;
	return 0;
}

/*
 * reserve takes room for an event, and copies what of the packet is wanted: in
 * one of three sizes, since the verifier wants constants, and at once, since
 * verifiers up to 6.1 forget the size when it is kept for later.
 */
static __always_inline struct event *reserve(struct sk_buff *skb, const struct found *f,
					     const struct slice *want, enum way way)
{
	const void *from = (void *)f->l3;
	struct event *e;
	__u32 copied = 0;

	if (!want->linear) {
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	} else if (want->linear + want->paged <= CAPTURE_SMALL &&
		   (!want->paged || (want->linear <= LINEAR_SMALL &&
				     want->paged <= CAPTURE_SMALL - LINEAR_SMALL))) {
		e = bpf_ringbuf_reserve(&events, sizeof(*e) + CAPTURE_SMALL, 0);
		if (e) {
			copied = copy_in(e, CAPTURE_SMALL, from, want->linear);
			copied += append(e, skb, f, copied, LINEAR_SMALL, CAPTURE_SMALL,
					 want->paged, way);
		}
	} else {
		e = bpf_ringbuf_reserve(&events, sizeof(*e) + CAPTURE_LARGE, 0);
		if (e) {
			copied = copy_in(e, CAPTURE_LARGE, from, want->linear);
			copied += append(e, skb, f, copied, LINEAR_LARGE, CAPTURE_LARGE,
					 want->paged, way);
		}
	}
	if (!e) {
		count_loss(LOSS_RING_FULL);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->cap_len = copied;
	return e;
}

static __always_inline void submit(void *record)
{
	__u64 waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);

	bpf_ringbuf_submit(record,
			   waiting >= wakeup_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

#endif
