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
	CPU      uint16         `json:"cpu"`
	NetNS    uint32         `json:"netns,omitempty"` // inode of the network namespace; 0 unknown
	Ifindex  uint32         `json:"ifindex,omitempty"`
	Dev      string         `json:"dev,omitempty"` // name at that moment
	Src      netip.AddrPort `json:"src"`           // innermost addresses
	Dst      netip.AddrPort `json:"dst"`
	Len      uint32         `json:"len"` // bytes in the sk_buff
	TTL      uint8          `json:"ttl"` // of the innermost IP header
	IPID     uint16         `json:"ip_id,omitempty"`
	Mark     uint32         `json:"mark,omitempty"`
	Tunnel   *Tunnel        `json:"tunnel,omitempty"`
	CT       *Conntrack     `json:"conntrack,omitempty"`
	NoTrack  bool           `json:"notrack,omitempty"` // skb->_nfct says untracked
	Hook     Hook           `json:"hook,omitempty"`    // netfilter hook that the packet entered last in this namespace
	HookLeft bool           `json:"hook_left,omitempty"`
	Freed    *Freed         `json:"freed,omitempty"` // kfree_skb, consume_skb
	ICMP     *ICMP          `json:"icmp,omitempty"`  // icmp_send
	Errno    int            `json:"errno,omitempty"` // udp_fail_queue_rcv_skb: positive
	PID      uint32         `json:"pid,omitempty"`   // of the process that sends or reads it; 0 unknown
	Comm     string         `json:"comm,omitempty"`  // its name: any bytes
	Checksum Checksum       `json:"checksum"`

	DNSID     uint16 `json:"dns_id"`
	DNSFlags  uint16 `json:"dns_flags"` // second word of the header, RFC 1035 section 4.1.1
	DNSLen    uint16 `json:"dns_len"`   // of the message as the UDP header says, bytes
	Response  bool   `json:"response,omitempty"`
	Local     bool   `json:"local,omitempty"`     // it belongs to a socket of this namespace: it is sent here
	Short     bool   `json:"short,omitempty"`     // under 12 bytes: no DNS header; DNSID is 0
	Nonlinear bool   `json:"nonlinear,omitempty"` // the message lies in page fragments; DNSID is 0
	Fragment  bool   `json:"fragment,omitempty"`  // first IP fragment of a larger datagram

	// Captured is the packet from its outermost IP header on, as far as it was
	// copied; nil if its headers are those of the packet's event before.
	Captured  []byte `json:"captured,omitempty"`
	DNSOffset uint16 `json:"dns_offset,omitempty"` // of the message in Captured
}

// Tunnel is the header around an encapsulated packet.
type Tunnel struct {
	Kind string         `json:"kind"` // "vxlan"
	VNI  uint32         `json:"vni"`
	Src  netip.AddrPort `json:"src"`
	Dst  netip.AddrPort `json:"dst"`
	TTL  uint8          `json:"-"`
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
	Field  uint16 `json:"field"`           // of the innermost UDP header
	Outer  uint16 `json:"outer,omitempty"` // of the tunnel's UDP header
	Summed uint8  `json:"ip_summed"`       // CHECKSUM_NONE 0, UNNECESSARY 1, COMPLETE 2, PARTIAL 3
	Level  uint8  `json:"csum_level,omitempty"`
	Start  uint16 `json:"csum_start,omitempty"` // from the buffer's head
	Offset uint16 `json:"csum_offset,omitempty"`
	L4     uint16 `json:"l4_offset,omitempty"` // of the innermost UDP header from the buffer's head
	Encap  bool   `json:"encapsulation,omitempty"`
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
	ProbeICMPSend        Probe = "icmp_send"
	ProbeKfreeSkb        Probe = "kfree_skb"
	ProbeConsumeSkb      Probe = "consume_skb"
)
