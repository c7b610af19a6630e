/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Identity: which observations belong to one packet. The data buffer
 * (skb->head) lives through clone, NAT and encapsulation in place; where it is
 * replaced (pskb_expand_head) the sk_buff's own address carries over. The slab
 * hands both out again at once, so an entry counts only while the DNS message
 * is the same, and both are forgotten when the packet is freed. Not every end is
 * seen, and IPv6 has no IP ID: see stale().
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
	__u8 done;  /* a socket has it */
	__u8 clone; /* the sk_buff is gone, and another holds the buffer, or did */
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

/* What a probe says of a packet's way. */
enum sight {
	SIGHT_END, /* a socket, a process or the end has it */
	SIGHT_WAY,
	SIGHT_SEND,  /* a device is given it: no packet comes to another namespace by that */
	SIGHT_START, /* a process of this host sends it */
};

/* netns_of returns the namespace of the device that the packet is at. */
static __always_inline __u32 netns_of(const struct found *f)
{
	struct sk_buff *skb = (struct sk_buff *)f->skb;
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct net *net = BPF_CORE_READ(dev, nd_net.net);

	return BPF_CORE_READ(net, ns.inum);
}

/*
 * stale says whether f is another packet than l, in the same memory and as
 * long, of which these ends were not seen: what a socket had is freed without a
 * tracepoint, since 6.18 datagrams too (skb_attempt_defer_free); so is a buffer
 * whose sk_buff skb_expand_head() has replaced by a clone, when pskb_expand_head()
 * has copied it (IPv6 into a tunnel). A clone that goes on, as of a bridge that
 * floods, has the headers that were there.
 */
static __always_inline bool stale(struct life *l, const struct found *f, enum sight sight)
{
	if (sight == SIGHT_START && l->sent)
		return true;
	if (sight == SIGHT_SEND && l->sent && l->netns != netns_of(f))
		return true;
	if (sight != SIGHT_END && l->done)
		return true;
	if (l->clone && l->seen != f->digest)
		return true;
	l->clone = 0;
	return false;
}

/* live returns the life of the packet in skb, born here if this is its first sight, or NULL if the map is full. */
static __noinline struct life *live(struct sk_buff *skb, __u64 head, struct found *f,
				    enum sight sight)
{
	struct life *l = bpf_map_lookup_elem(&packets, &head);
	__u64 addr = (__u64)skb;

	if (l && same(l, f) && !stale(l, f, sight)) {
		if (l->vague && !f->vague) {
			l->message = f->message;
			l->vague = 0;
		}
		return l;
	}

	struct life fresh = { .message = f->message, .head = head, .vague = f->vague };
	struct life *alias = bpf_map_lookup_elem(&packets, &addr);
	__u64 old_head = alias ? alias->head : 0;
	struct life *old = alias ? bpf_map_lookup_elem(&packets, &old_head) : 0;

	if (alias && stale(alias, f, sight))
		alias = 0;
	if (alias && old && old->id == alias->id && (old == l || stale(old, f, sight)))
		alias = 0;
	if (alias && same(alias, f) && sight != SIGHT_START) {
		/* pskb_expand_head(): the old buffer is free, and soon another packet's */
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

/* deliver notes that a socket has the packet. */
static __always_inline void deliver(__u64 skb, __u64 head, __u64 id)
{
	struct life *l = bpf_map_lookup_elem(&packets, &head);
	struct life *alias = bpf_map_lookup_elem(&packets, &skb);

	if (l && l->id == id)
		l->done = 1;
	if (alias && alias->id == id)
		alias->done = 1;
}

/* forget ends a life when its sk_buff is freed, unless a clone still uses the buffer. */
static __always_inline void forget(struct sk_buff *skb, __u64 head)
{
	struct skb_shared_info *shared = (void *)head + BPF_CORE_READ(skb, end);
	__u64 addr = (__u64)skb;

	bpf_map_delete_elem(&packets, &addr);
	/* the lower half of dataref counts the users of the whole buffer (SKB_DATAREF_SHIFT) */
	if ((BPF_CORE_READ(shared, dataref.counter) & 0xffff) <= 1) {
		bpf_map_delete_elem(&packets, &head);
		return;
	}

	struct life *l = bpf_map_lookup_elem(&packets, &head);

	if (l)
		l->clone = 1;
}

#endif
