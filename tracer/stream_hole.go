package tracer

import "slices"

// hole is a stretch of a stream that was not read: the length of the message that
// begins with it was not captured. A segment that repeats it may tell.
type hole struct {
	from, to uint32
	since    uint64 // when it was first seen; 0: there is none
	open     bool   // nothing behind it was recognised yet: half.next is from, and to is not known
}

// tear says that the length of the message at from, which a segment has, was not captured.
func (h *half) tear(from uint32, a aheadOf) {
	h.synced, h.msg, h.next = false, nil, from
	h.hole = hole{from: from, open: true, since: a.leg.events[0].Time}
}

// unreadAfter reports whether messages that came after a time may not have been read.
func (h *half) unreadAfter(time uint64) bool {
	return h.missed >= time || h.hole.open && h.hole.since >= time
}

// resume reports whether the stream can be read again with a segment: it has the
// length that is missing, or a message seems to begin with it.
func (h *half) resume(a aheadOf) bool {
	behind := int(int32(h.next - a.seq))
	switch {
	case h.hole.open && behind >= 0:
		if behind >= a.size || len(a.payload) < behind+min(2, a.size-behind) {
			return false
		}
		h.hole = hole{}
	case startsMessage(a.payload, a.leg.response):
		h.next, h.missed = a.seq, max(h.missed, h.hole.since)
		h.hole.to, h.hole.open = a.seq, false
		h.ahead = slices.DeleteFunc(h.ahead, func(b aheadOf) bool { return int32(b.seq+uint32(b.size)-a.seq) <= 0 })
	default:
		return false
	}
	h.synced = true
	return true
}

// leave notes a segment with which the stream can't be read. What is before the
// hole repeats what is known, what is behind it follows if the hole is filled.
func (c *Correlator) leave(h *half, a aheadOf, fresh bool) {
	switch behind := int(int32(h.next - a.seq)); {
	case !h.hole.open:
	case behind > 0:
		c.repeat(h, a, fresh)
	case behind < 0 && len(h.ahead) < maxAhead:
		h.ahead = append(h.ahead, a)
	}
}

// has reports whether a segment has bytes of the hole.
func (o *hole) has(a aheadOf) bool {
	return o.since != 0 && int32(o.from-(a.seq+uint32(a.size))) < 0 && (o.open || int32(a.seq-o.to) < 0)
}
