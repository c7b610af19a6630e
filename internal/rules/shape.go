package rules

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer"
)

// Shape is what rules can ask of a packet beyond its protocol and addresses.
// The zero value is a packet in one piece, of which no TCP flag is known.
type Shape struct {
	Set, Clear uint8  // TCP's flags that are known, as in the 14th byte of its header
	Piece      Piece  // of a fragmented datagram
	Offset     uint16 // of a later fragment, bytes
	Last       bool   // of a later fragment: no other follows
	Type, Code uint8  // of an ICMP error
}

// Piece tells fragments from whole packets.
type Piece uint8

// The pieces. A first fragment may travel as the whole datagram too.
const (
	Whole Piece = iota
	First
	Later
)

// TCP's flags, as in the 14th byte of its header (RFC 9293 section 3.1).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
	flagURG
	flagECE
	flagCWR
)

// segmentFlags are those of a segment by its name. One with data may end the
// connection as well, and a reset need not acknowledge anything.
var segmentFlags = map[string]Shape{
	"SYN":     {Set: flagSYN, Clear: flagACK | flagFIN | flagRST},
	"SYN-ACK": {Set: flagSYN | flagACK, Clear: flagFIN | flagRST},
	"data":    {Set: flagACK, Clear: flagSYN | flagRST},
	"FIN":     {Set: flagFIN | flagACK, Clear: flagSYN | flagRST},
	"RST":     {Set: flagRST, Clear: flagSYN},
}

// flags returns what is known of a flags byte.
func (s Shape) flags() (data, known uint8) { return s.Set, s.Set | s.Clear }

// segmentOf names a segment as a leg does.
func segmentOf(t *tracer.TCP) string {
	switch {
	case t.RST:
		return "RST"
	case t.SYN && t.ACK:
		return "SYN-ACK"
	case t.SYN:
		return "SYN"
	case t.Len > 0:
		return "data"
	}
	return "FIN"
}

func transportProtocol(tcp bool) uint8 {
	if tcp {
		return unix.IPPROTO_TCP
	}
	return unix.IPPROTO_UDP
}

// outermost returns the tunnel whose headers rules see, and the addresses in it.
func outermost(t *tracer.Tunnel, inner netip.Addr) (*tracer.Tunnel, netip.Addr) {
	for ; t.In != nil; t = t.In {
		inner = t.Src.Addr()
	}
	return t, inner
}

// tunnelProtocol is the protocol in the outer IP header of a tunnel, around a
// packet with an address like inner.
func tunnelProtocol(t *tracer.Tunnel, inner netip.Addr) uint8 {
	switch t.Kind {
	case "gre":
		return unix.IPPROTO_GRE
	case "ipip", "sit", "ip6tnl":
		if inner.Unmap().Is4() {
			return unix.IPPROTO_IPIP
		}
		return unix.IPPROTO_IPV6
	}
	return unix.IPPROTO_UDP
}

// tunnelled asks about the outermost of a tunnel's headers, which are those that
// rules see.
func (q *Question) tunnelled(t *tracer.Tunnel, inner netip.Addr) {
	t, inner = outermost(t, inner)
	q.Protocol, q.Src, q.Dst, q.Shape = tunnelProtocol(t, inner), t.Src, t.Dst, Shape{}
}

// quoting asks about an ICMP error. Only a rule that certainly matches will be
// named, since of errors less is known than of DNS packets.
func (q *Question) quoting(e *tracer.Quote) {
	q.Protocol, q.Certain = unix.IPPROTO_ICMP, true
	if e.V6 {
		q.Protocol = unix.IPPROTO_ICMPV6
	}
	q.Src, q.Dst = netip.AddrPortFrom(e.From, 0), netip.AddrPortFrom(e.To, 0)
	q.Shape = Shape{Type: e.Type, Code: e.Code}
}

// fragment asks about a fragment. Later ones have no ports, and were perhaps put
// together before the rules met them: only what certainly matches will be named.
func (q *Question) fragment(offset uint16, last bool) {
	if q.Shape.Piece = First; offset > 0 {
		q.Shape = Shape{Piece: Later, Offset: offset, Last: last}
		q.Certain = true
	}
}
