package render

import (
	"fmt"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// Leg is the way of one packet. Of an ICMP error's hops, the addresses are those
// of the packet that it quotes.
type Leg struct {
	Direction string    `json:"direction"` // "query", "reply": which way it goes
	Attempt   int       `json:"attempt"`
	Segment   string    `json:"segment,omitempty"` // of TCP: SYN, SYN-ACK, data, FIN, RST
	Again     bool      `json:"again,omitempty"`   // of TCP: it repeats an earlier segment
	Fragment  *Fragment `json:"fragment,omitempty"`
	ICMP      *Quote    `json:"icmp,omitempty"` // it is this error, on its way
	Hops      []Hop     `json:"hops"`
}

// Fragment is a piece of an IP datagram.
type Fragment struct {
	Offset uint16 `json:"offset"` // bytes
	Last   bool   `json:"last,omitempty"`
}

// Quote is an ICMP error about a packet of the lookup.
type Quote struct {
	Type    uint8  `json:"type"`
	Code    uint8  `json:"code"`
	From    string `json:"from"`
	To      string `json:"to"`
	MTU     uint32 `json:"mtu,omitempty"`
	Meaning string `json:"meaning"`
}

// leg makes a view of a leg of a lookup that started then.
func (c *Context) leg(l *tracer.Leg, start uint64) Leg {
	v := Leg{Direction: "query", Attempt: l.Attempt, Segment: l.Segment, Again: l.Again, Hops: make([]Hop, len(l.Hops))}
	if l.Response {
		v.Direction = "reply"
	}
	if f := l.Fragment; f != nil {
		v.Fragment = &Fragment{Offset: f.Offset, Last: f.Last}
	}
	if q := l.Error; q != nil {
		v.ICMP = &Quote{Type: q.Type, Code: q.Code, From: q.From.String(), To: q.To.String(), MTU: q.MTU, Meaning: q.String()}
	}
	var before shown
	for i := range l.Hops {
		c.hop(&v.Hops[i], &l.Hops[i], before, start)
		before = shown{&l.Hops[i], &v.Hops[i]}
	}
	return v
}

// shown is a hop with its view: the next shares what is the same, for most of a
// packet's hops differ by little. The zero value is none.
type shown struct {
	hop  *tracer.Hop
	view *Hop
}

// setAddresses fills in where the packet goes from and to.
func (v *Hop) setAddresses(h *tracer.Hop, before shown) {
	if b := before.hop; b != nil && b.Src == h.Src && b.Dst == h.Dst {
		v.Src, v.Dst = before.view.Src, before.view.Dst
		return
	}
	v.Src, v.Dst = h.Src.String(), h.Dst.String()
}

// gaps returns the times between attempts, if the beginnings of all were seen.
func gaps(l *tracer.Lookup) (ns []uint64) {
	seen, last := false, uint64(0)
	for i := range l.Legs {
		leg := &l.Legs[i]
		if leg.Response || leg.Error != nil || leg.Fragment != nil || len(leg.Hops) == 0 || leg.Segment != sending(l) {
			continue
		}
		at := leg.Hops[0].Time
		if seen && at >= last {
			ns = append(ns, at-last)
		}
		seen, last = true, at
	}
	if len(ns) != l.Attempts-1 {
		return nil
	}
	return ns
}

// sending returns which segments are the attempts of a lookup: over TCP those of
// the question, or, if there is none, the SYN.
func sending(l *tracer.Lookup) string {
	switch {
	case l.Transport != tracer.TransportTCP:
		return ""
	case l.Question.Name == "":
		return "SYN"
	}
	return "data"
}

// title says what a leg is the way of.
func (l *Leg) title(attempts int) string {
	s := l.Direction
	switch {
	case l.ICMP != nil:
		about := "query"
		if l.Direction == "query" { // it goes the other way
			about = "reply"
		}
		return fmt.Sprintf("%s from %s about the %s", l.ICMP.Meaning, l.ICMP.From, about)
	case l.Segment != "" && l.Segment != "data":
		s = l.Segment
	case attempts > 1 && l.Segment == "": // of TCP, "again" tells
		s += fmt.Sprintf(" %d", l.Attempt)
	}
	if l.Again {
		s += " again"
	}
	if l.Fragment != nil {
		s += fmt.Sprintf(", fragment at %d", l.Fragment.Offset)
	}
	return s
}

// routine returns how many of the first legs are segments that open or close a
// connection, and of which there is nothing to tell: the lookup was answered.
func (r *Record) routine(legs []Leg) (n int) {
	if r.Outcome != "answered" || r.Incomplete {
		return 0
	}
	for n < len(legs) && legs[n].isRoutine() {
		n++
	}
	return n
}

func (l *Leg) isRoutine() bool {
	switch l.Segment {
	case "SYN", "SYN-ACK", "FIN":
	default:
		return false
	}
	if l.Again || l.ICMP != nil || l.Fragment != nil || len(l.Hops) == 0 {
		return false
	}
	for i := range l.Hops {
		if h := &l.Hops[i]; h.Drop != nil || h.ICMP != nil || h.Queued || brokenText(h) != "" {
			return false
		}
	}
	return true
}

// routineText tells such legs in one line, and in one more each which rule has
// rewritten one of them: the connection's other packets are rewritten as it was.
func (t *Text) routineText(legs []Leg) string {
	var names []string
	var rules strings.Builder
	from, to := legs[0].Hops[0].TNS, uint64(0)
	for i := range legs {
		names = append(names, legs[i].title(1))
		to = max(to, legs[i].Hops[len(legs[i].Hops)-1].TNS)
		for j := range legs[i].Hops {
			for _, text := range legs[i].Hops[j].rewrites() {
				fmt.Fprintf(&rules, "    %s\n", t.paint(cyan, legs[i].title(1)+": "+text))
			}
		}
	}
	return fmt.Sprintf("  %s  %s\n%s", t.paint(bold, strings.Join(names, ", ")),
		t.paint(dim, "as expected, "+duration(to-min(to, from))), rules.String())
}

// rewrites returns the changes at a hop of which it is known what made them.
func (h *Hop) rewrites() []string {
	var texts []string
	note := func(c *Change) {
		if c.By.Name != "" && c.By.Name != byConntrack {
			texts = append(texts, changeText(h, c))
		}
	}
	if h.Change != nil {
		note(h.Change)
	}
	for i := range h.Changes {
		note(&h.Changes[i])
	}
	return texts
}
