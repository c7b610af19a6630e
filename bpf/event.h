/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The wire contract between the kernel programs and user space: what one
 * observation of one packet looks like in the ring buffer. The Go types are
 * generated from this file (gen/), never written by hand.
 *
 * A record is a struct event, followed by event.cap_len bytes of the packet
 * from its outermost IP header on. Numbers are in host byte order unless a
 * comment says otherwise; addresses are the bytes of the packet.
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
	PROBE_ICMP_SEND,   /* this kernel answers the packet with an ICMP error */
	PROBE_KFREE_SKB,   /* dropped */
	PROBE_CONSUME_SKB, /* freed by a caller that says nothing went wrong */
	PROBE_MAX,
};

enum tunnel {
	TUNNEL_NONE = 0,
	TUNNEL_VXLAN,
};

enum event_flag {
	FLAG_QR = 1 << 0,	 /* a response */
	FLAG_SHORT_DNS = 1 << 1, /* fewer than 12 bytes of DNS: id and flags are unknown */
	FLAG_NONLINEAR = 1 << 2, /* the DNS bytes lie in page fragments, out of reach here */
	FLAG_FRAGMENT = 1 << 3,	 /* first fragment of a larger datagram */
	FLAG_CONNTRACK = 1 << 4, /* ct_* are set */
	FLAG_UNTRACKED = 1 << 5, /* NOTRACK: skb->_nfct is IP_CT_UNTRACKED without an entry */
	FLAG_HOOK_LEFT = 1 << 6, /* hook is the last one the packet was in, and it got out of it */
	FLAG_LOCAL = 1 << 7,	 /* a socket of this namespace sends it */
	FLAG_NEW = 1 << 8,	 /* first sight of this packet */
	FLAG_IN_HOOK = 1 << 9,	 /* hook is valid */
};

/* Ways an event or a part of it was lost; per-CPU counters in the map "lost". */
enum loss {
	LOSS_RING_FULL = 0, /* no room in the ring buffer */
	LOSS_PACKET_MAP,    /* a packet could not be remembered: its identity restarts */
	LOSS_MAX,
};

/* The largest slice of a packet that one event can carry. */
enum capture {
	CAPTURE_SMALL = 192,
	CAPTURE_LARGE = 1600,
};

struct tuple {
	__u8 saddr[16]; /* IPv4 uses the first four bytes */
	__u8 daddr[16];
	__u16 sport;
	__u16 dport;
};

struct event {
	__u64 time;	 /* bpf_ktime_get_ns(): CLOCK_MONOTONIC */
	__u64 packet;	 /* identity: constant as long as the kernel keeps the packet's buffer */
	__u64 skb;	 /* address of the sk_buff */
	__u64 head;	 /* address of its data buffer */
	__u64 location;	 /* kfree_skb, consume_skb: the code address that freed it */
	__u32 reason;	 /* kfree_skb: enum skb_drop_reason of the running kernel */
	__u32 netns;	 /* inode of the network namespace; 0 unknown */
	__u32 ifindex;	 /* 0 unknown */
	__u32 len;	 /* of the outermost IP packet as the skb says, bytes */
	__u32 vni;	 /* of the tunnel */
	__u32 pid;	 /* of the process that sends or reads, 0 unknown; initial pid namespace */
	__u32 ct_status; /* enum ip_conntrack_status */
	__u32 mark;
	__u16 flags; /* enum event_flag */
	__u16 dns_id;
	__u16 dns_flags;   /* second word of the DNS header */
	__u16 dns_len;	   /* of the DNS message by the UDP header, bytes */
	__u16 dns_off;	   /* of the DNS message from the outermost IP header, bytes */
	__u16 cap_len;	   /* bytes that follow this struct */
	__u16 ip_id;	   /* of the inner IPv4 header */
	__u16 check;	   /* UDP checksum field, innermost */
	__u16 outer_check; /* of the tunnel's UDP header */
	__u16 csum_start;  /* from skb->head */
	__u16 csum_offset;
	__u16 l4_off; /* innermost UDP header from skb->head */
	__u16 cpu;
	__s16 rc;	       /* udp_fail_queue_rcv_skb: error */
	struct tuple flow;     /* innermost addresses */
	struct tuple outer;    /* the tunnel's */
	struct tuple ct_orig;  /* conntrack tuple of the original direction */
	struct tuple ct_reply; /* and of the reply */
	__u8 probe;	       /* enum probe */
	__u8 family;	       /* 4 or 6, of flow */
	__u8 outer_family;     /* 4 or 6, 0 without a tunnel */
	__u8 tunnel;	       /* enum tunnel */
	__u8 proto;	       /* IPPROTO_UDP */
	__u8 ttl;	       /* or hop limit, of flow */
	__u8 outer_ttl;
	__u8 hook; /* enum nf_inet_hooks, if FLAG_IN_HOOK */
	__u8 ip_summed;
	__u8 csum_level;
	__u8 encapsulation;
	__u8 ct_info;	/* enum ip_conntrack_info */
	__u8 ct_family; /* 4 or 6 */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 pkt_type; /* PACKET_HOST, PACKET_OTHERHOST … */
	char dev[16];  /* name of the device at that moment */
	char comm[16]; /* of pid's thread */
	__u8 pad[4];
};

_Static_assert(sizeof(struct event) == 296, "struct event is a wire format: change it knowingly");

#endif
