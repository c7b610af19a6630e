package tracer

import (
	"net/netip"
	"slices"
)

// Outcome is how a lookup ended.
type Outcome string

// The outcomes. A refused or failed answer (SERVFAIL, REFUSED, NXDOMAIN) is
// OutcomeAnswered with its rcode.
const (
	OutcomeAnswered         Outcome = "answered"          // a reply from the server asked reached the client
	OutcomeDropped          Outcome = "dropped"           // this node dropped the query or the reply
	OutcomeRejected         Outcome = "rejected"          // this node answered the query with an ICMP error
	OutcomeLost             Outcome = "lost"              // nothing came back in time, and no drop was seen
	OutcomeUnexpectedSource Outcome = "unexpected-source" // the reply bears another source than the client asked
	OutcomeIncomplete       Outcome = "incomplete"        // events are missing: nothing is claimed
)

// Lookup is one DNS question as the client sees it. All times are ns,
// CLOCK_MONOTONIC of the node that observed it.
type Lookup struct {
	Start    uint64 // first event
	End      uint64 // last event
	Latency  uint64 // ns from the first event to the reply's arrival at the client; 0 if there was none
	DNSID    uint16
	Question *Message // of the query; of the reply if no query was seen; never nil
	Reply    *Message // nil if none was seen
	ReplyLen int      // bytes of Reply; 0 if none was seen

	Transport Transport
	Client    netip.AddrPort // as in the query's first event
	Server    netip.AddrPort
	Backend   netip.AddrPort // where the query went in the end, if that is not Server; else zero
	NetNS     uint32         // the client's; 0 if it was not seen to be sent
	PID       uint32         // the client's process; 0 unknown
	Comm      string         // its name: any bytes
	Attempts  int            // query transmissions seen
	Legs      []Leg          // in the order of their first events

	Outcome    Outcome
	Waited     uint64   // ns for which a reply was waited for, of OutcomeLost; else 0
	Detail     string   // one phrase that says more of the outcome; may be empty
	FateNetNS  uint32   // where Detail happened; 0 unknown or nowhere
	Incomplete bool     // events are missing, or may be: hops may be absent
	Why        []string // what makes it incomplete

	Strays []Stray // replies that came meanwhile and are none to its query; of lookups over UDP without a reply

	// ServerAsked reports that the server was seen to ask another one: while it had the
	// query, or for the same name, as far as that is remembered. It is known of
	// lookups whose reply is SERVFAIL or REFUSED.
	ServerAsked bool

	Story *Story // that it is part of; nil: it is alone
	Links []Link // to other lookups

	Findings []Finding // why it failed, the most telling first; diagnose fills them in
}

// Transport is what carried a lookup.
type Transport string

// The transports.
const (
	TransportUDP Transport = "udp"
	TransportTCP Transport = "tcp"
)

// Leg is the way of one packet: one query transmission, or one reply.
//
// Over TCP each segment has a leg: those of the handshake belong to the first
// lookup of the connection, one with parts of several messages to each of their
// lookups. Fragments of a datagram have a leg each, too, and so has an ICMP
// error, whose direction is that in which it travels.
type Leg struct {
	Response bool
	Attempt  int // of queries: 1, 2, …; of a reply: the attempt that it follows
	Hops     []Hop

	Segment  string // of TCP: "SYN", "SYN-ACK", "data", "FIN", "RST"; "" UDP
	Again    bool   // of TCP: it repeats an earlier segment
	Fragment *Fragment
	Error    *Quote // it is the way of an ICMP error
}

// IsMessage reports whether it is the way of a DNS message, or of a part of one.
func (l *Leg) IsMessage() bool { return l.Error == nil && (l.Segment == "" || l.Segment == "data") }

// Fragment is a piece of an IP datagram. The first one's leg is also that of the
// whole datagram, where it travels in one piece.
type Fragment struct {
	Offset uint16 // of its payload in the datagram's, bytes
	Last   bool
}

// Hop is what happened at one place on a packet's way, with what changed since
// the hop before.
type Hop struct {
	Name    string // as in the table of hops: kernel.Hops
	Layer   string // socket, bridge, ip, netfilter, ipvs, tunnel, device, tc, end
	Probe   Probe  // the first that saw it
	Time    uint64
	NetNS   uint32
	Ifindex uint32
	Dev     string
	Src     netip.AddrPort // innermost, after Change
	Dst     netip.AddrPort
	Len     uint32 // bytes of the sk_buff: the IP packet, outermost header included; as a driver of Ethernet gets it, with 14 of the frame's
	TTL     uint8
	Hook    Hook    // of hops in netfilter, and of drops in a hook
	Tunnel  *Tunnel // nil outside a tunnel
	Change  *Change
	Drop    *Drop
	Rules   []Rule // what nftables did there, in order; with ExactRules
	ICMP    *ICMP
	PID     uint32 // of the process that sent or read it
	Comm    string

	CT      *Conntrack // its entry, in a tunnel that of the outer packet; nil unknown, or none
	NoTrack bool       // it is exempt from conntrack
	Verdict Verdict    // of a function
	Table   *Table     // of a function of netfilter
	State   string     // of conntrack; see Event
	Route   *Route     // that the packet holds; the port that a bridge chose
	Waits   *Neighbour // whose address is not known yet

	Checksum Checksum
	Sums     []HeaderSum // of each header's checksum, the outermost first; nil: the packet was not captured
	Breaks   []SumBreak  // checksums that are wrong here, and were not, or not seen, before
	Queued   bool        // tx: handed to the device, not seen to reach its driver
	Inferred bool        // concluded from what was seen; it happened no later than Time
}

// ChangeKind says what a Change did to a packet's headers.
type ChangeKind string

// The kinds of change. Un-DNAT and un-SNAT are what translating a reply back is called.
const (
	ChangeDNAT   ChangeKind = "dnat"
	ChangeSNAT   ChangeKind = "snat"
	ChangeUnDNAT ChangeKind = "un-dnat"
	ChangeUnSNAT ChangeKind = "un-snat"
	ChangeEncap  ChangeKind = "encap"
	ChangeDecap  ChangeKind = "decap"
)

// How a fact is known.
const (
	HowSeen     = "seen"     // observed on both sides of the place
	HowInferred = "inferred" // concluded from observations before and after
)

// By is what rewrote or dropped a packet.
type By struct {
	Name string // where it is: "iptables nat PREROUTING → KUBE-SERVICES", any bytes but for the arrows
	Rule string // its text; empty if it has none, or several could have been it
	How  string // HowSeen, HowInferred
	Part bool   // Name is a table, a base chain, IPVS: which rule or service of it is not known
}

// String says in one phrase what did it, and how that is known.
func (b *By) String() string {
	s := b.Name
	if b.Rule != "" {
		s += ": " + b.Rule
	}
	if b.How == HowInferred {
		s += " (inferred)"
	}
	return s
}

// Change is a rewrite of a packet's headers since the hop before. A packet can
// have its source and its destination rewritten at one place: then Also holds
// the second.
type Change struct {
	Kind      ChangeKind
	From, To  netip.AddrPort // of NAT
	Hook      Hook           // where NAT happened; empty outside netfilter
	HookHow   string         // how Hook is known
	Conntrack bool           // a conntrack entry with just these addresses belongs to the packet
	Tunnel    *Tunnel        // of encap and decap
	By        *By            // the rule that did it; nil unknown
	Also      *Change
}

// Rule is what one rule of nftables, or the policy of a chain, did with a packet.
type Rule struct {
	Kind    string // rule, policy, return
	Hook    Hook   // of the base chain
	Family  string // of the table: inet, ip, ip6
	Table   string
	Base    string // the base chain that led to Chain
	Chain   string
	Handle  uint64 // 0 of a policy
	Verdict string // accept, drop, continue, jump CHAIN, …
	Text    string // as nft lists it; empty if unknown
	Comment string
}

// Drop is the end of a packet.
type Drop struct {
	Reason   string // as the kernel spells it; empty if it gives none
	Function string // that freed it; empty if unknown
	Meaning  string // of Reason or else Function, in plain words; empty if neither tells
	Inferred string // the reason that later kernels give there, by Function or by a checksum that is wrong; empty if Reason says as much, or it could be several
	Hook     Hook   // the netfilter hook that the packet was in; empty if none is known
	Confirm  bool   // it had passed all of the hook's rules: conntrack's confirmation is what is left
	Errno    int    // of a full socket
	By       *By    // the rule that did it; nil unknown
}

// leg returns the events' way as hops; see buildHops.
func (l *legState) leg() Leg {
	leg := Leg{Response: l.response, Attempt: l.attempt, Fragment: l.fragment, Error: l.quote, Hops: buildHops(l)}
	if l.tcp != nil {
		leg.Segment, leg.Again = l.tcp.kind, l.tcp.again
	}
	return leg
}

// SentHere reports whether a packet was sent from where its first hop is.
func (h *Hop) SentHere() bool {
	return h.Tunnel == nil && (h.Name == "tx" || h.Name == "send" || h.Hook == HookOutput)
}

// Served returns where the query was first seen in the network namespace that the
// reply was sent from, and where the reply was first seen; nil if either was not.
// When the query was read is not known as well: some kernels free it much later.
func (l *Lookup) Served() (came, left *Hop) {
	reply := slices.IndexFunc(l.Legs, func(leg Leg) bool { return leg.Response && leg.IsMessage() && len(leg.Hops) > 0 })
	if reply < 0 || !l.Legs[reply].Hops[0].SentHere() {
		return nil, nil
	}
	left = &l.Legs[reply].Hops[0]
	for i := range l.Legs {
		leg := &l.Legs[i]
		if leg.Response || !leg.IsMessage() {
			continue
		}
		for j := range leg.Hops {
			if h := &leg.Hops[j]; h.NetNS == left.NetNS && h.Dst == left.Src && h.Drop == nil && h.Time <= left.Time {
				return h, left
			}
		}
	}
	return nil, nil
}
