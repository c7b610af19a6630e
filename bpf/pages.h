/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What of a packet lies in pages beyond its linear buffer: all that tcp_sendmsg()
 * takes from a process, and of received packets what a driver did not copy.
 * A page is read where the kernel maps all memory, if it tells where that is;
 * else by a dynptr, in the programs that may have one.
 */
#ifndef DNSPATH_PAGES_H
#define DNSPATH_PAGES_H

#include "config.h"
#include "event.h"

#include <bpf/bpf_core_read.h>

static __always_inline bool have_pages(void)
{
	return page_offset_base_at && vmemmap_base_at;
}

static __always_inline __u64 word_at(__u64 addr)
{
	__u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)addr);
	return word;
}

/*
 * page_at returns where the nth piece of skb that lies in a page is mapped, and
 * how long it is; 0 if there is none, or none to be read. The array of struct
 * page (CONFIG_SPARSEMEM_VMEMMAP) has one for each page of memory, in order:
 * include/asm-generic/memory_model.h.
 */
static __noinline __u64 page_at(struct sk_buff *skb, __u32 nth, __u32 *len)
{
	__u64 shared = (__u64)BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end);
	struct skb_shared_info *info = (void *)shared;
	struct piece piece;

	*len = 0;
	if (nth >= BPF_CORE_READ(info, nr_frags) ||
	    bpf_probe_read_kernel(&piece, sizeof(piece),
				  (void *)(shared +
					   bpf_core_field_offset(struct skb_shared_info, frags) +
					   nth * sizeof(piece))) ||
	    piece.page & 1)
		return 0;
	*len = piece.len;
	return word_at(page_offset_base_at) +
	       (((piece.page - word_at(vmemmap_base_at)) / bpf_core_type_size(struct page))
		<< page_shift) +
	       piece.offset;
}

/* How a program may have a dynptr of its packet. */
enum way {
	WAY_NONE,      /* not at all */
	WAY_TRACING,   /* as a BTF-typed tracepoint */
	WAY_NETFILTER, /* as a netfilter link */
};

extern __weak __ksym int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags,
					     struct bpf_dynptr *ptr);

static __always_inline bool have_dynptr(enum way way)
{
	return (way == WAY_TRACING && dynptr_in_tracing) ||
	       (way == WAY_NETFILTER && dynptr_in_netfilter);
}

/*
 * by_dynptr copies len bytes of skb from the address from on, which lies in or
 * behind its linear buffer. No helper may write where a dynptr was on the stack,
 * hence a frame of its own.
 */
static __noinline bool by_dynptr(struct sk_buff *skb, void *to, __u32 len, __u64 from)
{
	__u64 off = from - (__u64)BPF_CORE_READ(skb, data);
	struct bpf_dynptr d;

	return off <= 0xffff && !bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &d) &&
	       !bpf_dynptr_read(to, len, &d, off, 0);
}

#endif
