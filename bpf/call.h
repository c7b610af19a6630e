/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Calls of kernel functions: what one tells of a packet. User space says which
 * argument is what (struct function), so that one program serves them all,
 * whichever way it is attached.
 */
#ifndef DNSPATH_CALL_H
#define DNSPATH_CALL_H

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

#endif
