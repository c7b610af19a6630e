/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Recognition: is this sk_buff a DNS message over UDP, plain or in a tunnel, and where do its parts lie? */
#ifndef DNSPATH_PACKET_H
#define DNSPATH_PACKET_H

#include "config.h"
#include "event.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

/* An IPv6 chain longer than this is not followed; RFC 8200 section 4.1 lists six kinds, each at most once or twice. */
#define MAX_EXT_HEADERS 6

/* What the parser learned. Offsets count from l3, the outermost IP header. */
struct packet {
	__u64 l3;     /* address */
	__u32 linear; /* bytes from l3 that lie in the linear buffer */
	__u32 vni;
	struct tuple flow;
	struct tuple outer;
	__u16 flags;
	__u16 dns_id;
	__u16 dns_flags;
	__u16 dns_len;
	__u16 dns_off;
	__u16 l4_off;
	__u16 ip_id;
	__u16 check;
	__u16 outer_check;
	__u8 family;
	__u8 outer_family;
	__u8 tunnel;
	__u8 proto;
	__u8 ttl;
	__u8 outer_ttl;
};

/*
 * The verifier walks what follows the parser once for each set of constants
 * that the parser can leave behind: IPv4 or IPv6, tunnel or not, each chain of
 * extension headers. Zeros and offsets that come out of this writable variable
 * are unknown to it, so all those states are one (200,000 instructions a
 * program become 10,000).
 */
static struct packet zeros;
static volatile __u32 zero;

static __always_inline void clear(void *to, __u32 size)
{
	bpf_probe_read_kernel(to, size, &zeros);
}

static __always_inline __u32 forget_bounds(__u32 off)
{
	return (off + zero) & 0xffff;
}

/* Where a hook finds the IP header. */
enum l3_at {
	L3_NETWORK_HEADER, /* transmit, netfilter, sockets: the stack has set it */
	L3_DATA, /* receive: skb->data, network_header is stale until __netif_receive_skb_core sets it */
};

struct udp_and_payload {
	struct udphdr udp;
	__u8 payload[22]; /* a DNS header (12), or VXLAN (8) and Ethernet (14) */
};

/* ip_header reads the IP header at off, and returns the offset of the UDP header, or 0. */
static __always_inline __u32 ip_header(struct packet *p, __u32 off)
{
	union {
		struct iphdr v4;
		struct ipv6hdr v6;
	} ip;

	if (off + sizeof(ip.v4) > p->linear ||
	    bpf_probe_read_kernel(&ip, sizeof(ip), (void *)(p->l3 + off)))
		return 0;
	if (ip.v4.ver_ihl >> 4 == 4) {
		__u32 frag = bpf_ntohs(ip.v4.frag_off);

		if (ip.v4.protocol != IPPROTO_UDP || (frag & 0x1fff))
			return 0;
		if (frag & 0x2000)
			p->flags |= FLAG_FRAGMENT;
		p->family = 4;
		p->ttl = ip.v4.ttl;
		p->ip_id = bpf_ntohs(ip.v4.id);
		clear(&p->flow, sizeof(p->flow));
		__builtin_memcpy(p->flow.saddr, ip.v4.saddr, 4);
		__builtin_memcpy(p->flow.daddr, ip.v4.daddr, 4);
		return off + (ip.v4.ver_ihl & 0xf) * 4;
	}
	if (ip.v4.ver_ihl >> 4 != 6 || off + sizeof(ip.v6) > p->linear)
		return 0;

	__u8 next = ip.v6.nexthdr;

	p->family = 6;
	p->ttl = ip.v6.hop_limit;
	p->ip_id = zero;
	__builtin_memcpy(p->flow.saddr, ip.v6.saddr, 16);
	__builtin_memcpy(p->flow.daddr, ip.v6.daddr, 16);
	off += sizeof(ip.v6);
	for (int i = 0; i < MAX_EXT_HEADERS; i++) {
		__u8 ext[4];

		if (next == IPPROTO_UDP)
			return off;
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_AH && next != IPPROTO_FRAGMENT)
			return 0;
		if (off + 8 > p->linear ||
		    bpf_probe_read_kernel(ext, sizeof(ext), (void *)(p->l3 + off)))
			return 0;
		if (next == IPPROTO_FRAGMENT) {
			__u32 frag = ext[2] << 8 | ext[3];

			if (frag & 0xfff8)
				return 0;
			if (frag & 1)
				p->flags |= FLAG_FRAGMENT;
			off += 8;
		} else if (next == IPPROTO_AH) {
			off += (ext[1] + 2) * 4; /* RFC 4302 section 2.2 */
		} else {
			off += (ext[1] + 1) * 8; /* RFC 8200 section 4.3 */
		}
		next = ext[0];
		off = forget_bounds(off);
	}
	return next == IPPROTO_UDP ? off : 0;
}

/* dns_header fills in what a DNS message behind the UDP header at off says; the caller has matched the ports. */
static __always_inline void dns_header(struct packet *p, __u32 off, const struct udp_and_payload *u)
{
	__u32 len = bpf_ntohs(u->udp.len);
	const __u8 *dns = u->payload;

	p->proto = IPPROTO_UDP;
	p->check = bpf_ntohs(u->udp.check);
	p->l4_off = off;
	p->dns_off = off + sizeof(u->udp);
	p->dns_len = len >= sizeof(u->udp) ? len - sizeof(u->udp) : zero;
	if (p->dns_len < 12) {
		p->flags |= FLAG_SHORT_DNS;
		/* no QR bit to read: the port tells the direction */
		if (in_ports(dns_ports, p->flow.sport) && !in_ports(dns_ports, p->flow.dport))
			p->flags |= FLAG_QR;
		return;
	}
	if (p->dns_off + 12 > p->linear) {
		p->flags |= FLAG_NONLINEAR;
		return;
	}
	p->dns_id = dns[0] << 8 | dns[1];
	p->dns_flags = dns[2] << 8 | dns[3];
	if (p->dns_flags & 0x8000)
		p->flags |= FLAG_QR;
}

/* vxlan_header steps into a VXLAN datagram (RFC 7348), and returns the offset of the inner IP header, or 0. */
static __always_inline __u32 vxlan_header(struct packet *p, __u32 off,
					  const struct udp_and_payload *u)
{
	const __u8 *vx = u->payload;
	__u16 type = vx[8 + 12] << 8 | vx[8 + 13];

	if (off + sizeof(*u) > p->linear || !(vx[0] & 0x08) ||
	    (type != ETH_P_IP && type != ETH_P_IPV6))
		return 0;
	p->tunnel = TUNNEL_VXLAN;
	p->vni = vx[4] << 16 | vx[5] << 8 | vx[6];
	p->outer = p->flow;
	p->outer_family = p->family;
	p->outer_ttl = p->ttl;
	p->outer_check = bpf_ntohs(u->udp.check);
	return off + sizeof(*u);
}

/*
 * parse returns true if skb holds a DNS message that we look for. A packet
 * that is not DNS costs four or five short reads: the fields of skb, its IP
 * header, its ports. A function of its own for the stack's sake, as are live()
 * and emit(): each frame stays under 256 bytes, a chain of them under 512.
 */
static __noinline bool parse(struct packet *p, struct sk_buff *skb, enum l3_at at)
{
	__u16 protocol = bpf_ntohs(BPF_CORE_READ(skb, protocol));
	__u64 head;
	__u32 off = 0;

	if (protocol != ETH_P_IP && protocol != ETH_P_IPV6)
		return false;
	clear(p, sizeof(*p));
	head = (__u64)BPF_CORE_READ(skb, head);
	p->l3 = at == L3_DATA ? (__u64)BPF_CORE_READ(skb, data)
			      : head + BPF_CORE_READ(skb, network_header);
	p->linear = head + BPF_CORE_READ(skb, tail) - p->l3;
	if (p->linear > 0xffff) /* the header lies behind the tail: not set */
		return false;

	for (int depth = 0; depth < 2; depth++) {
		struct udp_and_payload u;

		off = forget_bounds(ip_header(p, off));
		if (!off || off + sizeof(u.udp) > p->linear ||
		    bpf_probe_read_kernel(&u, sizeof(u), (void *)(p->l3 + off)))
			return false;
		p->flow.sport = bpf_ntohs(u.udp.source);
		p->flow.dport = bpf_ntohs(u.udp.dest);
		if (in_ports(dns_ports, p->flow.dport) || in_ports(dns_ports, p->flow.sport)) {
			dns_header(p, off, &u);
			return true;
		}
		if (depth || !in_ports(vxlan_ports, p->flow.dport))
			return false;
		off = vxlan_header(p, off, &u);
		if (!off)
			return false;
	}
	return false;
}

#endif
