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

/*
 * reserve takes room for an event with up to want bytes of packet, in one of
 * three sizes: the verifier wants constants.
 */
static __always_inline struct event *reserve(__u32 want, __u32 *room)
{
	struct event *e;

	if (!want) {
		*room = 0;
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	} else if (want <= CAPTURE_SMALL) {
		*room = CAPTURE_SMALL;
		e = bpf_ringbuf_reserve(&events, sizeof(*e) + CAPTURE_SMALL, 0);
	} else {
		*room = CAPTURE_LARGE;
		e = bpf_ringbuf_reserve(&events, sizeof(*e) + CAPTURE_LARGE, 0);
	}
	if (!e)
		count_loss(LOSS_RING_FULL);
	return e;
}

static __always_inline void submit(struct event *e)
{
	__u64 waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);

	bpf_ringbuf_submit(e, waiting >= wakeup_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

#endif
