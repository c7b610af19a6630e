/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What an event says of a packet: each set_ function fills in a part. */
#ifndef DNSPATH_FACTS_H
#define DNSPATH_FACTS_H

#include "identity.h"

/* skb->_nfct: the entry's address with enum ip_conntrack_info in its low bits. */
#define NFCT_INFOMASK	7UL
#define IP_CT_UNTRACKED 7

/* What a hook knows beyond the sk_buff. Zero means absent. */
struct site {
	__u64 location;
	struct net_device *dev; /* NULL: skb->dev */
	struct net *net;	/* NULL: that of the device, else the socket's */
	__u32 reason;
	__s16 rc;
	__u8 probe;
	__u8 hook;
	__u8 icmp_type;
	__u8 icmp_code;
	bool dev_is_stale; /* skb->dev may hold something else by now (struct udp_dev_scratch) */
};

static __always_inline void set_conntrack(struct event *e, struct sk_buff *skb)
{
	unsigned long nfct = BPF_CORE_READ(skb, _nfct);
	struct nf_conn *ct = (void *)(nfct & ~NFCT_INFOMASK);

	e->ct_info = nfct & NFCT_INFOMASK;
	if (!ct) {
		if (e->ct_info == IP_CT_UNTRACKED)
			e->flags |= FLAG_UNTRACKED;
		return;
	}

	__u16 l3num = BPF_CORE_READ(ct, tuplehash[0].tuple.src.l3num);

	e->flags |= FLAG_CONNTRACK;
	e->ct_family = l3num == AF_INET6 ? 6 : 4;
	e->ct_status = BPF_CORE_READ(ct, status);
	BPF_CORE_READ_INTO(&e->ct_orig.saddr, ct, tuplehash[0].tuple.src.u3.all);
	BPF_CORE_READ_INTO(&e->ct_orig.daddr, ct, tuplehash[0].tuple.dst.u3.all);
	e->ct_orig.sport = bpf_ntohs(BPF_CORE_READ(ct, tuplehash[0].tuple.src.u.all));
	e->ct_orig.dport = bpf_ntohs(BPF_CORE_READ(ct, tuplehash[0].tuple.dst.u.all));
	BPF_CORE_READ_INTO(&e->ct_reply.saddr, ct, tuplehash[1].tuple.src.u3.all);
	BPF_CORE_READ_INTO(&e->ct_reply.daddr, ct, tuplehash[1].tuple.dst.u3.all);
	e->ct_reply.sport = bpf_ntohs(BPF_CORE_READ(ct, tuplehash[1].tuple.src.u.all));
	e->ct_reply.dport = bpf_ntohs(BPF_CORE_READ(ct, tuplehash[1].tuple.dst.u.all));
}

/* Where a packet is. */
struct place {
	struct net_device *dev;
	__u32 netns;
	__u32 flags; /* FLAG_LOCAL or none */
};

/*
 * find_place finds the namespace; a packet whose device is unknown is where it
 * was last. It hands out a copy by way of a helper: the verifier then takes
 * all ways to find it for one.
 */
static __noinline void find_place(struct place *out, struct sk_buff *skb, const struct site *s,
				  const struct life *l)
{
	struct sock *sk = BPF_CORE_READ(skb, sk);
	struct net *owner = sk ? BPF_CORE_READ(sk, __sk_common.skc_net.net) : 0;
	struct net_device *dev = s->dev;
	struct net *net = s->net;
	struct place at;

	if (!dev && !s->dev_is_stale)
		dev = BPF_CORE_READ(skb, dev);
	if (!net && dev)
		net = BPF_CORE_READ(dev, nd_net.net);
	if (!net)
		net = owner;
	at.dev = dev;
	at.netns = net ? BPF_CORE_READ(net, ns.inum) : 0;
	at.flags = owner && owner == net ? FLAG_LOCAL : 0;
	if (!at.netns && l)
		at.netns = l->netns;
	bpf_probe_read_kernel(out, sizeof(*out), &at);
}

static __always_inline void set_place(struct event *e, const struct place *at, struct life *l)
{
	struct net_device *dev =
		at->dev; /* not at->dev in the macros: CO-RE would relocate struct place */

	e->netns = at->netns;
	e->flags |= at->flags;
	if (dev) {
		e->ifindex = BPF_CORE_READ(dev, ifindex);
		BPF_CORE_READ_INTO(&e->dev, dev, name);
	} else if (l && l->netns == at->netns) {
		e->ifindex = l->ifindex;
	}
	if (l) {
		l->netns = e->netns;
		l->ifindex = e->ifindex;
	}
}

/*
 * set_process names the process on whose behalf the kernel runs. In a softirq
 * that is whoever was interrupted, so it is asked only where a socket call is
 * under way, and on transmit believed only if it lives in the packet's
 * namespace. Of consume_skb, user space believes it if a socket's receive
 * function is what frees the packet.
 */
static __always_inline void set_process(struct event *e, struct sk_buff *skb, const struct life *l)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (e->probe == PROBE_NET_DEV_QUEUE) {
		if (!l || l->sent || !BPF_CORE_READ(skb, sk) ||
		    BPF_CORE_READ(task, nsproxy, net_ns, ns.inum) != e->netns)
			return;
	} else if (e->probe != PROBE_SKB_COPY_DATAGRAM_IOVEC && e->probe != PROBE_CONSUME_SKB) {
		return;
	}
	e->pid = bpf_get_current_pid_tgid() >> 32;
	BPF_CORE_READ_INTO(&e->comm, task, group_leader, comm);
}

/* set_addresses reads an IP header and the ports behind it. */
static __always_inline void set_addresses(struct tuple *t, __u8 *family, __u8 *ttl, __u64 ip,
					  __u64 l4)
{
	union ip_header h;
	__be16 ports[2];

	if (bpf_probe_read_kernel(&h, sizeof(h), (void *)ip) ||
	    bpf_probe_read_kernel(ports, sizeof(ports), (void *)l4))
		return;
	*family = h.v4.ver_ihl >> 4;
	if (*family == 4) {
		*ttl = h.v4.ttl;
		__builtin_memcpy(t->saddr, h.v4.saddr, 4);
		__builtin_memcpy(t->daddr, h.v4.daddr, 4);
	} else {
		*ttl = h.v6.hop_limit;
		__builtin_memcpy(t->saddr, h.v6.saddr, 16);
		__builtin_memcpy(t->daddr, h.v6.daddr, 16);
	}
	t->sport = bpf_ntohs(ports[0]);
	t->dport = bpf_ntohs(ports[1]);
}

/* be16_at reads a number from the packet; 0 if it can't be read. */
static __always_inline __u16 be16_at(__u64 addr)
{
	__be16 n = 0;

	bpf_probe_read_kernel(&n, sizeof(n), (void *)addr);
	return bpf_ntohs(n);
}

static __always_inline void set_headers(struct event *e, const struct found *f)
{
	__u64 udp = f->l3 + f->l4_off;

	e->proto = IPPROTO_UDP;
	e->dns_id = f->dns_id;
	e->dns_len = f->dns_len;
	e->dns_off = f->l4_off + sizeof(struct udphdr);
	set_addresses(&e->flow, &e->family, &e->ttl, f->l3 + f->ip_off, udp);
	e->check = be16_at(udp + __builtin_offsetof(struct udphdr, check));
	if (!(f->flags & (FLAG_SHORT_DNS | FLAG_NONLINEAR)))
		e->dns_flags = be16_at(udp + sizeof(struct udphdr) + 2);
	e->ip_id = f->ip_id;
	if (!f->outer_off)
		return;
	udp = f->l3 + f->outer_off;
	e->tunnel = TUNNEL_VXLAN;
	set_addresses(&e->outer, &e->outer_family, &e->outer_ttl, f->l3, udp);
	e->outer_check = be16_at(udp + __builtin_offsetof(struct udphdr, check));
	/* VXLAN: flags (8 bits), reserved (24), VNI (24), reserved (8) */
	e->vni = be16_at(udp + sizeof(struct udphdr) + 4) << 8 |
		 be16_at(udp + sizeof(struct udphdr) + 6) >> 8;
}

static __always_inline void set_buffer(struct event *e, struct sk_buff *skb, const struct found *f)
{
	e->skb = (__u64)skb;
	e->head = (__u64)BPF_CORE_READ(skb, head);
	e->len = BPF_CORE_READ(skb, len);
	e->mark = BPF_CORE_READ(skb, mark);
	e->l4_off = f->l3 + f->l4_off - e->head;
	e->csum_start = BPF_CORE_READ(skb, csum_start);
	e->csum_offset = BPF_CORE_READ(skb, csum_offset);
	e->ip_summed = BPF_CORE_READ_BITFIELD_PROBED(skb, ip_summed);
	e->csum_level = BPF_CORE_READ_BITFIELD_PROBED(skb, csum_level);
	e->encapsulation = BPF_CORE_READ_BITFIELD_PROBED(skb, encapsulation);
	e->pkt_type = BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type);
}

#endif
