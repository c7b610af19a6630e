/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Kernel functions: what their calls tell of a packet. User space says which
 * argument is what (struct function), so that one program serves them all,
 * whichever way it is attached.
 */
#ifndef DNSPATH_FUNCTION_H
#define DNSPATH_FUNCTION_H

#include "emit.h"

/* A function that is probed. Arguments are numbered from 1; 0 means there is none. */
struct function {
	__u16 flags; /* enum function_flag */
	__u8 skb;
	__u8 state; /* struct nf_hook_state */
	__u8 table; /* struct xt_table */
	__u8 pad;
};

/* A power of two, so that an index is bounded by a mask. */
#define MAX_FUNCTIONS 128
_Static_assert(PROBE_MAX <= MAX_FUNCTIONS, "functions has no room for all probes");

/* By probe; user space fills it in for those of the running kernel. */
const volatile struct function functions[MAX_FUNCTIONS];

static __always_inline const volatile struct function *function_of(__u32 probe)
{
	return &functions[probe & (MAX_FUNCTIONS - 1)];
}

/*
 * Where fields lie whose types are modules' own, so that CO-RE, which knows the
 * kernel's types alone, can't tell; bytes, 0 unknown. User space reads them in the
 * modules' BTF.
 */
const volatile __u32 xt_table_name;
const volatile __u32 nft_pktinfo_state;
const volatile __u32 nft_chain_name;
const volatile __u32 nft_chain_table;
const volatile __u32 nft_table_name;
const volatile __u32 nft_table_family;

/* Probes are told apart by a cookie (5.15), else by their addresses. */
const volatile bool have_cookies = true;

/* A call, however it was observed. */
struct call {
	__u64 args[4];
	__u64 sp; /* stack pointer; 0 where the kernel pairs calls and returns itself */
	__u32 probe;
	__u32 pad;
};

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

static __always_inline __u64 argument(const struct call *c, __u8 n)
{
	switch (n) {
	case 1:
		return c->args[0];
	case 2:
		return c->args[1];
	case 3:
		return c->args[2];
	case 4:
		return c->args[3];
	}
	return 0;
}

static __always_inline __u64 pointer_at(__u64 addr)
{
	__u64 p = 0;

	bpf_probe_read_kernel(&p, sizeof(p), (void *)addr);
	return p;
}

static __always_inline struct sk_buff *skb_of(const struct call *c, __u16 flags, __u8 arg)
{
	__u64 skb = argument(c, arg);

	return (struct sk_buff *)(flags & FN_POINTER ? pointer_at(skb) : skb);
}

static __always_inline struct nf_hook_state *state_of(const struct call *c, __u16 flags, __u8 arg)
{
	if (flags & FN_NFT)
		return nft_pktinfo_state
			       ? (struct nf_hook_state *)pointer_at(c->args[0] + nft_pktinfo_state)
			       : 0;
	return (struct nf_hook_state *)argument(c, arg);
}

/*
 * set_state learns from a hook's state where the packet is: without branches,
 * each of which would double the paths that the verifier walks from here on.
 */
static __always_inline void set_state(struct site *s, const struct nf_hook_state *state)
{
	const __u32 ip = 1 << NFPROTO_IPV4 | 1 << NFPROTO_IPV6;
	const __u32 outward = 1 << NF_INET_LOCAL_OUT | 1 << NF_INET_POST_ROUTING;
	__u64 in = (__u64)BPF_CORE_READ(state, in), out = (__u64)BPF_CORE_READ(state, out);
	__u64 leaves;

	s->hook = BPF_CORE_READ(state, hook);
	s->in_hook = true;
	s->foreign = ~(ip >> (BPF_CORE_READ(state, pf) & 31)) & 1;
	s->net = BPF_CORE_READ(state, net);
	leaves = -(__u64)(outward >> (s->hook & 31) & 1); /* all ones, or none */
	s->dev = (struct net_device *)(in ^ ((in ^ out) & leaves));
}

/* set_names names the table, and the chain of nftables, that a call is about. */
static __always_inline void set_names(struct step *st, const struct call *c, __u16 flags,
				      __u8 table)
{
	if (table && xt_table_name) {
		bpf_probe_read_kernel_str(st->table, sizeof(st->table),
					  (void *)(argument(c, table) + xt_table_name));
	} else if (flags & FN_NFT && nft_chain_name) {
		__u64 chain = c->args[1], t = pointer_at(chain + nft_chain_table);
		__u16 family = 0;

		bpf_probe_read_kernel_str(st->chain, sizeof(st->chain),
					  (void *)pointer_at(chain + nft_chain_name));
		bpf_probe_read_kernel_str(st->table, sizeof(st->table),
					  (void *)pointer_at(t + nft_table_name));
		bpf_probe_read_kernel(&family, sizeof(family), (void *)(t + nft_table_family));
		st->family = family & 0x3f; /* a field of six bits */
	}
}

/* set_neigh names the neighbour whose link-layer address is not known yet. */
static __always_inline void set_neigh(struct step *st, struct neighbour *n)
{
	struct net_device *dev = BPF_CORE_READ(n, dev);

	st->neigh = BPF_CORE_READ(n, nud_state);
	st->route.gw_family = BPF_CORE_READ(n, tbl, family) == AF_INET6 ? 6 : 4;
	bpf_probe_read_kernel(st->route.gw, st->route.gw_family == 6 ? 16 : 4, n->primary_key);
	st->route.oif = BPF_CORE_READ(dev, ifindex);
	BPF_CORE_READ_INTO(&st->route.out, dev, name);
}

static __always_inline void set_port(struct step *st, struct net_bridge_port *port)
{
	struct net_device *dev = BPF_CORE_READ(port, dev);

	st->route.oif = BPF_CORE_READ(dev, ifindex);
	BPF_CORE_READ_INTO(&st->route.out, dev, name);
}

/* fill says in st, which is zero, what the call tells of a packet with known headers. */
static __noinline int fill(struct step *st, const struct call *c, struct sk_buff *skb,
			   const struct site *s, struct life *l)
{
	const volatile struct function *fn = function_of(c->probe);
	__u16 flags = fn->flags;
	struct place at;

	find_place(&at, skb, s, l);
	if (filter_netns && !bpf_map_lookup_elem(&netns_wanted, &at.netns))
		return 0;
	st->h.record = RECORD_STEP;
	st->h.time = bpf_ktime_get_ns();
	st->h.packet = l->id;
	st->h.cpu = bpf_get_smp_processor_id();
	st->h.probe = c->probe;
	st->h.ip_summed = BPF_CORE_READ_BITFIELD_PROBED(skb, ip_summed);
	set_hook(&st->h, s, l);
	set_place(&st->h, &at, l);
	if (flags & FN_CALLER)
		set_caller(&st->h);
	if (flags & FN_ROUTE)
		set_route(&st->route, skb);
	if (flags & FN_NEIGH)
		set_neigh(st, (struct neighbour *)c->args[0]);
	if (flags & FN_PORT)
		set_port(st, (struct net_bridge_port *)c->args[0]);
	set_names(st, c, flags, fn->table);
	return 1;
}

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
	bool born = false;

	state = state_of(c, flags, fn->state);
	if (state)
		set_state(&s, state);
	if (s.foreign || !find(&f, skb, L3_NETWORK_HEADER)) {
		skb = 0;
	} else {
		l = live(skb, (__u64)BPF_CORE_READ(skb, head), &f, &born);
		if (l && c->probe == PROBE_NF_HOOK_SLOW) {
			l->hook = s.hook + 1;
			l->hook_left = 0;
		}
		if (l && c->probe == PROBE_SKB_CONSUME_UDP)
			l->read = 1;
		if (flags & FN_ENTRY && l && l->seen == f.digest)
			report(c, skb, &s, l);
		else if (flags & FN_ENTRY)
			emit(skb, &f, &s, l, born);
	}
	if (flags & FN_RETURN)
		push(c, skb, &s, l);
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

/* retell looks at the headers of a packet again: it returns false if they are what they were. */
static __noinline bool retell(const struct frame *fr)
{
	struct sk_buff *skb = (struct sk_buff *)fr->skb;
	struct site s = { .probe = fr->step.h.probe, .time = fr->step.h.time, .rc = NF_ACCEPT };
	struct found f;
	bool born = false;
	struct life *l;

	if (!find(&f, skb, L3_NETWORK_HEADER) || f.digest == fr->seen)
		return false;
	l = live(skb, (__u64)BPF_CORE_READ(skb, head), &f, &born);
	emit(skb, &f, &s, l, born);
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
