/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IP fragments that are not the first have no ports: what the first one of a datagram said is kept for them. */
#ifndef DNSPATH_FRAGMENTS_H
#define DNSPATH_FRAGMENTS_H

#include "event.h"

#include <bpf/bpf_helpers.h>

enum {
	MAX_FRAGMENTED = 4096, /* datagrams */
};

/* No receiver waits longer for the rest of a datagram (net.ipv4.ipfrag_time, net.ipv6.ip6frag_time; RFC 8200: 60 s). */
#define FRAGMENT_NS 60000000000ULL

/* What the first fragment of a datagram said. Of a tunnel's datagram, flow is what the tunnel carries. */
struct first {
	__u64 time;
	struct tuple flow;
	struct tuple outer;
	struct tuple outer2;
	__u32 vni;
	__u32 outer2_vni;
	__u32 tcp_seq;
	__u16 dns_id;
	__u16 dns_flags;
	__u16 dns_len;
	__u16 ip_id;
	__u16 flags; /* enum event_flag: FLAG_QR, FLAG_SHORT_DNS */
	__u8 proto;
	__u8 family;
	__u8 outer_family;
	__u8 outer2_family;
	__u8 tunnel;
	__u8 tunnel2;
	__u8 inside; /* how many tunnels lie within the fragmented datagram */
	__u8 pad[7];
};

/* By a digest of addresses, protocol and IP ID: what tells the fragments of one datagram from others (RFC 791, 8200). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FRAGMENTED);
	__type(key, __u64);
	__type(value, struct first);
} fragmented SEC(".maps");

/* What a new entry is made of: too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct first);
} no_fragment SEC(".maps");

/* first_of returns what the first fragment with that key said, or NULL. */
static __always_inline struct first *first_of(const __u64 *key)
{
	struct first *first = bpf_map_lookup_elem(&fragmented, key);

	return first && bpf_ktime_get_ns() - first->time < FRAGMENT_NS ? first : 0;
}

/* new_first returns an entry for that key, old or new, or NULL if there is no room. */
static __always_inline struct first *new_first(const __u64 *key)
{
	struct first *first = bpf_map_lookup_elem(&fragmented, key);
	__u32 zeroth = 0;
	struct first *none;

	if (first)
		return first;
	none = bpf_map_lookup_elem(&no_fragment, &zeroth);
	if (none)
		bpf_map_update_elem(&fragmented, key, none, BPF_ANY);
	return bpf_map_lookup_elem(&fragmented, key);
}

#endif
