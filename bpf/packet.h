/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Recognition: is this sk_buff a DNS message over UDP or a segment of a TCP
 * connection that carries DNS, plain or in a tunnel, and where do its parts
 * lie? What the parts say is read later, if the packet is one of ours (emit.h).
 */
#ifndef DNSPATH_PACKET_H
#define DNSPATH_PACKET_H

#include "config.h"
#include "event.h"
#include "fragments.h"
#include "pages.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

/* An IPv6 chain longer than this is not followed; RFC 8200 section 4.1 lists seven headers, most of them once. */
#define MAX_EXT_HEADERS 6

/* A packet of ours, found. Offsets count from l3, the outermost IP header. */
struct found {
	__u64 l3;     /* address */
	__u64 digest; /* of the headers whose change makes a new copy of the packet worth its room */
	__u64 message;	  /* tells one message from the next in the same memory */
	__u64 skb;	  /* address */
	__u64 addresses;  /* digest of those that were read last */
	__u64 frag_key;	  /* of a fragment: tells its datagram; else 0 */
	__u32 linear;	  /* bytes from l3 that lie in the linear buffer */
	__u32 end;	  /* of what is worth copying */
	__u32 ip_end;	  /* of the innermost IP datagram, as it says itself */
	__u16 ip_off;	  /* innermost IP header */
	__u16 l4_off;	  /* innermost UDP or TCP header */
	__u16 dns_off;	  /* what it carries */
	__u16 outer_ip;	  /* of a tunnel, the innermost if there are two: its IP header */
	__u16 outer_off;  /* and what follows that: UDP, GRE or IP */
	__u16 outer2_off; /* the same of the outermost, whose IP header comes first of all */
	__u16 icmp_ip;	  /* of an ICMP error: its own IP header */
	__u16 icmp_off;	  /* and what follows that */
	__u16 dns_len;	  /* as the UDP header says; of TCP, the segment's payload */
	__u16 dns_id;
	__u16 dns_flags;
	__u16 ip_id;	/* of the innermost IPv4 header, else 0 */
	__u16 frag_id;	/* of the innermost IPv6 fragment header, its halves xored, else 0 */
	__u16 frag_off; /* of a fragment that is not the first */
	__u16 flags;	/* enum event_flag */
	__u8 proto;	/* of the IP datagram that was looked at last */
	__u8 tunnel;	/* enum tunnel */
	__u8 tunnel2;	/* of the tunnel around that */
	__u8 vague;	/* the DNS header is out of reach */
	__u8 outside;	/* how many tunnels lie around the fragment */
	__u8 pad[5];
};

/* Where a hook finds the IP header. */
enum l3_at {
	L3_NETWORK_HEADER, /* transmit, netfilter, sockets: the stack has set it */
	L3_DATA, /* receive: skb->data, network_header is stale until __netif_receive_skb_core sets it */
};

union ip_header {
	struct iphdr v4;
	struct ipv6hdr v6;
	__u32 words[10]; /* for mix(); aligns the others */
};

struct udp_and_payload {
	struct udphdr udp;
	__u8 payload[12]; /* a DNS header, or what begins with VXLAN's or Geneve's */
};

struct tcp_and_options {
	struct tcphdr tcp;
	__u8 options[12]; /* those that the header has room for, and what follows */
};

/*
 * The verifier walks what follows once for each set of constants that the
 * parser can leave behind: IPv4 or IPv6, tunnel or not, each chain of extension
 * headers. Added to a writable variable they are unknown to it, and all those
 * ways are one.
 */
static volatile __u32 zero;

static __always_inline __u32 forget_bounds(__u32 off)
{
	return (off + zero) & 0xffff;
}

/* mix adds words to a digest: FNV-1a, a word at a time. */
static __always_inline __u64 mix(__u64 digest, const __u32 *words, __u32 n)
{
	for (__u32 i = 0; i < n; i++)
		digest = (digest ^ words[i]) * 0x100000001b3ULL;
	return digest;
}

/* What is looked into; all other protocols end the search. */
static __always_inline bool carries(__u32 proto)
{
	const __u64 mask = 1ULL << IPPROTO_UDP | 1ULL << IPPROTO_TCP | 1ULL << IPPROTO_IPIP |
			   1ULL << IPPROTO_IPV6 | 1ULL << IPPROTO_GRE | 1ULL << IPPROTO_ICMP |
			   1ULL << IPPROTO_ICMPV6;

	return proto < 64 && mask >> proto & 1;
}

#define FNV_BASIS 0xcbf29ce484222325ULL

/* takes_fragment notes that the datagram looked at is a fragment: of which one, from which offset on, and whether more follow. */
static __always_inline void takes_fragment(struct found *f, __u32 proto, __u32 id, __u32 off,
					   bool more)
{
	__u32 words[] = { id, proto };

	f->frag_key = mix(f->addresses, words, 2);
	f->frag_off = forget_bounds(off);
	f->outside = !!f->tunnel + !!f->tunnel2;
	f->flags |= FLAG_FRAGMENT | (more ? 0 : FLAG_FRAG_LAST);
	f->digest = mix(f->digest, &off, 1);
}

/* skip_extensions walks the IPv6 headers from off on, and returns the offset of what they carry, or 0. */
static __noinline __u32 skip_extensions(struct found *f, __u32 off, __u32 next)
{
#pragma unroll
	for (int i = 0; i < MAX_EXT_HEADERS; i++) {
		__u32 words[2];
		__u8 *ext = (__u8 *)words;

		if (carries(next) || f->frag_off)
			break;
		if (off + 8 > f->linear ||
		    bpf_probe_read_kernel(words, sizeof(words), (void *)(f->l3 + off)))
			return 0;
		switch (next) {
		case IPPROTO_FRAGMENT:
			if (ext[2] | (ext[3] & 0xf9)) {
				takes_fragment(f, ext[0], words[1], ext[2] << 8 | (ext[3] & 0xf8),
					       ext[3] & 1);
				f->frag_id = bpf_ntohl(words[1]) >> 16 ^ bpf_ntohl(words[1]);
			}
			off += 8;
			break;
		case IPPROTO_AH:
			off += (ext[1] + 2) * 4; /* RFC 4302 section 2.2 */
			break;
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			off += (ext[1] + 1) * 8; /* RFC 8200 section 4.3 */
			break;
		default:
			return 0;
		}
		off = forget_bounds(off);
		next = ext[0];
	}
	f->proto = forget_bounds(next);
	return carries(next) ? off : 0;
}

static __always_inline void takes_addresses(struct found *f, const __u32 *words, __u32 n)
{
	f->addresses = mix(FNV_BASIS, words, n);
	f->digest = mix(f->digest, (const __u32 *)&f->addresses, 2);
}

/* to_l4 reads the IP header at f->ip_off, and returns the offset of what it carries (f->proto), or 0. */
static __noinline __u32 to_l4(struct found *f)
{
	__u32 off = f->ip_off;
	union ip_header ip;

	if (off + sizeof(ip.v4) > f->linear ||
	    bpf_probe_read_kernel(&ip, sizeof(ip), (void *)(f->l3 + off)))
		return 0;
	if (ip.v4.ver_ihl >> 4 == 4) {
		__u16 frag = bpf_ntohs(ip.v4.frag_off);

		if (!carries(ip.v4.protocol))
			return 0;
		f->proto = forget_bounds(ip.v4.protocol);
		f->ip_id = bpf_ntohs(ip.v4.id);
		f->frag_id = zero;
		f->ip_end = off + bpf_ntohs(ip.v4.tot_len);
		takes_addresses(f, &ip.words[3], 2);
		if (frag & 0x3fff)
			takes_fragment(f, ip.v4.protocol, f->ip_id, (frag & 0x1fff) * 8,
				       frag & 0x2000);
		return off + (ip.v4.ver_ihl & 0xf) * 4;
	}
	if (ip.v4.ver_ihl >> 4 != 6 || off + sizeof(ip.v6) > f->linear)
		return 0;
	f->ip_id = f->frag_id = zero;
	f->ip_end = off + sizeof(ip.v6) + bpf_ntohs(ip.v6.payload_len);
	takes_addresses(f, &ip.words[2], 8);
	return skip_extensions(f, forget_bounds(off + sizeof(ip.v6)), ip.v6.nexthdr);
}

/* What tells UDP's messages apart if the DNS header is out of reach: the length and the IP ID. */
#define VAGUELY 0x0000ffff0000ffffULL

/* knows_dns takes in the first words of the DNS header. */
static __always_inline void knows_dns(struct found *f, const __u8 *dns)
{
	f->dns_id = dns[0] << 8 | dns[1];
	f->dns_flags = dns[2] << 8 | dns[3];
	f->flags = (f->flags & ~FLAG_QR) | dns[2] >> 7; /* FLAG_QR */
	f->message = (f->message & VAGUELY) | (__u64)f->dns_id << 48 | (__u64)(dns[2] >> 7) << 16;
	f->vague = 0;
}

static __always_inline bool is_dns(__be16 source, __be16 dest)
{
	__u32 from = in_ports(dns_ports, bpf_ntohs(source));
	__u32 to = in_ports(dns_ports, bpf_ntohs(dest));

	return from | to;
}

/* sent_by_server says by the ports which way a packet goes, for those that don't tell. */
static __always_inline bool sent_by_server(__be16 source, __be16 dest)
{
	__u32 from = in_ports(dns_ports, bpf_ntohs(source));
	__u32 to = in_ports(dns_ports, bpf_ntohs(dest));

	return from & ~to;
}

/*
 * to_dns takes in the DNS header behind the UDP header u, whose ports have
 * matched. What tells one message from the next are its DNS ID, direction and
 * length, and the IP ID: neither NAT nor tunnels change the inner one, and most
 * senders count it up, so that a repeated query differs from the first.
 */
static __always_inline void to_dns(struct found *f, const struct udp_and_payload *u)
{
	__u32 len = bpf_ntohs(u->udp.len);

	f->dns_off = f->l4_off + sizeof(u->udp);
	f->dns_len = len > sizeof(u->udp) ? forget_bounds(len - sizeof(u->udp)) : zero;
	f->end = f->dns_off + f->dns_len;
	if (f->end > f->ip_end && f->ip_end > f->dns_off) /* the rest is in other fragments */
		f->end = f->ip_end;
	f->message = (__u64)f->ip_id << 32 | f->dns_len;
	if (f->dns_len >= 12 && f->dns_off + 4 <= f->linear) {
		knows_dns(f, u->payload);
		return;
	}
	/* no QR bit to read: the port tells the direction */
	if (sent_by_server(u->udp.source, u->udp.dest)) {
		f->flags |= FLAG_QR;
		f->message |= 1 << 16;
	}
	if (f->dns_len < 12)
		f->flags |= FLAG_SHORT_DNS;
	else
		f->vague = 1;
}

/* carries_ip says whether an EtherType is IPv4's or IPv6's. */
static __always_inline bool carries_ip(__u16 type)
{
	return type == ETH_P_IP || type == ETH_P_IPV6;
}

/* past_ethernet returns the offset behind the Ethernet header at off, if IP follows, or 0. */
static __always_inline __u32 past_ethernet(const struct found *f, __u32 off)
{
	__be16 type;

	if (off + 14 > f->linear ||
	    bpf_probe_read_kernel(&type, sizeof(type), (void *)(f->l3 + off + 12)) ||
	    !carries_ip(bpf_ntohs(type)))
		return 0;
	return off + 14;
}

/* enters notes that the datagram looked at is a tunnel's. */
static __always_inline void enters(struct found *f, enum tunnel kind)
{
	f->tunnel2 = f->tunnel;
	f->tunnel = forget_bounds(kind);
}

/* into_udp steps into the VXLAN (RFC 7348) or Geneve (RFC 8926) datagram u: it returns the offset of the inner IP header, or 0. */
static __always_inline __u32 into_udp(struct found *f, const struct udp_and_payload *u)
{
	__u32 off = forget_bounds(f->l4_off + sizeof(u->udp) + 8);
	__u16 port = bpf_ntohs(u->udp.dest);
	__u16 type = u->payload[2] << 8 | u->payload[3];

	if (in_ports(vxlan_ports, port)) {
		enters(f, TUNNEL_VXLAN);
		return u->payload[0] & 0x08 ? past_ethernet(f, off) : 0;
	}
	if (!in_ports(geneve_ports, port) || u->payload[0] >> 6)
		return 0;
	enters(f, TUNNEL_GENEVE);
	off = forget_bounds(off + (u->payload[0] & 0x3f) * 4); /* options */
	if (type == ETH_P_TEB)
		return past_ethernet(f, off);
	return carries_ip(type) ? off : 0;
}

/* into_gre steps into the GRE packet at f->l4_off (RFC 2784, 2890): it returns the offset of the inner IP header, or 0. */
static __always_inline __u32 into_gre(struct found *f)
{
	__u32 off = f->l4_off;
	__be16 gre[2];

	if (off + sizeof(gre) > f->linear ||
	    bpf_probe_read_kernel(gre, sizeof(gre), (void *)(f->l3 + off)))
		return 0;

	__u16 flags = bpf_ntohs(gre[0]), type = bpf_ntohs(gre[1]);

	if (flags & ~(GRE_CSUM | GRE_KEY | GRE_SEQ))
		return 0; /* another version, or routing */
	enters(f, TUNNEL_GRE);
	off += 4 + (flags >> 15) * 4 + (flags >> 13 & 1) * 4 + (flags >> 12 & 1) * 4;
	off = forget_bounds(off);
	if (type == ETH_P_TEB)
		return past_ethernet(f, off);
	return carries_ip(type) ? off : 0;
}

/* end_of returns where the packet ends as the sk_buff says. */
static __always_inline __u32 end_of(const struct found *f)
{
	struct sk_buff *skb = (struct sk_buff *)f->skb;

	return (__u64)BPF_CORE_READ(skb, data) + BPF_CORE_READ(skb, len) - f->l3;
}

/* ask_pages reads the DNS header where it lies in a page. */
static __always_inline void ask_pages(struct found *f)
{
	__u8 dns[4];
	__u32 len;
	__u64 from = page_at((struct sk_buff *)f->skb, 0, &len);

	/* all of it, or its end, lies there */
	if (f->dns_off == f->linear && len >= sizeof(dns) &&
	    !bpf_probe_read_kernel(dns, sizeof(dns), (void *)from))
		knows_dns(f, dns);
}

/* What one IP datagram turned out to hold. */
enum holds {
	HOLDS_NOTHING,
	HOLDS_DNS,
	HOLDS_TUNNEL, /* f->ip_off is the datagram in it */
	HOLDS_QUOTE,  /* an ICMP error: f->ip_off is the datagram that it quotes */
};

/* steps_into notes where the inner datagram is. */
static __always_inline enum holds steps_into(struct found *f, __u32 off)
{
	if (!off)
		return HOLDS_NOTHING;
	f->outer2_off = f->outer_off;
	f->outer_off = f->l4_off;
	f->outer_ip = f->ip_off;
	f->ip_off = forget_bounds(off);
	return HOLDS_TUNNEL;
}

/* look_udp takes in the UDP datagram at f->l4_off. */
static __always_inline enum holds look_udp(struct found *f)
{
	struct udp_and_payload u;

	if (f->l4_off + sizeof(u.udp) > f->linear ||
	    bpf_probe_read_kernel(&u, sizeof(u), (void *)(f->l3 + f->l4_off)))
		return HOLDS_NOTHING;
	__u32 words[] = { (__u32)u.udp.source << 16 | u.udp.dest, u.udp.check };

	f->digest = mix(f->digest, words, 2);
	if (is_dns(u.udp.source, u.udp.dest)) {
		to_dns(f, &u);
		return HOLDS_DNS;
	}
	return steps_into(f, into_udp(f, &u));
}

/* tsval reads the timestamp of a TCP header with the usual options, in the places where Linux and others put it; 0 if it isn't there. */
static __always_inline __u32 tsval(const struct tcp_and_options *t)
{
	const __u8 *o = t->options;
	const __u32 *words = (const __u32 *)o;

	if (o[2] == TCPOPT_TIMESTAMP && o[3] == 10) /* behind two NOPs */
		return words[1];
	if (o[6] == TCPOPT_TIMESTAMP && o[7] == 10) /* of a SYN, behind the MSS */
		return words[2];
	return 0;
}

/*
 * look_tcp takes in the TCP segment at f->l4_off, unless it acknowledges and no
 * more. A segment sent again lies in the same memory, and has the same sequence
 * number: its timestamp and IP ID tell it from the first. What it acknowledges
 * tells resets apart, which have neither.
 */
static __always_inline enum holds look_tcp(struct found *f)
{
	struct tcp_and_options t;
	__u32 end = f->ip_end, len;

	if (f->l4_off + sizeof(t.tcp) > f->linear ||
	    bpf_probe_read_kernel(&t, sizeof(t), (void *)(f->l3 + f->l4_off)) ||
	    !is_dns(t.tcp.source, t.tcp.dest))
		return HOLDS_NOTHING;
	f->dns_off = forget_bounds(f->l4_off + (t.tcp.doff >> 4) * 4);
	if (end <=
	    f->dns_off) /* more than 64 KB (BIG TCP): the header has no room for the length */
		end = end_of(f);
	len = forget_bounds(end > f->dns_off ? end - f->dns_off : 0);
	if (!len && !(t.tcp.flags & (TCP_SYN | TCP_FIN | TCP_RST)))
		return HOLDS_NOTHING;
	f->dns_len = len;
	f->end = f->dns_off + len;
	f->flags |= sent_by_server(t.tcp.source, t.tcp.dest); /* FLAG_QR */

	__u32 words[] = { (__u32)t.tcp.source << 16 | t.tcp.dest, t.tcp.seq, t.tcp.check };
	__u32 what[] = { t.tcp.seq, t.tcp.ack_seq, (__u32)f->ip_id << 16 | t.tcp.flags, len,
			 tsval(&t) };

	f->digest = mix(f->digest, words, 3);
	f->message = mix(IPPROTO_TCP, what, 5);
	return HOLDS_DNS;
}

/* look_later takes in a fragment that is not the first: it is ours if the first was. */
static __always_inline enum holds look_later(struct found *f)
{
	struct first *first = first_of(&f->frag_key);
	__u32 off = f->frag_off;

	if (!first)
		return HOLDS_NOTHING;
	f->proto = first->proto;
	f->ip_id = first->ip_id;
	f->frag_id = 0;
	f->dns_id = first->dns_id;
	f->dns_flags = first->dns_flags;
	f->dns_len = first->dns_len;
	f->flags |= first->flags;
	f->dns_off = f->end = f->l4_off;
	f->message = mix(f->frag_key, &off, 1);
	return HOLDS_DNS;
}

/* The first eight bytes of an ICMP header. */
struct icmphdr {
	__u8 type;
	__u8 code;
	__sum16 check;
	__be32 rest;
};

/* look_icmp takes in the ICMP message at f->l4_off: errors quote the packet that they are about. */
static __always_inline enum holds look_icmp(struct found *f)
{
	/* destination unreachable, time exceeded; the same of ICMPv6, and packet too big */
	const __u32 v4 = 1 << 3 | 1 << 11, v6 = 1 << 1 | 1 << 2 | 1 << 3;
	__u32 off = f->l4_off, errors = f->proto == IPPROTO_ICMP ? v4 : v6;
	struct icmphdr h;

	if (off + sizeof(h) > f->linear ||
	    bpf_probe_read_kernel(&h, sizeof(h), (void *)(f->l3 + off)) || h.type >= 32 ||
	    !(errors >> (h.type & 31) & 1))
		return HOLDS_NOTHING;
	f->icmp_off = off;
	f->icmp_ip = f->ip_off;
	f->ip_off = forget_bounds(off + sizeof(h));
	f->flags = FLAG_QUOTE;
	f->frag_key = zero;
	return HOLDS_QUOTE;
}

/* to_quoted_udp takes in what is quoted of the DNS header. */
static __always_inline void to_quoted_udp(struct found *f, const struct udp_and_payload *u)
{
	__u32 len = bpf_ntohs(u->udp.len);

	f->dns_off = f->l4_off + sizeof(u->udp);
	f->dns_len = len > sizeof(u->udp) ? forget_bounds(len - sizeof(u->udp)) : zero;
	if (f->dns_len >= 12 && f->dns_off + 4 <= f->linear)
		knows_dns(f, u->payload);
	else
		f->flags |= FLAG_SHORT_DNS;
}

/* to_quoted_tcp takes in what is quoted of the TCP header: its first half, or all. */
static __always_inline void to_quoted_tcp(struct found *f)
{
	__u32 off = sizeof(struct tcphdr);
	__u8 doff;

	if (f->l4_off + off <= f->linear &&
	    !bpf_probe_read_kernel(&doff, sizeof(doff), (void *)(f->l3 + f->l4_off + 12)))
		off = (doff >> 4) * 4;
	f->dns_off = forget_bounds(f->l4_off + off);
	f->dns_len = f->ip_end > f->dns_off ? forget_bounds(f->ip_end - f->dns_off) : zero;
}

/* look_quoted takes in the datagram at f->ip_off, of which an ICMP error has eight bytes and the IP header at the least. */
static __noinline enum holds look_quoted(struct found *f)
{
	__u32 off = forget_bounds(to_l4(f));
	struct udp_and_payload u;

	f->l4_off = off;
	if (!off || f->frag_off || off + sizeof(u.udp) > f->linear ||
	    bpf_probe_read_kernel(&u, sizeof(u), (void *)(f->l3 + off)) ||
	    !is_dns(u.udp.source, u.udp.dest))
		return HOLDS_NOTHING;
	__u32 words[] = { (__u32)u.udp.source << 16 | u.udp.dest,
			  (__u32)u.udp.len << 16 | u.udp.check, f->ip_id };

	f->digest = mix(f->digest, words, 3);
	f->message = mix(IPPROTO_ICMP, words, 3);
	f->flags |= sent_by_server(u.udp.source, u.udp.dest); /* FLAG_QR */
	f->end = f->linear;
	if (f->proto == IPPROTO_UDP)
		to_quoted_udp(f, &u);
	else if (f->proto == IPPROTO_TCP)
		to_quoted_tcp(f);
	else
		return HOLDS_NOTHING;
	return HOLDS_DNS;
}

/*
 * look takes in the IP datagram at f->ip_off. It is called for the outer ones and
 * for the inner one: a loop would be laid out so that its head is reached by
 * falling through from its body, which verifiers up to 6.1 take for endless.
 */
static __noinline enum holds look(struct found *f)
{
	__u32 off = forget_bounds(to_l4(f));

	if (!off)
		return HOLDS_NOTHING;
	f->l4_off = off;
	if (f->frag_off)
		return look_later(f);
	if (f->proto == IPPROTO_UDP)
		return look_udp(f);
	if (f->proto == IPPROTO_TCP)
		return look_tcp(f);
	if (f->proto == IPPROTO_GRE)
		return steps_into(f, into_gre(f));
	if (f->proto == IPPROTO_ICMP || f->proto == IPPROTO_ICMPV6)
		return look_icmp(f);
	enters(f, TUNNEL_IP);
	return steps_into(f, off);
}

/*
 * blur copies what was found onto itself, by way of a helper: the verifier then
 * takes all ways to get here for one.
 */
static __always_inline bool blur(struct found *f)
{
	return !bpf_probe_read_kernel(f, sizeof(*f), f);
}

/*
 * find returns true if skb holds a DNS message that we look for. A packet that
 * is not DNS costs six short reads: the fields of skb, its IP header, its
 * ports. Functions of their own, here and elsewhere, are for the stack's sake:
 * each frame stays under 256 bytes, a chain of them under 512.
 */
static __noinline bool find(struct found *f, struct sk_buff *skb, enum l3_at at)
{
	__u16 protocol = bpf_ntohs(BPF_CORE_READ(skb, protocol));
	enum holds holds;
	__u64 head;

	/* a socket's own send functions come before __ip_local_out() sets it */
	if (protocol != ETH_P_IP && protocol != ETH_P_IPV6 && protocol)
		return false;
	head = (__u64)BPF_CORE_READ(skb, head);
	f->l3 = at == L3_DATA ? (__u64)BPF_CORE_READ(skb, data)
			      : head + BPF_CORE_READ(skb, network_header);
	f->linear = head + BPF_CORE_READ(skb, tail) - f->l3;
	if (f->linear > 0xffff) /* the header lies behind the tail: not set */
		return false;
	f->skb = (__u64)skb;
	f->digest = FNV_BASIS + zero;
	f->frag_key = zero;
	f->ip_off = f->outer_off = f->flags = f->dns_id = f->dns_flags = f->frag_off = zero;
	f->tunnel = f->tunnel2 = f->vague = f->outside = zero; /* TUNNEL_NONE */

	holds = look(f);
	if (holds == HOLDS_TUNNEL && blur(f))
		holds = look(f);
	if (holds == HOLDS_TUNNEL && blur(f))
		holds = look(f);
	if (holds == HOLDS_QUOTE && blur(f))
		holds = look_quoted(f);
	if (holds != HOLDS_DNS) {
		if (f->frag_key && !f->frag_off) /* another datagram than the one whose ID it has */
			bpf_map_delete_elem(&fragmented, &f->frag_key);
		return false;
	}
	if (f->vague && have_pages())
		ask_pages(f);
	return blur(f);
}

#endif
