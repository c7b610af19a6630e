/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Identity: which observations belong to one packet. The data buffer
 * (skb->head) lives through clone, NAT and encapsulation in place; where it is
 * replaced (pskb_expand_head) the sk_buff's own address carries over. The slab
 * hands both out again at once, so an entry counts only while the DNS message
 * is the same, and both are forgotten when the packet is freed.
 */
#ifndef DNSPATH_IDENTITY_H
#define DNSPATH_IDENTITY_H

#include "loss.h"
#include "packet.h"

enum {
	MAX_PACKETS = 32768,
};

struct life {
	__u64 id;
	__u64 message; /* struct found's */
	__u64 head;    /* under the sk_buff's address: the buffer that it had last */
	__u64 seen;    /* digest of the headers that user space has a copy of */
	__u32 netns;   /* where it was last seen: sockets reuse skb->dev for other things */
	__u32 ifindex;
	__u8 hook; /* netfilter hook that it entered last, plus one; 0 none since the last device */
	__u8 hook_left;
	__u8 sent;  /* a device has had it */
	__u8 read;  /* a process has read it */
	__u8 vague; /* message was taken without the DNS header */
	__u8 whole; /* user space has its payload too */
	__u8 pad[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_PACKETS);
	__type(key, __u64);
	__type(value, struct life);
} packets SEC(".maps");

/* same says whether what lies in a life's memory is still its message. */
static __always_inline bool same(const struct life *l, const struct found *f)
{
	return !((l->message ^ f->message) & (l->vague | f->vague ? VAGUELY : ~0ULL));
}

/* live returns the life of the packet in skb, born here if this is its first sight, or NULL if the map is full. */
static __noinline struct life *live(struct sk_buff *skb, __u64 head, struct found *f)
{
	struct life *l = bpf_map_lookup_elem(&packets, &head);
	__u64 addr = (__u64)skb;

	if (l && same(l, f)) {
		if (l->vague && !f->vague) {
			l->message = f->message;
			l->vague = 0;
		}
		return l;
	}

	struct life fresh = { .message = f->message, .head = head, .vague = f->vague };
	struct life *alias = bpf_map_lookup_elem(&packets, &addr);

	if (alias && same(alias, f)) {
		/* pskb_expand_head(): the old buffer is free, and soon another packet's */
		__u64 old_head = alias->head;
		struct life *old = bpf_map_lookup_elem(&packets, &old_head);

		fresh.id = alias->id;
		if (old && old->id == alias->id) {
			fresh = *old;
			bpf_map_delete_elem(&packets, &old_head);
		}
		alias->head = head;
	} else {
		/* unique: no CPU sees two packets in one nanosecond, and 56 bits of them are two years */
		fresh.id = bpf_ktime_get_ns() << 8 | (bpf_get_smp_processor_id() & 0xff);
		f->flags |= FLAG_NEW;
		if (bpf_map_update_elem(&packets, &addr, &fresh, BPF_ANY))
			count_loss(LOSS_PACKET_MAP);
	}
	if (bpf_map_update_elem(&packets, &head, &fresh, BPF_ANY)) {
		count_loss(LOSS_PACKET_MAP);
		return 0;
	}
	return bpf_map_lookup_elem(&packets, &head);
}

/* forget ends a life when its sk_buff is freed, unless a clone still uses the buffer. */
static __always_inline void forget(struct sk_buff *skb, __u64 head)
{
	struct skb_shared_info *shared = (void *)head + BPF_CORE_READ(skb, end);
	__u64 addr = (__u64)skb;

	bpf_map_delete_elem(&packets, &addr);
	/* the lower half of dataref counts the users of the whole buffer (SKB_DATAREF_SHIFT) */
	if ((BPF_CORE_READ(shared, dataref.counter) & 0xffff) <= 1)
		bpf_map_delete_elem(&packets, &head);
}

#endif
