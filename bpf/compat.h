/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What differs between kernels, each with the commit or release that brought
 * it. Nothing here compares versions: user space counts a tracepoint's
 * arguments in the running kernel's BTF, and the verifier prunes what is not
 * there.
 */
#ifndef DNSPATH_COMPAT_H
#define DNSPATH_COMPAT_H

#include "config.h"

/*
 * skb:kfree_skb (skb, location) gained the drop reason in 5.17
 * (c504e5c2f964 "net: skb: introduce kfree_skb_reason()").
 */
static __always_inline __u32 kfree_skb_reason(const __u64 *ctx)
{
	return kfree_skb_args >= 3 ? (__u32)ctx[2] : 0;
}

/* skb:consume_skb (skb) gained the location in 6.3. */
static __always_inline __u64 consume_skb_location(const __u64 *ctx)
{
	return consume_skb_args >= 2 ? ctx[1] : 0;
}

/* udp:udp_fail_queue_rcv_skb (rc, sk) gained the skb in 6.10. */
static __always_inline struct sk_buff *udp_fail_skb(const __u64 *ctx)
{
	return udp_fail_args >= 3 ? (struct sk_buff *)ctx[2] : 0;
}

#endif
