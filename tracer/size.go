package tracer

import "unsafe"

// What a Lookup is made of, bytes. Text that recurs (names of devices, hooks,
// functions) is shared, and does not count.
const (
	eventBytes  = int(unsafe.Sizeof(Event{}))
	lookupSize  = int(unsafe.Sizeof(Lookup{}))
	messageSize = int(unsafe.Sizeof(Message{}))
	addrSize    = int(unsafe.Sizeof(Message{}.Answers[0]))
	straySize   = int(unsafe.Sizeof(Stray{}))
	linkSize    = int(unsafe.Sizeof(Link{}))
	legSize     = int(unsafe.Sizeof(Leg{}))
	hopSize     = int(unsafe.Sizeof(Hop{}))
	quoteSize   = int(unsafe.Sizeof(Quote{}))
	tunnelSize  = int(unsafe.Sizeof(Tunnel{}))
	changeSize  = int(unsafe.Sizeof(Change{}))
	dropSize    = int(unsafe.Sizeof(Drop{}))
	ctSize      = int(unsafe.Sizeof(Conntrack{}))
	ruleSize    = int(unsafe.Sizeof(Rule{}))
	sumSize     = int(unsafe.Sizeof(HeaderSum{}))
	breakSize   = int(unsafe.Sizeof(SumBreak{}))
	detailSize  = int(unsafe.Sizeof(Table{}) + unsafe.Sizeof(Route{}) + unsafe.Sizeof(Neighbour{}) + unsafe.Sizeof(ICMP{}))
)

// Size estimates how many bytes of memory a lookup takes.
func (l *Lookup) Size() int {
	n := lookupSize + len(l.Detail) + l.Question.size() + l.Reply.size() + cap(l.Links)*linkSize + cap(l.Legs)*legSize
	for _, why := range l.Why {
		n += len(why)
	}
	for i := range l.Strays {
		n += straySize + l.Strays[i].Message.size() + l.Strays[i].First.size()
	}
	for i := range l.Legs {
		leg := &l.Legs[i]
		n += (cap(leg.Hops) - len(leg.Hops)) * hopSize
		if leg.Error != nil {
			n += quoteSize
		}
		for j := range leg.Hops {
			n += hopSize + leg.Hops[j].size()
		}
	}
	return n
}

// Size estimates how many bytes of memory an event takes.
func (e *Event) Size() int {
	n := eventBytes + cap(e.Captured)
	for t := e.Tunnel; t != nil; t = t.In {
		n += tunnelSize
	}
	if e.CT != nil {
		n += ctSize
	}
	return n
}

func (m *Message) size() int {
	if m == nil {
		return 0
	}
	return messageSize + len(m.Name) + len(m.Defect) + cap(m.Answers)*addrSize
}

// size is what a hop refers to, itself not included.
func (h *Hop) size() int {
	n := cap(h.Sums)*sumSize + cap(h.Breaks)*breakSize + cap(h.Rules)*ruleSize
	for i := range h.Rules {
		n += len(h.Rules[i].Text) + len(h.Rules[i].Comment)
	}
	for t := h.Tunnel; t != nil; t = t.In {
		n += tunnelSize
	}
	for c := h.Change; c != nil; c = c.Also {
		n += changeSize
	}
	if h.Drop != nil {
		n += dropSize + len(h.Drop.Meaning)
	}
	if h.CT != nil {
		n += ctSize
	}
	if h.Table != nil || h.Route != nil || h.Waits != nil || h.ICMP != nil {
		n += detailSize
	}
	return n
}
