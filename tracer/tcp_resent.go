package tracer

import "slices"

// resent is what became of the bytes of a segment that did not arrive.
type resent uint8

const (
	resentNot     resent = iota // they were not seen again
	resentUnknown               // they were sent again, and how that ended is not known
	resentArrived               // they have reached the client
)

// resent says what became of the bytes of a reply's segment, by the sequence
// numbers of all segments that the connection carried after it, read or not.
func (l *lookupState) resent(lost *legState, fate *Event) resent {
	from, size := lost.tcp.seq, uint32(0)
	for _, e := range lost.events {
		size = max(size, uint32(e.TCP.Len))
	}
	state := resentNot
	var home []piece
	for _, leg := range l.conn.legs {
		if leg == lost || leg.response != lost.response || leg.tcp.kind != "data" || leg.segmentFate() != nil {
			continue
		}
		for _, e := range leg.events {
			start := int32(e.TCP.Seq - from)
			end := start + int32(e.TCP.Len)
			if end <= 0 || start >= int32(size) {
				continue
			}
			if leg.events[0].Time > fate.Time {
				state = resentUnknown
			}
			if l.isHome(e) {
				home = append(home, piece{uint32(max(start, 0)), uint32(end)})
			}
		}
	}
	if at, gap := missing(home); !gap && at >= size {
		return resentArrived
	}
	return state
}

// afterDrop says what became of the bytes of a segment that was dropped, as far as
// that changes what the drop means. That it was sent again and not seen to arrive
// does so only if the server had reason to do better: path MTU discovery (RFC 1191).
func (l *lookupState) afterDrop(leg *legState, fate *Event) resent {
	switch {
	case leg.tcp.kind != "data":
		return resentNot
	case !leg.response && l.answer != nil: // to whatever the server answers has reached it
		return resentArrived
	case !leg.response:
		return resentNot
	}
	state := l.resent(leg, fate)
	if state == resentUnknown && !l.tooBig(leg, fate) {
		return resentNot
	}
	return state
}

// tooBig reports whether a segment was dropped since it is larger than the MTU of
// its way.
func (l *lookupState) tooBig(leg *legState, fate *Event) bool {
	if fate.Freed != nil && (fate.Freed.Reason == "PKT_TOO_BIG" || fate.Freed.Function == "ip_fragment") {
		return true
	}
	return slices.ContainsFunc(l.legs, func(q *legState) bool {
		return q.quote != nil && !q.response && q.quote.tooBig() && q.events[0].Time >= leg.events[0].Time
	})
}

// tooBig reports whether the error tells of a smaller MTU: TCP then sends smaller
// segments.
func (q *Quote) tooBig() bool {
	if q.V6 {
		return q.Type == icmp6TooBig
	}
	return q.Type == icmpUnreachable && q.Code == icmpFragNeeded
}
