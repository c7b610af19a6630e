package tracer

// A handshake that fails asks nothing, so no question ties it to the truncated
// answer that it was made for. Who connected to whom, and when, may leave but one.

// truncated are the members with a truncated answer of late.
type truncated struct {
	members []*member // the oldest first
	lost    uint64    // when the newest answer came that was left out for want of room; 0: none was
}

// truncate notes that the client of l was given a truncated answer over UDP.
func (s *stories) truncate(l *lookupState) {
	if l.member == nil {
		return
	}
	t := &s.truncated
	for len(t.members) > 0 {
		oldest := t.members[0]
		_, at := oldest.answer()
		switch {
		case at+nearby >= l.arrived && len(t.members) < maxLook:
			t.members = append(t.members, l.member)
			return
		case at+nearby >= l.arrived:
			t.lost = max(t.lost, at)
		}
		t.members = t.members[1:]
	}
	t.members = append(t.members, l.member)
}

// connect takes a lookup that a SYN has opened, and finds the truncated answer
// that it may be made for, if it can only be that one.
func (s *stories) connect(l *lookupState) {
	t := &s.truncated
	if len(t.members) == 0 || t.lost != 0 && l.start-min(l.start, t.lost) <= nearby {
		return
	}
	m := &member{asked: askedBy(l), state: l}
	for _, o := range t.members {
		if o.client != m.client || o.server.Addr() != m.server.Addr() || o.overTCP || answeredJustBefore(o, m) == nil || differ(o.pid(), m.pid()) {
			continue
		}
		if l.after != nil {
			l.after = nil
			return
		}
		l.after = o
	}
}

// handshake ties a lookup that is no more than a failed handshake to the truncated
// answer that it was made for. That was handed out long ago: the two are no story.
func (l *lookupState) handshake(out *Lookup) {
	failed := out.Outcome == OutcomeDropped || out.Outcome == OutcomeRejected || out.Outcome == OutcomeLost || out.Outcome == OutcomeUnexpectedSource
	if l.after == nil || l.request != nil || out.Incomplete || !failed || l.after.overTCP || differ(l.after.pid(), out.PID) {
		return
	}
	l.after.overTCP = true
	out.Links = append(out.Links, Link{Kind: LinkTruncationOf, How: HowInferred, Ref: l.after.reference()})
}
