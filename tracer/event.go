package tracer

import (
	"net/netip"
)

// Event is one observation of one packet at one probe. Events are immutable
// once decoded; the correlator and the lookups that it returns share them.
type Event struct {
	Time     uint64         `json:"t_ns"`                    // ns, CLOCK_MONOTONIC of the node
	Packet   uint64         `json:"packet,omitempty,string"` // constant while the kernel keeps the packet's buffer; 0 unknown
	Probe    Probe          `json:"probe"`
	Step     bool           `json:"step,omitempty"` // its headers are those of the packet's event before; what they say is absent here
	CPU      uint16         `json:"cpu"`
	NetNS    uint32         `json:"netns,omitempty"` // inode of the network namespace; 0 unknown
	Ifindex  uint32         `json:"ifindex,omitempty"`
	Dev      string         `json:"dev,omitempty"` // name at that moment
	Src      netip.AddrPort `json:"src,omitzero"`  // innermost addresses
	Dst      netip.AddrPort `json:"dst,omitzero"`
	Len      uint32         `json:"len,omitempty"` // bytes in the sk_buff
	TTL      uint8          `json:"ttl,omitempty"` // of the innermost IP header
	IPID     uint16         `json:"ip_id,omitempty"`
	Mark     uint32         `json:"mark,omitempty"`
	Tunnel   *Tunnel        `json:"tunnel,omitempty"`
	CT       *Conntrack     `json:"conntrack,omitempty"`
	NoTrack  bool           `json:"notrack,omitempty"` // skb->_nfct says untracked
	Hook     Hook           `json:"hook,omitempty"`    // netfilter hook that the packet entered last in this namespace
	HookLeft bool           `json:"hook_left,omitempty"`
	Verdict  Verdict        `json:"verdict,omitempty"`  // of a function that has returned
	Table    *Table         `json:"table,omitempty"`    // of netfilter, that the function went through
	Route    *Route         `json:"route,omitempty"`    // that the packet holds
	Waits    *Neighbour     `json:"waits,omitempty"`    // for this neighbour's address
	State    string         `json:"ct_state,omitempty"` // after nf_conntrack_in: new, established, reply, related, untracked, invalid
	Freed    *Freed         `json:"freed,omitempty"`    // kfree_skb, consume_skb
	ICMP     *ICMP          `json:"icmp,omitempty"`     // icmp_send
	Errno    int            `json:"errno,omitempty"`    // udp_fail_queue_rcv_skb: positive
	PID      uint32         `json:"pid,omitempty"`      // of the process that sends or reads it; 0 unknown
	Comm     string         `json:"comm,omitempty"`     // its name: any bytes
	Checksum Checksum       `json:"checksum,omitzero"`

	DNSID     uint16 `json:"dns_id,omitzero"`
	DNSFlags  uint16 `json:"dns_flags,omitzero"` // second word of the header, RFC 1035 section 4.1.1
	DNSLen    uint16 `json:"dns_len,omitzero"`   // of the message as the UDP header says, bytes
	Response  bool   `json:"response,omitempty"`
	Local     bool   `json:"local,omitempty"`     // it belongs to a socket of this namespace: it is sent here
	Short     bool   `json:"short,omitempty"`     // under 12 bytes: no DNS header; DNSID is 0
	Nonlinear bool   `json:"nonlinear,omitempty"` // the message lies in page fragments; DNSID is 0
	Fragment  bool   `json:"fragment,omitempty"`  // an IP fragment of a larger datagram

	// Of a fragment that is not the first, the ports and the DNS header are those
	// of the first: IP ID and addresses tell which that is.
	FragOffset uint16 `json:"fragment_offset,omitempty"` // of its payload in the datagram's, bytes
	FragLast   bool   `json:"fragment_last,omitempty"`   // no fragment follows it
	TCP        *TCP   `json:"tcp,omitempty"`             // nil: UDP
	Quote      *Quote `json:"quote,omitempty"`           // the packet is an ICMP error; all else tells of the packet that it quotes

	// Captured is the packet from its outermost IP header on, as far as it was
	// copied; nil if its headers are those of the packet's event before.
	Captured  []byte `json:"captured,omitempty"`
	DNSOffset uint16 `json:"dns_offset,omitempty"` // of the message in Captured
}

// Tunnel is the header around an encapsulated packet.
type Tunnel struct {
	Kind string         `json:"kind"`          // vxlan, geneve, gre; ipip, sit, ip6tnl: nothing but an outer IP header
	VNI  uint32         `json:"vni,omitempty"` // GRE: its key
	Src  netip.AddrPort `json:"src"`           // port 0 where there is none
	Dst  netip.AddrPort `json:"dst"`
	TTL  uint8          `json:"-"`
	In   *Tunnel        `json:"in,omitempty"` // the tunnel around this one; nil: none
}

// depth returns in how many tunnels a packet is.
func (t *Tunnel) depth() (n int) {
	for ; t != nil; t = t.In {
		n++
	}
	return n
}

// outermost returns the tunnel around all others.
func (t *Tunnel) outermost() *Tunnel {
	for t.In != nil {
		t = t.In
	}
	return t
}

// TCP is what a TCP segment says. Of segments without payload, only those that
// open or end a connection are observed.
type TCP struct {
	Seq uint32 `json:"seq"`
	Ack uint32 `json:"ack,omitempty"`
	Len uint16 `json:"len,omitempty"` // of the payload, bytes
	SYN bool   `json:"syn,omitempty"`
	ACK bool   `json:"ack_flag,omitempty"`
	FIN bool   `json:"fin,omitempty"`
	RST bool   `json:"rst,omitempty"`
}

// Quote is an ICMP error on its way, about the packet that it quotes.
type Quote struct {
	Type uint8      `json:"type"`
	Code uint8      `json:"code"`
	V6   bool       `json:"v6,omitempty"`  // ICMPv6 (RFC 4443), whose types are others
	MTU  uint32     `json:"mtu,omitempty"` // of fragmentation needed, packet too big
	From netip.Addr `json:"from"`          // who sent it
	To   netip.Addr `json:"to"`
}

// Conntrack is the entry that the packet refers to (skb->_nfct). Of an
// encapsulated packet it is the tunnel's.
type Conntrack struct {
	Info   uint8  `json:"info"`   // enum ip_conntrack_info: 0 established, 2 new, 3 established reply
	Status uint32 `json:"status"` // enum ip_conntrack_status, bits
	Orig   Flow   `json:"orig"`   // as the first packet was sent
	Reply  Flow   `json:"reply"`  // as its answer will look before it is translated back
}

// Flow is a pair of addresses, as in the packet that they come from.
type Flow struct {
	Src netip.AddrPort `json:"src"`
	Dst netip.AddrPort `json:"dst"`
}

// Verdict is what a function that has returned made of the packet.
type Verdict string

// The verdicts: netfilter's; of others, whether all went well.
const (
	VerdictAccept Verdict = "accept"
	VerdictDrop   Verdict = "drop"
	VerdictStolen Verdict = "stolen" // it went on elsewhere
	VerdictQueue  Verdict = "queue"  // to a process (NFQUEUE)
	VerdictRepeat Verdict = "repeat"
	VerdictOK     Verdict = "ok"
	VerdictFailed Verdict = "failed"
)

// Table is a table of iptables, or a base chain of nftables.
type Table struct {
	Tool   string `json:"tool"`             // iptables, ip6tables, nftables
	Family string `json:"family,omitempty"` // of nftables: ip, ip6, inet, bridge, netdev
	Name   string `json:"name,omitempty"`   // empty where the kernel's types don't tell
	Chain  string `json:"chain,omitempty"`  // of nftables
}

// String names the table as its tool does.
func (t *Table) String() string {
	s := t.Tool
	for _, part := range []string{t.Family, t.Name, t.Chain} {
		if part != "" {
			s += " " + part
		}
	}
	return s
}

// Route is where a packet's routing entry leads.
type Route struct {
	Dev     string     `json:"dev,omitempty"`
	Ifindex uint32     `json:"ifindex,omitempty"`
	Gateway netip.Addr `json:"gateway,omitzero"` // invalid: the destination itself is the next hop
	Errno   int        `json:"errno,omitempty"`  // positive: it leads nowhere
}

// Neighbour is a next hop whose link-layer address is not known.
type Neighbour struct {
	Addr  netip.Addr `json:"addr"`
	Dev   string     `json:"dev"`
	State string     `json:"state"` // as ip neigh shows it
}

// Freed says where the kernel let go of a packet.
type Freed struct {
	Reason   string `json:"reason,omitempty"`          // as the kernel spells it, without SKB_DROP_REASON_; empty where the kernel gives none
	Function string `json:"function,omitempty"`        // that freed it; empty if kallsyms does not tell
	Location uint64 `json:"location,omitempty,string"` // code address
}

// ICMP is an error message that this node sends about a packet.
type ICMP struct {
	Type uint8 `json:"type"`
	Code uint8 `json:"code"`
}

// Checksum is what the kernel keeps about the checksums of a packet; a verdict
// needs the packet too.
type Checksum struct {
	Field  uint16 `json:"field,omitzero"`  // of the innermost UDP header
	Outer  uint16 `json:"outer,omitempty"` // of the tunnel's UDP header
	Summed uint8  `json:"ip_summed"`       // CHECKSUM_NONE 0, UNNECESSARY 1, COMPLETE 2, PARTIAL 3
	Level  uint8  `json:"csum_level,omitempty"`
	Start  uint16 `json:"csum_start,omitempty"` // from the buffer's head
	Offset uint16 `json:"csum_offset,omitempty"`
	L4     uint16 `json:"l4_offset,omitempty"` // of the innermost UDP header from the buffer's head
	Encap  bool   `json:"encapsulation,omitempty"`

	GSOSize uint16 `json:"gso_size,omitempty"` // several packets in one: payload of each, bytes
	GSOType uint32 `json:"gso_type,omitempty"` // SKB_GSO_* of the running kernel (include/linux/skbuff.h), bits
}

// Hook is a netfilter hook, by the name that rules give it.
type Hook string

// The hooks, in the order of enum nf_inet_hooks.
const (
	HookPrerouting  Hook = "PREROUTING"
	HookInput       Hook = "INPUT"
	HookForward     Hook = "FORWARD"
	HookOutput      Hook = "OUTPUT"
	HookPostrouting Hook = "POSTROUTING"
)

var hookNames = []Hook{HookPrerouting, HookInput, HookForward, HookOutput, HookPostrouting}

// Probe is where an event was observed, by the name that the kernel has for it.
type Probe string

// The probes.
const (
	ProbeNetDevQueue     Probe = "net_dev_queue"
	ProbeNetDevStartXmit Probe = "net_dev_start_xmit"
	ProbeNetifRx         Probe = "netif_rx"
	ProbeNetifReceiveSkb Probe = "netif_receive_skb"
	ProbeNFEnter         Probe = "nf_enter"
	ProbeNFLeave         Probe = "nf_leave"
	ProbeTCIngress       Probe = "tc_ingress"
	ProbeTCEgress        Probe = "tc_egress"
	ProbeSkDataReady     Probe = "sk_data_ready"
	ProbeRead            Probe = "skb_copy_datagram_iovec"
	ProbeUDPFail         Probe = "udp_fail_queue_rcv_skb"
	ProbeRcvqueueFull    Probe = "sock_rcvqueue_full"
	ProbeTCPBadCsum      Probe = "tcp_bad_csum"
	ProbeICMPSend        Probe = "icmp_send"
	ProbeKfreeSkb        Probe = "kfree_skb"
	ProbeConsumeSkb      Probe = "consume_skb"
	ProbeQdiscEnqueue    Probe = "qdisc_enqueue"

	// Of the functions, those that are not like all others; see kernel.Hops.
	ProbeIPSendSkb    Probe = "ip_send_skb"
	ProbeIP6SendSkb   Probe = "ip6_send_skb"
	ProbeBrNF         Probe = "br_nf_pre_routing"
	ProbeNFHookSlow   Probe = "nf_hook_slow"
	ProbeConntrackIn  Probe = "nf_conntrack_in"
	ProbeIPTDoTable   Probe = "ipt_do_table"
	ProbeIP6TDoTable  Probe = "ip6t_do_table"
	ProbeNFTDoChain   Probe = "nft_do_chain"
	ProbeNATManip     Probe = "nf_nat_manip_pkt"
	ProbeConfirm      Probe = "__nf_conntrack_confirm"
	ProbeIPVSSchedule Probe = "ip_vs_schedule"
	ProbeIPVSNat      Probe = "ip_vs_nat_xmit"
	ProbeIPVSNat6     Probe = "ip_vs_nat_xmit_v6"
	ProbeIPVSReply    Probe = "handle_response"
	ProbeDeliver      Probe = "ip_local_deliver"
	ProbeDeliver6     Probe = "ip6_input"
	ProbeNeighbour    Probe = "__neigh_event_send"
	ProbeUDPEnqueue   Probe = "__udp_enqueue_schedule_skb"
	ProbeUDPConsume   Probe = "skb_consume_udp"
)
