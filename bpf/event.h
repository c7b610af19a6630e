/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The wire contract between the kernel programs and user space: what one
 * observation of one packet looks like in the ring buffer. The Go types are
 * generated from this file (gen/), never written by hand.
 *
 * A record begins with a struct head, whose record says what follows: a struct
 * event, with event.cap_len bytes of the packet from its outermost IP header
 * on; or a struct step, of a packet whose headers are those of its event
 * before. Numbers are in host byte order unless a comment says otherwise;
 * addresses are the bytes of the packet.
 */
#ifndef DNSPATH_EVENT_H
#define DNSPATH_EVENT_H

#include "kernel.h"

/* Where the packet was seen. The order is that of a packet's way, roughly. */
enum probe {
	PROBE_UNKNOWN = 0,
	PROBE_NET_DEV_QUEUE,	  /* handed to a device, before its qdisc */
	PROBE_NET_DEV_START_XMIT, /* handed to the driver */
	PROBE_NETIF_RX,		  /* a virtual device put it on a CPU's backlog */
	PROBE_NETIF_RECEIVE_SKB,  /* the stack took it from a device */
	PROBE_NF_ENTER,		  /* before the first function of a netfilter hook */
	PROBE_NF_LEAVE,		  /* after the last one, headers changed since NF_ENTER */
	PROBE_TC_INGRESS,
	PROBE_TC_EGRESS,
	PROBE_SK_DATA_READY,	       /* queued to a socket, whose owner is told */
	PROBE_SKB_COPY_DATAGRAM_IOVEC, /* a process reads it from its socket */
	PROBE_UDP_FAIL_QUEUE_RCV_SKB,  /* the socket had no room */
	PROBE_SOCK_RCVQUEUE_FULL,
	PROBE_TCP_BAD_CSUM,
	PROBE_ICMP_SEND,   /* this kernel answers the packet with an ICMP error */
	PROBE_KFREE_SKB,   /* dropped */
	PROBE_CONSUME_SKB, /* freed by a caller that says nothing went wrong */
	PROBE_QDISC_ENQUEUE,
	PROBE_FUNCTIONS, /* from here on: kernel functions, each by its own name */
	PROBE_IP_SEND_SKB = PROBE_FUNCTIONS,
	PROBE_IP6_SEND_SKB,
	PROBE_BR_HANDLE_FRAME,
	PROBE_BR_NF_PRE_ROUTING,
	PROBE_BR_FORWARD,
	PROBE_BR_PASS_FRAME_UP,
	PROBE_IP_RCV_CORE,
	PROBE_IP6_RCV_CORE,
	PROBE_NF_HOOK_SLOW,
	PROBE_NF_CONNTRACK_IN,
	PROBE_IPT_DO_TABLE,
	PROBE_IP6T_DO_TABLE,
	PROBE_NFT_DO_CHAIN,
	PROBE_NF_NAT_MANIP_PKT,
	PROBE_NF_CONNTRACK_CONFIRM,
	PROBE_IP_VS_IN_HOOK,
	PROBE_IP_VS_REMOTE_REQUEST4,
	PROBE_IP_VS_LOCAL_REQUEST4,
	PROBE_IP_VS_REMOTE_REQUEST6,
	PROBE_IP_VS_LOCAL_REQUEST6,
	PROBE_IP_VS_SCHEDULE,
	PROBE_IP_VS_NAT_XMIT,
	PROBE_IP_VS_NAT_XMIT_V6,
	PROBE_IP_VS_DR_XMIT,
	PROBE_IP_VS_TUNNEL_XMIT,
	PROBE_HANDLE_RESPONSE,
	PROBE_IP_LOCAL_DELIVER,
	PROBE_IP6_INPUT,
	PROBE_IP_FORWARD,
	PROBE_IP6_FORWARD,
	PROBE_IP_ERROR,
	PROBE_IP_OUTPUT,
	PROBE_IP6_OUTPUT,
	PROBE_NEIGH_EVENT_SEND,
	PROBE_VXLAN_XMIT,
	PROBE_GENEVE_XMIT,
	PROBE_IPGRE_XMIT,
	PROBE_IP_TUNNEL_XMIT,
	PROBE_IP6_TNL_XMIT,
	PROBE_IPTUNNEL_XMIT,
	PROBE_VXLAN_RCV,
	PROBE_GENEVE_UDP_ENCAP_RECV,
	PROBE_IPIP_RCV,
	PROBE_GRE_RCV,
	PROBE_UDP_ENQUEUE_SCHEDULE_SKB,
	PROBE_SKB_CONSUME_UDP,
	PROBE_MAX,
};

enum record {
	RECORD_PACKET = 0, /* a struct event */
	RECORD_STEP,	   /* a struct step */
};

enum tunnel {
	TUNNEL_NONE = 0,
	TUNNEL_VXLAN,
	TUNNEL_GENEVE,
	TUNNEL_IP, /* IPv4 or IPv6 in IPv4 or IPv6, with nothing between: RFC 2003, 4213, 2473 */
	TUNNEL_GRE,
};

enum event_flag {
	FLAG_QR = 1 << 0,	  /* a response */
	FLAG_SHORT_DNS = 1 << 1,  /* fewer than 12 bytes of DNS: id and flags are unknown */
	FLAG_NONLINEAR = 1 << 2,  /* the DNS bytes lie in page fragments, out of reach here */
	FLAG_FRAGMENT = 1 << 3,	  /* of a larger datagram; the first, unless frag_off is set */
	FLAG_CONNTRACK = 1 << 4,  /* ct_* are set */
	FLAG_UNTRACKED = 1 << 5,  /* NOTRACK: skb->_nfct is IP_CT_UNTRACKED without an entry */
	FLAG_HOOK_LEFT = 1 << 6,  /* hook is the last one the packet was in, and it got out of it */
	FLAG_LOCAL = 1 << 7,	  /* a socket of this namespace sends it */
	FLAG_NEW = 1 << 8,	  /* first sight of this packet */
	FLAG_IN_HOOK = 1 << 9,	  /* hook is valid */
	FLAG_RETURNED = 1 << 10,  /* ret is what the function has returned */
	FLAG_FRAG_LAST = 1 << 11, /* the last fragment of a datagram */
	FLAG_QUOTE = 1 << 12,	  /* an ICMP error: all else tells of the packet that it quotes */
};

/* Ways an event or a part of it was lost; per-CPU counters in the map "lost". */
enum loss {
	LOSS_RING_FULL = 0, /* no room in the ring buffer */
	LOSS_PACKET_MAP, /* a packet could not be remembered: its identity restarts, or nothing is told of it */
	LOSS_RETURN, /* a function's return could not be told: its verdict is missing */
	LOSS_MAX,
};

/* The largest slice of a packet that one event can carry. */
enum capture {
	CAPTURE_SMALL = 192,
	CAPTURE_LARGE = 1856,
};

struct tuple {
	__u8 saddr[16]; /* IPv4 uses the first four bytes */
	__u8 daddr[16];
	__u16 sport;
	__u16 dport;
};

/* What every record begins with. */
struct head {
	__u64 time;    /* bpf_ktime_get_ns(): CLOCK_MONOTONIC; of a function, when it was called */
	__u64 packet;  /* identity: constant as long as the kernel keeps the packet's buffer */
	__u32 netns;   /* inode of the network namespace; 0 unknown */
	__u32 ifindex; /* 0 unknown */
	__s32 ret;     /* of a function that has returned; udp_fail_queue_rcv_skb: error */
	__u32 pid;     /* of the process that sends or reads, 0 unknown; initial pid namespace */
	__u16 flags;   /* enum event_flag */
	__u16 cpu;
	__u8 record; /* enum record */
	__u8 probe;  /* enum probe */
	__u8 hook;   /* enum nf_inet_hooks, if FLAG_IN_HOOK */
	__u8 ip_summed;
	char dev[16];  /* name of the device at that moment */
	char comm[16]; /* of pid's thread */
};

/* Where the routing entry that a packet holds (skb_dst()) leads. */
struct route {
	__u32 oif;	/* 0: it holds none */
	__s16 error;	/* negative errno: such routes lead nowhere */
	__u8 gw_family; /* 4, 6, or 0: no gateway */
	__u8 pad;
	__u8 gw[16];
	char out[16]; /* name of oif */
};

/* A packet whose headers are as its last event has told. */
struct step {
	struct head h;
	struct route route; /* of functions that follow it; the neighbour that a packet waits for */
	__u8 neigh;	    /* NUD_* state of that neighbour */
	__u8 family;	    /* NFPROTO_* of the netfilter table */
	__u8 ct_info;	    /* enum ip_conntrack_info, if FLAG_CONNTRACK */
	__u8 pad[5];
	char table[32]; /* of netfilter, cut off */
	char chain[32];
};

struct event {
	struct head h;
	__u64 skb;	 /* address of the sk_buff */
	__u64 head;	 /* address of its data buffer */
	__u64 location;	 /* kfree_skb, consume_skb: the code address that freed it */
	__u32 reason;	 /* kfree_skb: enum skb_drop_reason of the running kernel */
	__u32 len;	 /* of the outermost IP packet as the skb says, bytes */
	__u32 vni;	 /* of the tunnel */
	__u32 ct_status; /* enum ip_conntrack_status */
	__u32 mark;
	__u32 tcp_seq;
	__u32 tcp_ack;
	__u32 mtu; /* that the ICMP error tells of, 0 unknown */
	__u32 outer2_vni;
	__u32 gso_type;	 /* SKB_GSO_*, bits */
	__u16 dns_id;	 /* 0 of TCP */
	__u16 dns_flags; /* second word of the DNS header; 0 of TCP */
	__u16 dns_len;	 /* of the DNS message by the UDP header, of the segment's payload, bytes */
	__u16 dns_off;	 /* of the DNS message from the outermost IP header, bytes */
	__u16 frag_off;	 /* of a fragment's payload in its datagram's, bytes */
	__u16 cap_len;	 /* bytes that follow this struct */
	__u16 ip_id; /* of the inner IPv4 header; of IPv6 fragments, both halves of theirs, xored */
	__u16 check; /* checksum field of UDP or TCP, innermost */
	__u16 outer_check; /* of the tunnel's UDP header */
	__u16 csum_start;  /* from skb->head */
	__u16 csum_offset;
	__u16 l4_off;	       /* innermost UDP or TCP header from skb->head */
	struct tuple flow;     /* innermost addresses */
	struct tuple outer;    /* the tunnel's; of a tunnel in a tunnel, the inner one's */
	struct tuple outer2;   /* of the tunnel around that */
	struct tuple ct_orig;  /* conntrack tuple of the original direction */
	struct tuple ct_reply; /* and of the reply */
	struct route route;
	__u8 family;	   /* 4 or 6, of flow */
	__u8 outer_family; /* 4 or 6, 0 without a tunnel */
	__u8 tunnel;	   /* enum tunnel */
	__u8 proto;	   /* IPPROTO_UDP or IPPROTO_TCP */
	__u8 ttl;	   /* or hop limit, of flow */
	__u8 outer_ttl;
	__u8 csum_level;
	__u8 encapsulation;
	__u8 ct_info;	/* enum ip_conntrack_info */
	__u8 ct_family; /* 4 or 6 */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 pkt_type; /* PACKET_HOST, PACKET_OTHERHOST … */
	__u8 tcp_flags;
	__u8 outer2_family; /* 4 or 6, 0 without a second tunnel */
	__u8 tunnel2;	    /* enum tunnel */
	__u8 from[16];	    /* addresses of the ICMP error itself, of the same family as flow */
	__u8 to[16];
	__u16 gso_size; /* several packets in one: payload of each, bytes; else 0 */
	__u8 pad[2];
};

_Static_assert(sizeof(struct event) == 432 && sizeof(struct step) == 184,
	       "these are wire formats: change them knowingly");

#endif
