package tracer

import (
	"cmp"
	"container/list"
	"hash/maphash"
)

// Limits of stories. What is beyond them is handed out with the links that it
// has, and may lack others: none is ever wrong, or lost, for that.
const (
	maxStory      = 64 // lookups in a story
	maxLook       = 64 // lookups that are looked at for one relation
	maxRemembered = 1 << 15
	heldOfEvents  = 4 // of the events that a Correlator keeps, the part that held back hops may be
)

// Times between lookups that belong together, ns.
const (
	nearby     = uint64(1e9)   // siblings start so near; what follows an answer does so so soon
	soonestTry = uint64(250e6) // what asks again sooner is somebody else: c-ares waits the least, 250 ms
)

// stories finds lookups that belong together. Those of a story it holds back
// until none of them is open any more. All its work on a lookup takes constant
// time: it looks at a bounded number of others, which hashes find.
type stories struct {
	done    func(*Lookup)
	window  uint64 // ns that a lookup waits for its answer
	maxHeld int
	seed    maphash.Seed

	clients   index     // by client and first label of the name
	questions index     // open ones, by question
	near      []*member // earlier ones of a client, the newest first
	parents   []*member
	truncated truncated
	asks      asks
	now       uint64 // newest time known

	// Ended ones that later ones may refer to, the oldest first.
	oldest, newest *member
	remembered     int

	waiting list.List // of *story: those that hold back lookups, the longest first
	held    int       // hops of lookups held back
}

// member is a lookup as stories know it: open, held back, or remembered.
type member struct {
	asked
	state *lookupState // nil once it has ended
	out   *Lookup      // held back
	story *story       // nil: it is alone
	ties  []tie

	base     string // of a search walk
	walked   bool   // a next step of the walk is known
	before   *member
	retried  bool
	overTCP  bool
	first    *member // of a retry: the first try
	try      int     // of a retry: 2 and up
	parent   *member
	children int
	process  uint32 // at the client's end; 0 unknown

	*ended // once it has
	chain  [2]chain
	next   *member // among those remembered
}

// ended is what is remembered of a lookup that has ended.
type ended struct {
	ref     Ref
	reply   *Message
	arrived uint64 // of reply; 0: none reached the client
	last    uint64 // its last event
	failed  bool   // it was seen to fail
}

// tie is a link whose other lookup may still be open.
type tie struct {
	kind LinkKind
	how  string // "": what the processes say
	to   *member
	try  int
}

// story is lookups that belong together, with what they still wait for.
type story struct {
	members []*member
	open    int
	held    *list.Element // in stories.waiting
	since   uint64        // when the first of them was held back
}

func newStories(window uint64, maxEvents int, done func(*Lookup)) *stories {
	return &stories{
		done: done, window: window, maxHeld: maxEvents / heldOfEvents, seed: maphash.MakeSeed(),
		clients: newIndex(0), questions: newIndex(1), asks: newAsks(),
	}
}

// ask takes a lookup whose question has become known.
func (s *stories) ask(l *lookupState) {
	if l.question.Name == "" || l.member != nil || l.first() == nil {
		return
	}
	m := &member{asked: askedBy(l), state: l}
	l.member = m
	s.now = max(s.now, l.last)
	s.forget()
	s.near = s.clients.find(s.near[:0], s.clientKey(m), maxLook, func(o *member) bool { return sameClient(m, o) })
	s.twins(m)
	s.retry(m)
	s.truncation(m)
	if !s.cause(m) { // else its cause has the siblings, and walks
		s.siblings(m)
		s.search(m)
	}
	s.clients.add(m, s.clientKey(m))
	s.questions.add(m, s.questionKey(m))
	s.asks.add(m, l.last)
}

// end takes a lookup that has ended, and hands out what waits for no other.
func (s *stories) end(l *lookupState, out *Lookup) {
	m := l.member
	s.now = max(s.now, out.End)
	if m == nil {
		l.handshake(out)
		s.done(out)
		s.relieve()
		return
	}
	l.member = nil
	m.state, m.out = nil, out
	out.ServerAsked = out.Reply != nil && out.Reply.Refuses() && s.asks.byServer(m, out)
	m.ended, m.process = endedAs(l, out), cmp.Or(out.PID, m.process)
	s.questions.remove(m)
	s.remember(m)
	if m.story == nil {
		s.show([]*member{m})
	} else {
		s.hold(m)
	}
	s.relieve()
}

// hold keeps a lookup until its whole story has ended.
func (s *stories) hold(m *member) {
	st := m.story
	st.open--
	s.held += hopsIn(m.out)
	if st.held == nil {
		st.held, st.since = s.waiting.PushBack(st), s.now
	}
	if st.open == 0 {
		s.release(st)
	}
}

// relieve hands out what is held back for too long, or too much.
func (s *stories) relieve() {
	for e := s.waiting.Front(); e != nil; e = s.waiting.Front() {
		st := e.Value.(*story)
		if s.held <= s.maxHeld && s.now-min(s.now, st.since) <= 2*s.window {
			return
		}
		s.release(st)
	}
}

// release hands out all lookups of a story that have ended. If others are still
// open, they go on as a story of their own.
func (s *stories) release(st *story) {
	s.waiting.Remove(st.held)
	st.held = nil
	var ended, open []*member
	for _, m := range st.members {
		if m.out != nil {
			s.held -= hopsIn(m.out)
			ended = append(ended, m)
		} else {
			open = append(open, m)
		}
	}
	st.members = open
	s.show(ended)
}

// join puts two lookups into one story. It reports whether they are in one now:
// what was handed out is in none, and stories have a bound.
func (s *stories) join(a, b *member) bool {
	if a.gone() || b.gone() {
		return false
	}
	if a.story != nil && a.story == b.story {
		return true
	}
	if sizeOf(a.story)+sizeOf(b.story) > maxStory {
		return false
	}
	if sizeOf(a.story) < sizeOf(b.story) {
		a, b = b, a
	}
	if a.story == nil {
		a.story = &story{members: []*member{a}, open: 1}
	}
	s.merge(a.story, b)
	return true
}

// merge moves b, and all of its story, to a story.
func (s *stories) merge(to *story, b *member) {
	from := b.story
	if from == nil {
		from = &story{members: []*member{b}, open: 1}
	}
	for _, m := range from.members {
		m.story = to
	}
	to.members = append(to.members, from.members...)
	to.open += from.open
	if from.held == nil {
		return
	}
	s.waiting.Remove(from.held)
	if to.held == nil {
		to.held, to.since = s.waiting.PushBack(to), from.since
	}
	to.since = min(to.since, from.since)
}

// sizeOf returns how many lookups are in a story; one that is alone counts.
func sizeOf(st *story) int {
	if st == nil {
		return 1
	}
	return len(st.members)
}

// gone reports whether a lookup has been handed out.
func (m *member) gone() bool { return m.state == nil && m.out == nil }

// bind ties m to another lookup, and, if both are in one story, that to m.
func (s *stories) bind(m, to *member, kind LinkKind, how string) {
	m.ties = append(m.ties, tie{kind: kind, how: how, to: to})
	if s.join(m, to) {
		to.ties = append(to.ties, tie{kind: back[kind], how: how, to: m})
	}
}

func hopsIn(l *Lookup) (n int) {
	for i := range l.Legs {
		n += len(l.Legs[i].Hops)
	}
	return n
}
