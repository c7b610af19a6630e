/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel types and fields that dnspath depends on, and no others. Offsets
 * are relocated at load time (CO-RE) against the BTF of the running kernel, so
 * neither order nor completeness matters here.
 */
#ifndef DNSPATH_KERNEL_H
#define DNSPATH_KERNEL_H

typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u16 __sum16;
typedef _Bool bool;
#define true  1
#define false 0

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
};

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

enum {
	BPF_RB_AVAIL_DATA = 0,
};

/* Wire formats and verdicts, from uapi headers. */
enum {
	ETH_P_IP = 0x0800,
	ETH_P_IPV6 = 0x86dd,
	ETH_P_TEB = 0x6558, /* an Ethernet frame, in GRE and Geneve */
};

enum {
	GRE_CSUM = 0x8000,
	GRE_KEY = 0x2000,
	GRE_SEQ = 0x1000,
};

enum {
	IPPROTO_HOPOPTS = 0,
	IPPROTO_ICMP = 1,
	IPPROTO_IPIP = 4,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_IPV6 = 41,
	IPPROTO_ROUTING = 43,
	IPPROTO_FRAGMENT = 44,
	IPPROTO_GRE = 47,
	IPPROTO_AH = 51,
	IPPROTO_ICMPV6 = 58,
	IPPROTO_DSTOPTS = 60,
};

enum {
	AF_INET = 2,
	AF_INET6 = 10,
};

/* Of sockets that are no full ones, or accept connections: include/net/tcp_states.h. */
enum {
	TCP_TIME_WAIT = 6,
	TCP_LISTEN = 10,
	TCP_NEW_SYN_RECV = 12,
};

enum {
	NF_ACCEPT = 1,
};

enum {
	NFPROTO_IPV4 = 2,
	NFPROTO_IPV6 = 10,
};

enum {
	NF_INET_LOCAL_IN = 1,
	NF_INET_LOCAL_OUT = 3,
	NF_INET_POST_ROUTING = 4,
};

enum {
	TCX_NEXT = -1,
};

/* Read whole: its own fields are of no interest. */
struct in6_addr {
	__u8 bytes[16];
};

/*
 * A piece of a packet's data (skb_frag_t). Up to 6.8 the kernel calls it struct
 * bio_vec, then struct skb_frag, whose first field can be something else than a
 * page, and has its lowest bit set then (net_iov); laid out alike.
 */
struct piece {
	__u64 page;
	__u32 len;
	__u32 offset;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	char name[16];
	int ifindex;
	possible_net_t nd_net;
};

struct sock_common {
	__be16 skc_dport;
	__u16 skc_num; /* local port, host byte order */
	__u8 skc_state;
	possible_net_t skc_net;
};

typedef struct {
	int owned;
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	__u16 sk_protocol;
};

struct nsproxy {
	struct net *net_ns;
};

struct task_struct {
	struct task_struct *group_leader;
	struct nsproxy *nsproxy;
	char comm[16];
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	unsigned long _nfct;
	unsigned int len;
	unsigned int data_len;
	__u8 pkt_type : 3;
	__u8 ip_summed : 2;
	__u8 csum_level : 2;
	__u8 encapsulation : 1;
	__u16 csum_start;
	__u16 csum_offset;
	__u32 mark;
	__be16 protocol;
	__u16 network_header;
	unsigned int tail; /* sk_buff_data_t: an offset on every 64-bit kernel */
	unsigned int end;
	unsigned char *head;
	unsigned char *data;
};

typedef struct {
	int counter;
} atomic_t;

struct page {
	unsigned long flags;
};

struct skb_shared_info {
	__u8 nr_frags;
	unsigned short gso_size;
	unsigned int gso_type;
	atomic_t dataref;
	struct piece frags[17];
};

union nf_inet_addr {
	__u32 all[4];
};

union nf_conntrack_man_proto {
	__be16 all;
};

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
	__u16 l3num;
};

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
		} u;
	} dst;
};

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};

struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
};

struct dst_ops {
	unsigned short family;
};

struct dst_entry {
	struct net_device *dev;
	struct dst_ops *ops;
	unsigned short flags;
	short error;
};

/* IPv4's dst_entry; 5.2 gave it gateways of both families. */
struct rtable {
	struct dst_entry dst;
	__u8 rt_gw_family;
	union {
		__be32 rt_gw4;
		struct in6_addr rt_gw6;
	};
};

struct rt6_info {
	struct dst_entry dst;
	struct in6_addr rt6i_gateway;
};

struct neigh_table {
	int family;
};

struct neighbour {
	struct neigh_table *tbl;
	__u8 nud_state;
	struct net_device *dev;
	__u8 primary_key[0];
};

struct net_bridge_port {
	struct net_device *dev;
};

struct nf_hook_state {
	__u8 hook; /* an unsigned int up to 5.10: CO-RE reads the size that is there */
	__u8 pf;
	struct net_device *in;
	struct net_device *out;
	struct net *net;
};

struct bpf_nf_ctx {
	const struct nf_hook_state *state;
	struct sk_buff *skb;
};

#pragma clang attribute pop

/* The context of a tc program; opaque here, the kernel's sk_buff lies behind it. */
struct __sk_buff {
	__u32 len;
};

/* A handle of the kernel's, opaque (include/uapi/linux/bpf.h). */
struct bpf_dynptr {
	__u64 opaque[2];
} __attribute__((aligned(8)));

/* Headers on the wire, network byte order. */
struct iphdr {
	__u8 ver_ihl;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
	__u8 saddr[4];
	__u8 daddr[4];
};

struct ipv6hdr {
	__u8 ver_tc_flow[4];
	__be16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	__u8 saddr[16];
	__u8 daddr[16];
};

enum {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
	TCPOPT_TIMESTAMP = 8,
};

struct tcphdr {
	__be16 source;
	__be16 dest;
	__be32 seq;
	__be32 ack_seq;
	__u8 doff; /* in the upper half, 32-bit words */
	__u8 flags;
	__be16 window;
	__sum16 check;
	__be16 urg_ptr;
};

struct udphdr {
	__be16 source;
	__be16 dest;
	__be16 len;
	__sum16 check;
};

#endif
