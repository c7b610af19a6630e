/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What user space sets before load; frozen afterwards, so that the verifier drops dead branches. */
#ifndef DNSPATH_CONFIG_H
#define DNSPATH_CONFIG_H

#include "kernel.h"

#include <bpf/bpf_helpers.h>

#define MAX_PORTS 8

/* Ports of UDP and TCP that carry DNS, and of UDP that carry VXLAN and Geneve; 0 ends the list. */
const volatile __u16 dns_ports[MAX_PORTS] = { 53 };
const volatile __u16 vxlan_ports[MAX_PORTS] = { 4789, 8472 };
const volatile __u16 geneve_ports[MAX_PORTS] = { 6081 };

/* Observe only the namespaces whose inode is a key of netns_wanted. */
const volatile bool filter_netns = false;

/* Wake the reader once so many bytes wait for it; until then it polls. */
const volatile __u32 wakeup_bytes = 256 * 1024;

/* Arguments that tracepoints and functions gained over time; user space counts them in BTF (compat.h). */
const volatile __u32 kfree_skb_args = 4;
const volatile __u32 consume_skb_args = 2;
const volatile __u32 udp_fail_args = 3;
const volatile __u32 neigh_event_send_args = 3; /* 5.17 */

/*
 * Where x86-64 keeps the address at which it maps all memory, and that of the
 * array of struct page: both are drawn at boot (arch/x86/mm/kaslr.c). 0: unknown.
 */
const volatile __u64 page_offset_base_at;
const volatile __u64 vmemmap_base_at;
const volatile __u32 page_shift = 12;

/* Programs that may call bpf_dynptr_from_skb(): netfilter links since 6.4, BTF-typed tracepoints since 6.12. */
const volatile bool dynptr_in_tracing = false;
const volatile bool dynptr_in_netfilter = false;

/* Functions tell that a datagram was queued to a socket, and read, better than tracepoints do. */
const volatile bool udp_queued_by_function = false;
const volatile bool udp_read_by_function = false;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u8);
} netns_wanted SEC(".maps");

/*
 * in_ports looks for port in a list, without a branch an entry: each would
 * double the paths that the verifier walks. The difference of two ports, less
 * one, is negative only if they are equal. Port 0 matches the end of a short
 * list; no packet that gets this far has it.
 */
static __always_inline bool in_ports(const volatile __u16 *ports, __u16 port)
{
	__u32 hit = 0;

	for (int i = 0; i < MAX_PORTS; i++)
		hit |= ((__u32)(ports[i] ^ port) - 1) >> 31;
	return hit;
}

#endif
