package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dnspath/dnspath/tracer"
)

// fragmentLost finds a reply some of whose fragments came to where they are put
// together, and others did not.
func fragmentLost(c *Case) *tracer.Finding {
	if c.Outcome != tracer.OutcomeLost || !slices.ContainsFunc(c.Legs, isFragment) {
		return nil
	}
	var at *tracer.Hop // the last that was seen of any
	for leg, h := range c.Hops() {
		if leg.IsMessage() && leg.Response && h.Tunnel == nil && (at == nil || h.Time >= at.Time) {
			at = h
		}
	}
	if at == nil || at.Name == "tx" { // it goes on from there
		return nil
	}
	pieces := c.piecesIn(at.NetNS)
	from, missing := firstGap(pieces)
	if len(pieces) == 0 || !missing {
		return nil
	}
	ns := c.NetNS(at.NetNS)
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("a fragment of the reply, from byte %d on, got lost on its way to %s; the others wait there in vain", from, ns.Name()),
		Mend: []string{
			"answers that need no fragments: bufsize 1232 in CoreDNS, edns-udp-size 1232 elsewhere",
			"or have firewalls and load balancers on the way let IP fragments pass: those behind the first have no ports",
		},
	}
	for _, p := range pieces {
		f.Evidence = append(f.Evidence, fmt.Sprintf("bytes %d to %d of the reply's UDP datagram came to %s", p.from, p.to-1, ns.Name()))
	}
	return f
}

func isFragment(leg tracer.Leg) bool {
	return leg.Error == nil && leg.Response && leg.Fragment != nil
}

// piece is a stretch of a datagram's payload.
type piece struct {
	from, to uint32
	last     bool
}

// piecesIn returns the pieces of the reply that were seen in a namespace, in order.
func (c *Case) piecesIn(netns uint32) (pieces []piece) {
	for i := range c.Legs {
		leg := &c.Legs[i]
		if !leg.IsMessage() || !leg.Response {
			continue
		}
		for j := range leg.Hops {
			h := &leg.Hops[j]
			if h.NetNS != netns || h.Tunnel != nil {
				continue
			}
			headers := uint32(20)
			if h.Src.Addr().Is6() {
				headers = 40 + 8 // with that of the fragment, RFC 8200 section 4.5
			}
			p := piece{to: max(h.Len, headers) - headers}
			if leg.Fragment != nil {
				p = piece{from: uint32(leg.Fragment.Offset), to: uint32(leg.Fragment.Offset) + p.to, last: leg.Fragment.Last}
			}
			pieces = append(pieces, p)
			break
		}
	}
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.from, b.from) })
	return pieces
}

// firstGap returns the first byte that no piece has, and whether one is missing.
func firstGap(pieces []piece) (at uint32, missing bool) {
	last := false
	for _, p := range pieces {
		if p.from > at {
			return at, true
		}
		at, last = max(at, p.to), last || p.last
	}
	return at, !last
}
