package diagnose

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/dnspath/dnspath/tracer"
)

// maxPast bounds how many lookups are remembered.
const maxPast = 4096

// past is what is remembered of a lookup.
type past struct {
	ref       tracer.Ref
	start     uint64 // its first event, ns
	end       uint64 // its last event, ns
	transport tracer.Transport
	client    netip.AddrPort
	server    netip.AddrPort // that the client asked
	backend   netip.AddrPort // that it went to in the end; the server if that is the same
	name      string
	qtype     uint16
	replyLen  int
	waited    uint64 // ns, for its answer
	netns     uint32 // of its client, and the process there; 0 unknown
	pid       uint32
	servedIn  uint32     // the namespace in which its last query was seen last
	exit      *exit      // nil: its source was not seen to be rewritten
	crossings []crossing // of its reply
	outcome   tracer.Outcome
	refused   bool // by an rcode of its server, or of a server's upstream
	asked     bool // its server was seen to ask others
	findings  []tracer.Finding
}

// failed reports whether it ended without an answer for its client.
func (p *past) failed() bool {
	return p.outcome != tracer.OutcomeAnswered && p.outcome != tracer.OutcomeIncomplete
}

// history is a ring of the last lookups.
type history struct {
	ring []past
	next int
}

func newHistory() *history { return &history{} }

func (h *history) add(l *tracer.Lookup) {
	p := past{
		ref: l.Ref(), start: l.Start, end: l.End, transport: l.Transport,
		client: l.Client, server: l.Server, backend: l.Backend, name: l.Question.Name,
		qtype: l.Question.Type, replyLen: l.ReplyLen, outcome: l.Outcome, findings: l.Findings,
		exit: exitOfLookup(l), crossings: crossingsOf(l), waited: l.Waited, servedIn: servedIn(l), netns: l.NetNS, pid: l.PID,
	}
	if !p.backend.IsValid() {
		p.backend = l.Server
	}
	p.refused = l.Reply != nil && l.Reply.Refuses()
	p.asked = slices.ContainsFunc(l.Links, func(k tracer.Link) bool { return k.Kind == tracer.LinkChild })
	if len(h.ring) < maxPast {
		h.ring = append(h.ring, p)
		return
	}
	h.ring[h.next] = p
	h.next = (h.next + 1) % maxPast
}

// servedIn returns the namespace in which the last query was seen last.
func servedIn(l *tracer.Lookup) (netns uint32) {
	for i := range l.Legs {
		if leg := &l.Legs[i]; !leg.Response && leg.IsMessage() && len(leg.Hops) > 0 {
			netns = leg.Hops[len(leg.Hops)-1].NetNS
		}
	}
	return netns
}

// all yields what is remembered, the newest first.
func (h *history) all() iter.Seq[*past] {
	return func(yield func(*past) bool) {
		for i := range h.ring {
			n := len(h.ring)
			if !yield(&h.ring[(h.next+n-1-i)%n]) {
				return
			}
		}
	}
}

// find returns what is remembered of a lookup, or nil.
func (h *history) find(ref tracer.Ref) *past {
	for p := range h.all() {
		if p.ref == ref {
			return p
		}
	}
	return nil
}
