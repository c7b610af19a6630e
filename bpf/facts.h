/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What an event says of a packet: each set_ function fills in a part. */
#ifndef DNSPATH_FACTS_H
#define DNSPATH_FACTS_H

#include "identity.h"

/* skb->_nfct: the entry's address with enum ip_conntrack_info in its low bits. */
#define NFCT_INFOMASK	7UL
#define IP_CT_UNTRACKED 7

/* What is special about a probe. Those at kernel functions are all alike but for this. */
enum function_flag {
	FN_ENTRY = 1 << 0,	   /* report the call */
	FN_RETURN = 1 << 1,	   /* report the return value, as of the call's time */
	FN_UNLESS_ACCEPT = 1 << 2, /* but not if it is NF_ACCEPT */
	FN_UNLESS_0 = 1 << 3,	   /* but not if it is 0 */
	FN_CREATES = 1 << 4,	   /* the return value is a pointer: report whether it is one */
	FN_REWRITES = 1 << 5,	   /* at its return look at the packet's headers again */
	FN_CONNTRACK = 1 << 6,	   /* at its return look at the packet's conntrack state again */
	FN_POINTER = 1 << 7,	   /* the argument points to a pointer to the sk_buff */
	FN_STALE_DEV =
		1 << 8,	     /* skb->dev may hold something else by now (struct udp_dev_scratch) */
	FN_ROUTE = 1 << 9,   /* report the route that the packet holds */
	FN_CALLER = 1 << 10, /* a process calls it on its own behalf: report which */
	FN_NFT = 1 << 11,    /* the arguments are a struct nft_pktinfo and a struct nft_chain */
	FN_NEIGH = 1 << 12,  /* the first argument is the neighbour */
	FN_PORT = 1 << 13,   /* the first argument is a bridge's port */
};

/* What a hook knows beyond the sk_buff. Zero means absent. */
struct site {
	__u64 location;
	__u64 time;		/* 0: now */
	struct net_device *dev; /* NULL: skb->dev */
	struct net *net;	/* NULL: that of the device, else the socket's */
	__u32 reason;
	__s32 rc;
	__u16 flags; /* enum function_flag */
	__u8 probe;
	__u8 hook;
	bool in_hook; /* hook is valid */
	bool foreign; /* a hook of another family: bridge, arp, netdev */
	__u8 icmp_type;
	__u8 icmp_code;
};

static __always_inline void set_conntrack(struct event *e, struct sk_buff *skb)
{
	unsigned long nfct = BPF_CORE_READ(skb, _nfct);
	struct nf_conn *ct = (void *)(nfct & ~NFCT_INFOMASK);

	e->ct_info = nfct & NFCT_INFOMASK;
	if (!ct) {
		if (e->ct_info == IP_CT_UNTRACKED)
			e->h.flags |= FLAG_UNTRACKED;
		return;
	}

	__u16 l3num = BPF_CORE_READ(ct, tuplehash[0].tuple.src.l3num);

	e->h.flags |= FLAG_CONNTRACK;
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

	if (!dev && !(s->flags & FN_STALE_DEV))
		dev = BPF_CORE_READ(skb, dev);
	if (!net && dev)
		net = BPF_CORE_READ(dev, nd_net.net);
	if (!net)
		net = owner;
	at.dev = dev;
	at.netns = net ? BPF_CORE_READ(net, ns.inum) : 0;
	at.flags = owner && owner == net ? FLAG_LOCAL : 0;
	if (!at.netns)
		at.netns = l->netns;
	bpf_probe_read_kernel(out, sizeof(*out), &at);
}

static __always_inline void set_place(struct head *h, const struct place *at, struct life *l)
{
	struct net_device *dev =
		at->dev; /* not at->dev in the macros: CO-RE would relocate struct place */

	h->netns = at->netns;
	h->flags |= at->flags;
	if (dev) {
		h->ifindex = BPF_CORE_READ(dev, ifindex);
		BPF_CORE_READ_INTO(&h->dev, dev, name);
	} else if (l->netns == at->netns) {
		h->ifindex = l->ifindex;
	}
	l->netns = h->netns;
	l->ifindex = h->ifindex;
}

/* set_hook tells the netfilter hook that a packet is in: as the probe knows, else the last that it entered. */
static __always_inline void set_hook(struct head *h, const struct site *s, const struct life *l)
{
	if (s->in_hook) {
		h->hook = s->hook;
		h->flags |= FLAG_IN_HOOK;
	} else if (l->hook) {
		h->hook = l->hook - 1;
		h->flags |= FLAG_IN_HOOK | (l->hook_left ? FLAG_HOOK_LEFT : 0);
	}
}

static __always_inline void set_caller(struct head *h)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	h->pid = bpf_get_current_pid_tgid() >> 32;
	BPF_CORE_READ_INTO(&h->comm, task, group_leader, comm);
}

/*
 * in_call says whether a process is in a call about the TCP socket that sends
 * skb, and sends it thereby: the call holds the socket's lock, and softirqs leave
 * a socket alone then. What they send themselves, such as a SYN-ACK, can belong
 * to something that is no full socket, and has no lock.
 */
static __always_inline bool in_call(struct sock *sk)
{
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	return state != TCP_NEW_SYN_RECV && state != TCP_TIME_WAIT && state != TCP_LISTEN &&
	       BPF_CORE_READ(sk, sk_lock.owned);
}

/*
 * set_process names the process on whose behalf the kernel runs. In a softirq
 * that is whoever was interrupted, so it is asked only where a socket call is
 * under way, and when a device is handed a packet believed only if it lives in
 * the packet's namespace. Of consume_skb, user space believes it if a socket's
 * receive function is what frees the packet.
 */
static __always_inline void set_process(struct head *h, struct sk_buff *skb, const struct site *s,
					const struct life *l, __u8 proto)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct sock *sk = BPF_CORE_READ(skb, sk);

	if (s->probe == PROBE_NET_DEV_QUEUE && !l->sent && sk &&
	    BPF_CORE_READ(task, nsproxy, net_ns, ns.inum) == h->netns &&
	    (proto != IPPROTO_TCP || in_call(sk)))
		set_caller(h);
	else if (s->flags & FN_CALLER)
		set_caller(h);
}

/* skb->_skb_refdst: the route's address; bit 0 says that no reference is held. */
#define SKB_DST_PTRMASK ~1UL
#define DST_METADATA	0x0080

/* set_route tells where the route that a packet holds leads. */
static __noinline int set_route(struct route *r, struct sk_buff *skb)
{
	unsigned long dst = BPF_CORE_READ(skb, _skb_refdst) & SKB_DST_PTRMASK;
	struct rtable *rt = (void *)dst;
	struct rt6_info *rt6 = (void *)dst;
	struct net_device *dev;

	if (!dst || BPF_CORE_READ(rt, dst.flags) & DST_METADATA)
		return 0;
	dev = BPF_CORE_READ(rt, dst.dev);
	r->oif = BPF_CORE_READ(dev, ifindex);
	r->error = BPF_CORE_READ(rt, dst.error);
	BPF_CORE_READ_INTO(&r->out, dev, name);
	if (BPF_CORE_READ(rt, dst.ops, family) == AF_INET6) {
		BPF_CORE_READ_INTO(&r->gw, rt6, rt6i_gateway);
		r->gw_family = 6;
		return 0;
	}
	__u8 family = BPF_CORE_READ(rt, rt_gw_family);

	if (family == AF_INET6) {
		BPF_CORE_READ_INTO(&r->gw, rt, rt_gw6);
		r->gw_family = 6;
	} else if (family == AF_INET) {
		__be32 gw = BPF_CORE_READ(rt, rt_gw4);

		__builtin_memcpy(r->gw, &gw, sizeof(gw));
		r->gw_family = 4;
	}
	return 0;
}

/* set_addresses reads an IP header. */
static __always_inline void set_addresses(struct tuple *t, __u8 *family, __u8 *ttl, __u64 ip)
{
	union ip_header h;

	if (bpf_probe_read_kernel(&h, sizeof(h), (void *)ip))
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
}

/* be16_at reads a number from the packet; 0 if it can't be read. */
static __always_inline __u16 be16_at(__u64 addr)
{
	__be16 n = 0;

	bpf_probe_read_kernel(&n, sizeof(n), (void *)addr);
	return bpf_ntohs(n);
}

/* set_ports reads the ports of a UDP or TCP header, and its checksum. */
static __always_inline void set_ports(struct tuple *t, __u16 *check, __u64 l4, __u32 check_off)
{
	t->sport = be16_at(l4 + __builtin_offsetof(struct udphdr, source));
	t->dport = be16_at(l4 + __builtin_offsetof(struct udphdr, dest));
	*check = be16_at(l4 + check_off);
}

#define UDP_CHECK __builtin_offsetof(struct udphdr, check)
#define TCP_CHECK __builtin_offsetof(struct tcphdr, check)

/* set_tcp reads a TCP header, or what an ICMP error quotes of it. */
static __always_inline void set_tcp(struct event *e, const struct found *f)
{
	__u64 l4 = f->l3 + f->l4_off;
	struct tcphdr t;

	if (bpf_probe_read_kernel(&t, sizeof(t), (void *)l4))
		return;
	e->tcp_seq = bpf_ntohl(t.seq);
	if (f->l4_off + sizeof(t) > f->linear)
		return;
	e->tcp_ack = bpf_ntohl(t.ack_seq);
	e->tcp_flags = t.flags;
	e->check = bpf_ntohs(t.check);
}

/* What is told of one tunnel. */
struct shell {
	struct tuple addr;
	__u32 vni;
	__u16 check;
	__u8 family;
	__u8 ttl;
};

/* set_shell reads the IP header of a tunnel of a kind, at ip, and what follows it, at l4. */
static __noinline int set_shell(struct shell *sh, __u64 ip, __u64 l4, __u8 kind)
{
	__u64 header = l4 + sizeof(struct udphdr);

	set_addresses(&sh->addr, &sh->family, &sh->ttl, ip);
	if (kind == TUNNEL_GRE) {
		/* flags (16 bits), protocol (16), checksum (32) and key (32) if their flags are set */
		__u16 flags = be16_at(l4);
		__u64 key = l4 + 4 + (flags >> 15) * 4;

		if (flags & GRE_KEY)
			sh->vni = (__u32)be16_at(key) << 16 | be16_at(key + 2);
	} else if (kind == TUNNEL_VXLAN || kind == TUNNEL_GENEVE) {
		set_ports(&sh->addr, &sh->check, l4, UDP_CHECK);
		/* both have the VNI (24 bits) behind 32 others */
		sh->vni = be16_at(header + 4) << 8 | be16_at(header + 6) >> 8;
	}
	return 0;
}

/* set_tunnels tells of the tunnels around what was found. */
static __noinline int set_tunnels(struct event *e, const struct found *f)
{
	struct shell sh = {};

	e->tunnel = f->tunnel;
	e->tunnel2 = f->tunnel2;
	set_shell(&sh, f->l3 + f->outer_ip, f->l3 + f->outer_off, f->tunnel);
	e->outer = sh.addr;
	e->vni = sh.vni;
	e->outer_check = sh.check;
	e->outer_family = sh.family;
	e->outer_ttl = sh.ttl;
	if (!f->tunnel2)
		return 0;
	__builtin_memset(&sh, 0, sizeof(sh));
	set_shell(&sh, f->l3, f->l3 + f->outer2_off, f->tunnel2);
	e->outer2 = sh.addr;
	e->outer2_vni = sh.vni;
	e->outer2_family = sh.family;
	return 0;
}

/* set_first tells of a later fragment what the first one said. Tunnels within the fragmented datagram are among that. */
static __noinline int set_first(struct event *e, const struct found *f)
{
	struct first *first = first_of(&f->frag_key);

	if (!first)
		return 0;
	e->flow = first->flow;
	e->family = first->family;
	e->tcp_seq = first->tcp_seq;
	e->frag_off = f->frag_off;
	if (!first->inside)
		return 0;
	if (first->inside == 1) {
		e->outer2 = e->outer;
		e->outer2_vni = e->vni;
		e->outer2_family = e->outer_family;
		e->tunnel2 = e->tunnel;
	} else {
		e->outer2 = first->outer2;
		e->outer2_vni = first->outer2_vni;
		e->outer2_family = first->outer2_family;
		e->tunnel2 = first->tunnel2;
	}
	e->outer = first->outer;
	e->vni = first->vni;
	e->outer_family = first->outer_family;
	e->tunnel = first->tunnel;
	return 0;
}

/* keep_first keeps what a first fragment says for those that follow it. */
static __noinline int keep_first(const struct event *e, const struct found *f)
{
	struct first *first = new_first(&f->frag_key);

	if (!first)
		return 0;
	first->time = bpf_ktime_get_ns();
	first->flow = e->flow;
	first->outer = e->outer;
	first->outer2 = e->outer2;
	first->vni = e->vni;
	first->outer2_vni = e->outer2_vni;
	first->tcp_seq = e->tcp_seq;
	first->dns_id = e->dns_id;
	first->dns_flags = e->dns_flags;
	first->dns_len = e->dns_len;
	first->ip_id = e->ip_id;
	first->flags = e->h.flags & (FLAG_QR | FLAG_SHORT_DNS);
	first->proto = e->proto;
	first->family = e->family;
	first->outer_family = e->outer_family;
	first->outer2_family = e->outer2_family;
	first->tunnel = e->tunnel;
	first->tunnel2 = e->tunnel2;
	first->inside = !!e->tunnel + !!e->tunnel2 - f->outside;
	return 0;
}

/* set_quote tells who sent an ICMP error, and of what kind it is. */
static __noinline int set_quote(struct event *e, const struct found *f)
{
	__u64 icmp = f->l3 + f->icmp_off;
	struct tuple t = {};
	__u8 family = 0, ttl;
	__u16 kind = be16_at(icmp);

	set_addresses(&t, &family, &ttl, f->l3 + f->icmp_ip);
	__builtin_memcpy(e->from, t.saddr, sizeof(e->from));
	__builtin_memcpy(e->to, t.daddr, sizeof(e->to));
	e->icmp_type = kind >> 8;
	e->icmp_code = kind;
	if (family == 4 ? kind == (3 << 8 | 4)
			: kind >> 8 == 2) /* fragmentation needed; packet too big */
		e->mtu = be16_at(icmp + 6);
	return 0;
}

static __always_inline void set_headers(struct event *e, const struct found *f)
{
	e->proto = f->proto;
	e->dns_id = f->dns_id;
	e->dns_flags = f->dns_flags;
	e->dns_len = f->dns_len;
	e->dns_off = f->dns_off;
	e->ip_id = f->ip_id ^ f->frag_id; /* one of them is 0 */
	set_addresses(&e->flow, &e->family, &e->ttl, f->l3 + f->ip_off);
	if (f->tunnel)
		set_tunnels(e, f);
	if (f->frag_off) {
		set_first(e, f);
		return;
	}
	set_ports(&e->flow, &e->check, f->l3 + f->l4_off, UDP_CHECK);
	if (f->proto == IPPROTO_TCP) {
		e->check = 0;
		set_tcp(e, f);
	}
	if (f->flags & FLAG_QUOTE)
		set_quote(e, f);
	else if (f->frag_key)
		keep_first(e, f);
}

static __always_inline void set_buffer(struct event *e, struct sk_buff *skb, const struct found *f)
{
	struct skb_shared_info *info;

	e->skb = (__u64)skb;
	e->head = (__u64)BPF_CORE_READ(skb, head);
	e->len = BPF_CORE_READ(skb, len);
	e->mark = BPF_CORE_READ(skb, mark);
	e->l4_off = f->l3 + f->l4_off - e->head;
	e->csum_start = BPF_CORE_READ(skb, csum_start);
	e->csum_offset = BPF_CORE_READ(skb, csum_offset);
	e->h.ip_summed = BPF_CORE_READ_BITFIELD_PROBED(skb, ip_summed);
	e->csum_level = BPF_CORE_READ_BITFIELD_PROBED(skb, csum_level);
	e->encapsulation = BPF_CORE_READ_BITFIELD_PROBED(skb, encapsulation);
	info = (void *)(e->head + BPF_CORE_READ(skb, end));
	e->gso_size = BPF_CORE_READ(info, gso_size);
	e->gso_type = BPF_CORE_READ(info, gso_type);
	e->pkt_type = BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type);
}

#endif
