/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The way to user space: the ring buffer. */
#ifndef DNSPATH_RING_H
#define DNSPATH_RING_H

#include "config.h"
#include "event.h"
#include "loss.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024); /* user space sets it by --ring-size */
	__type(value, struct event);
} events SEC(".maps");

/* copy_in copies want bytes, room at the most, behind e. It returns how many are there. */
static __always_inline __u32 copy_in(struct event *e, __u32 room, const void *from, __u32 want)
{
	if (want > room)
		want = room;
	return bpf_probe_read_kernel(e + 1, want, from) ? 0 : want;
}

/*
 * reserve takes room for an event with want bytes of packet, and copies them
 * from from: in one of three sizes, since the verifier wants constants, and at
 * once, since verifiers up to 6.1 forget the size when it is kept for later.
 */
static __always_inline struct event *reserve(const void *from, __u32 want)
{
	struct event *e;
	__u32 copied = 0;

	if (!want) {
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	} else if (want <= CAPTURE_SMALL) {
		e = bpf_ringbuf_reserve(&events, sizeof(*e) + CAPTURE_SMALL, 0);
		if (e)
			copied = copy_in(e, CAPTURE_SMALL, from, want);
	} else {
		e = bpf_ringbuf_reserve(&events, sizeof(*e) + CAPTURE_LARGE, 0);
		if (e)
			copied = copy_in(e, CAPTURE_LARGE, from, want);
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
