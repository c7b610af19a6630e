package tracer

import (
	"cmp"
	"fmt"
	"slices"
)

// findFragment is find for a fragment that is not the first of its datagram:
// whose it is, the first one has told.
func (c *Correlator) findFragment(e *Event) *legState {
	var buf [3]flowKey
	for _, key := range keysOf(e, &buf) {
		for l := c.flows[key]; l != nil; l = l.olderBy(key) {
			if !l.hasDatagram(e) {
				continue
			}
			if leg := l.continued(e); leg != nil {
				return leg
			}
			return c.newLeg(l, e, nil)
		}
	}
	c.count.Stragglers++
	return nil
}

// hasDatagram reports whether the lookup has the first fragment of e's datagram.
func (l *lookupState) hasDatagram(e *Event) bool {
	return slices.ContainsFunc(l.legs, func(leg *legState) bool {
		return leg.isPiece(e.Response, e.IPID) && leg.fragment == nil
	})
}

// isPiece reports whether the leg is that of a datagram, or of a fragment of it.
func (l *legState) isPiece(response bool, ipid uint16) bool {
	return l.quote == nil && l.tcp == nil && l.response == response && l.hasIPID(ipid)
}

// hasIPID reports whether the leg's packet had this IP ID anywhere: over IPv6 only
// fragments have one, and another one each time that the datagram is split.
func (l *legState) hasIPID(ipid uint16) bool {
	return slices.ContainsFunc(l.events, func(e *Event) bool { return e.IPID == ipid })
}

// freesParts are the functions that free the fragments of a datagram which was
// put together, as soon as nobody needs that any more (net/core/skbuff.c): its own
// end tells what became of them.
var freesParts = map[string]bool{"skb_release_data": true, "kfree_skb_list": true, "kfree_skb_list_reason": true}

// joined reports whether e is the end of a fragment as part of its datagram.
func joined(e *Event) bool {
	return e.Probe == ProbeKfreeSkb && e.FragOffset > 0 && freesParts[e.Freed.Function]
}

// piece is a stretch of a datagram's payload.
type piece struct{ from, to uint32 }

// assembled reports whether all fragments of a reply have reached the client, and
// none was dropped there.
func (l *lookupState) assembled(ipid uint16) bool {
	var pieces []piece
	last := false
	for _, leg := range l.legs {
		if !leg.isPiece(true, ipid) || leg.fate() != nil {
			continue
		}
		for _, e := range leg.events {
			if l.isHome(e) && e.Fragment && e.IPID == ipid {
				pieces = append(pieces, pieceOf(e))
				last = last || e.FragLast
				break
			}
		}
	}
	_, gap := missing(pieces)
	return last && !gap
}

// pieceOf says which part of the datagram's payload a fragment has.
func pieceOf(e *Event) piece {
	headers := uint32(20)
	if e.Src.Addr().Is6() {
		headers = 40 + 8 // RFC 8200 section 4.5; other extension headers make it seem longer than it is
	}
	from := uint32(e.FragOffset)
	return piece{from, from + max(e.Len, headers) - headers}
}

// missing returns the first offset that no piece covers, and whether one lies
// behind it.
func missing(pieces []piece) (at uint32, gap bool) {
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.from, b.from) })
	for _, p := range pieces {
		if p.from > at {
			return at, true
		}
		at = max(at, p.to)
	}
	return at, false
}

// fragmentDetail says which fragments of a reply did not come to the client, if
// others did; "" if it was not in fragments.
func (l *lookupState) fragmentDetail() string {
	home, all := 0, 0
	var lost *legState
	for _, leg := range l.legs {
		if leg.quote != nil || leg.tcp != nil || !leg.response || len(leg.events) == 0 || !leg.inPieces() {
			continue
		}
		all++
		if slices.ContainsFunc(leg.events, l.isHome) {
			home++
		} else if lost == nil {
			lost = leg
		}
	}
	switch {
	case all == 0 || home == 0:
		return ""
	case lost == nil:
		return "the reply came in fragments, of which some were not seen"
	}
	return fmt.Sprintf("of the reply's %d fragments %d arrived; %s did not", all, home, lost.fragmentName())
}

// inPieces reports whether a reply was in fragments anywhere.
func (l *lookupState) inPieces(reply *legState) bool {
	return slices.ContainsFunc(l.legs, func(leg *legState) bool { return sameDatagram(reply, leg) && leg.inPieces() })
}

// sameDatagram reports whether a leg is that of a reply, or of a fragment of it.
func sameDatagram(reply, leg *legState) bool {
	return slices.ContainsFunc(reply.events, func(e *Event) bool { return leg.isPiece(true, e.IPID) })
}

// inPieces reports whether the leg's packet was a fragment anywhere.
func (l *legState) inPieces() bool {
	return l.fragment != nil || slices.ContainsFunc(l.events, func(e *Event) bool { return e.Fragment })
}

func (l *legState) fragmentName() string {
	if l.fragment == nil {
		return "the first"
	}
	return fmt.Sprintf("that at offset %d", l.fragment.Offset)
}
