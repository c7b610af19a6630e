package rules

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer"
)

// Deed is what a rule did to a packet.
type Deed int

// The deeds. A Reject is a drop after which the kernel sent an ICMP error; a
// Drop may have been one too, if errors are not observed.
const (
	DNAT Deed = iota + 1
	SNAT
	Drop
	Reject

	// What is asked of a service: where rules lead its packets, and whether they
	// exempt them from conntrack.
	lead
	exempt
)

// Question asks who did something to a packet.
type Question struct {
	Deed     Deed
	Hook     tracer.Hook // empty if it happened outside netfilter's rules
	Seen     bool        // Hook was observed, not concluded
	Protocol uint8       // as in the IP header: 17 is UDP, 6 TCP
	Shape    Shape
	Src, Dst netip.AddrPort // before the deed
	To       netip.AddrPort // after NAT: the new source or destination
	In, Out  string         // devices as netfilter has them; empty if unknown
	Mark     *uint32        // of the packet; nil if unknown
	Time     uint64         // of the deed, ns of CLOCK_MONOTONIC
	Known    Known
	Tracked  Tracked
	Certain  bool   // a rule that perhaps did it is no answer
	Programs Device // if this is asked for instead, by Foresee alone
	Local    *bool  // whether Dst is an address of the namespace; nil unknown
}

// Known is what was seen of the place where it happened. Empty fields are
// unknown.
type Known struct {
	Backend Backend
	Family  string // of a table of nftables: ip, ip6, inet
	Table   string
	Chain   string // base chain
}

// Backend is what runs a table's rules.
type Backend string

// The backends. Tables of iptables-nft are run by BackendNFTables.
const (
	BackendLegacy   Backend = "iptables" // ipt_do_table, ip6t_do_table
	BackendNFTables Backend = "nftables" // nft_do_chain
)

// ipv6 reports which family's rules the packet met.
func (q *Question) ipv6() bool { return q.Dst.Addr().Is6() && !q.Dst.Addr().Is4In6() }

// nat reports whether it asks for a rewrite.
func (q *Question) nat() bool { return q.Deed == DNAT || q.Deed == SNAT || q.Deed == lead }

// Answer is what did it: a rule, a service, a program; or, if several could
// have, how many and what they share.
type Answer struct {
	Name string // where it is: "iptables nat PREROUTING → KUBE-SERVICES"
	Rule string // its text; empty if there is none, or more than one rule
	IPVS bool   // a service did it, no rule
}

// packet is a question while rules are matched with it.
type packet struct {
	*Question
	mark    *uint32 // as rules before this one left it
	srcPort bool    // a rule asked for the source port
}

// hasPorts reports whether rules find ports in the packet.
func (q *Question) hasPorts() bool {
	return (q.Protocol == unix.IPPROTO_UDP || q.Protocol == unix.IPPROTO_TCP) && q.Shape.Piece != Later
}

// source returns the source port. Clients choose it anew for each lookup, so
// an answer for which nobody asked it holds for all of them.
func (p *packet) source() uint16 {
	p.srcPort = true
	return p.Src.Port()
}

// tri is a truth value that may be unknown.
type tri int8

const (
	no tri = iota - 1
	maybe
	yes
)

func truth(b bool) tri {
	if b {
		return yes
	}
	return no
}

// not turns yes and no around, if it is to; what is unknown stays so.
func (t tri) not(invert bool) tri {
	if invert {
		return -t
	}
	return t
}
