/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Calls under way: which call a function's return belongs to. */
#ifndef DNSPATH_FRAMES_H
#define DNSPATH_FRAMES_H

#include "call.h"

/* A call that has not returned. */
struct frame {
	__u64 sp;
	__u64 skb;
	struct step step; /* what its return will report; probe 0: nothing */
	__u64 seen;	  /* digest of the packet's headers */
};

enum {
	MAX_FRAMES =
		16, /* calls within calls: netfilter within IPVS within netfilter within a tunnel */
	MAX_TASKS = 256,
	STALE_NS = 1000000000, /* no call takes so long: its return was missed */
	STACK_SIZE = 16384,    /* of a kernel's stack, or more */
};

/*
 * The calls under way on behalf of each task, innermost last. A softirq that
 * interrupts a task returns before the task goes on, so that calls of one task
 * nest, whatever they are about. The key is the task_struct's address, for all
 * idle tasks have PID 0.
 */
struct frames {
	__u64 time; /* of the last call */
	__u32 depth;
	__u32 pad;
	struct frame stack[MAX_FRAMES];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_TASKS);
	__type(key, __u64);
	__type(value, struct frames);
} calls SEC(".maps");

/* What a new entry of calls is made of: too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct frames);
} no_calls SEC(".maps");

/* frames_of returns the calls of the task that is running; if there are none, an empty list, or NULL unless it is wanted. */
static __always_inline struct frames *frames_of(__u64 now, bool wanted)
{
	__u64 task = bpf_get_current_task();
	struct frames *fs = bpf_map_lookup_elem(&calls, &task);
	__u32 zeroth = 0;
	struct frames *none;

	if (fs && now - fs->time > STALE_NS)
		fs->depth = 0;
	if (fs || !wanted)
		return fs;
	none = bpf_map_lookup_elem(&no_calls, &zeroth);
	if (none)
		bpf_map_update_elem(&calls, &task, none, BPF_ANY);
	return bpf_map_lookup_elem(&calls, &task);
}

/* frame_at has a mask, for the verifier does not always see that depth was checked. */
static __always_inline struct frame *frame_at(struct frames *fs, __u32 depth)
{
	return &fs->stack[depth & (MAX_FRAMES - 1)];
}

/* tell writes what a frame holds. */
static __noinline int tell(const struct frame *fr)
{
	struct step *st = bpf_ringbuf_reserve(&events, sizeof(*st), 0);

	if (!st) {
		count_loss(LOSS_RING_FULL);
		return 0;
	}
	__builtin_memcpy(st, &fr->step, sizeof(*st));
	submit(st);
	return 0;
}

/*
 * bury takes frames off that lie below sp on the same stack: they are gone, and
 * nobody told. Up to 5.16 a kernel without preemption has room for as many
 * pending returns of a function as the node has CPUs, and some functions call
 * themselves by a long way round. What the call told is written, without its
 * return value.
 */
static __noinline int bury(struct frames *fs, __u64 sp)
{
#pragma unroll
	for (int i = 0; i < MAX_FRAMES / 2; i++) {
		__u32 depth = fs->depth;
		struct frame *fr = frame_at(fs, depth - 1);
		__u64 below = sp - fr->sp;

		if (!depth || !below || below >= STACK_SIZE)
			break;
		fs->depth = depth - 1;
		if (fr->skb &&
		    !(function_of(fr->step.h.probe)->flags & (FN_UNLESS_0 | FN_UNLESS_ACCEPT))) {
			count_loss(LOSS_RETURN);
			tell(fr);
		}
	}
	return 0;
}

/* push remembers a call until it returns; skb NULL: one that is not about DNS, within one that is. */
static __noinline int push(const struct call *c, struct sk_buff *skb, const struct site *s,
			   struct life *l)
{
	__u64 now = bpf_ktime_get_ns();
	struct frames *fs = frames_of(now, skb);
	struct frame *fr;
	__u32 depth;

	if (!fs || (!skb && !fs->depth))
		return 0;
	if (!have_cookies)
		bury(fs, c->sp);
	depth = fs->depth;
	if (depth >= MAX_FRAMES) {
		count_loss(LOSS_RETURN);
		return 0;
	}
	fr = frame_at(fs, depth);
	__builtin_memset(fr, 0, sizeof(*fr));
	if (skb && l && fill(&fr->step, c, skb, s, l)) {
		fr->skb = (__u64)skb;
		fr->seen = l->seen;
	}
	fr->sp = c->sp;
	fr->step.h.probe = c->probe;
	fs->depth = depth + 1;
	fs->time = now;
	return 0;
}

/* Without its return address, which x86 has taken off the stack, and arm64 had in a register. */
#if defined(__TARGET_ARCH_x86)
#define SP_AT_CALL(sp) ((sp) - 8)
#else
#define SP_AT_CALL(sp) (sp)
#endif

/*
 * pop finds the frame of the call that has returned: by its probe or, where a
 * return does not tell of which function it is (up to 5.14), by its place on
 * the stack. What lies above it has lost its return.
 */
static __always_inline struct frame *pop(struct frames *fs, __u32 probe, __u64 sp)
{
	__u32 depth;

	if (!probe)
		bury(fs, SP_AT_CALL(sp));
	depth = fs->depth;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		struct frame *fr;

		if (!depth || depth > MAX_FRAMES)
			break;
		depth--;
		fr = frame_at(fs, depth);
		if (probe ? fr->step.h.probe == probe : fr->sp == SP_AT_CALL(sp)) {
			fs->depth = depth;
			return fr;
		}
		if (!probe)
			break;
	}
	return 0;
}

#endif
