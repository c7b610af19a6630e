package tracer

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Limits of a Correlator: what is beyond them is evicted and counted.
const (
	DefaultMaxLookups = 1 << 16
	eventsPerLookup   = 4    // on average; most wait for nothing but their answer's last events
	maxLegEvents      = 4096 // a packet in a routing loop passes some 40 functions and devices in each of its 64 lives
	maxLegs           = 64
	maxGaps           = 1024
)

// CorrelatorOptions are the parameters of a Correlator. The zero value is usable.
type CorrelatorOptions struct {
	Timeout    time.Duration // a lookup without an answer for so long is lost; 0 is 5 s
	Linger     time.Duration // how long an answered lookup waits for its last events; 0 is 100 ms
	Reorder    time.Duration // how far events of different CPUs may be out of order; 0 is 10 ms
	MaxLookups int           // open at one time; 0 is DefaultMaxLookups
	MaxEvents  int           // of all open lookups together; 0 is four for each of MaxLookups

	// Ended is called with each lookup when it has ended. It is handed out then, or
	// later with the rest of its story. May be nil.
	Ended func(*Lookup)
}

// Counters say what a Correlator did, and what it had to give up.
type Counters struct {
	Events  uint64 // taken
	Lookups uint64 // handed out
	Evicted uint64 // lookups closed early, since too many were open, or too many of their events held
	Cut     uint64 // events beyond the bounds of one lookup
	Late    uint64 // events out of order by more than Reorder, but for steps

	Stragglers uint64 // events of lookups that had been handed out already
	Unasked    uint64 // TCP connections that were opened and carried no question
}

// Correlator puts events together to lookups. It has no clock: time passes by
// the events that it is given and by Advance. It is not safe for concurrent use.
type Correlator struct {
	timeout, grace, linger, reorder uint64
	maxLookups, maxEvents           int
	ended                           func(*Lookup)
	stories                         *stories

	pending fifo[*Event] // not yet released, in order of time
	now     uint64       // newest time known
	horizon uint64       // all events up to here are released

	packets map[uint64]*legState
	flows   map[flowKey]*lookupState // newest first, linked by lookupState.older
	conns   map[flowKey]*connState   // of TCP, by each of their addresses
	idle    fifo[appointment]        // with connections, in the order of their time
	ending  fifo[appointment]        // with those that are being closed
	held    int                      // events of all open lookups
	gaps    []gap
	count   Counters

	// The open lookups, each list in the order in which their time is up: those
	// that wait for a reply, and those that have one.
	waiting, lingering dueList

	// What belonged to lookups that were handed out lately: events that come after
	// their time don't start new ones.
	closed   recent[uint64]
	answered recentFlows
	wasOver  recentFlows // TCP connections
}

// flowKey finds the lookup of a packet: its addresses by their role, and the
// DNS ID. Retries reuse the ID; A and AAAA may share the addresses.
type flowKey struct {
	client, server netip.AddrPort
	id             uint16
	kind           flowKind
}

// flowKind is what a flowKey tells apart.
type flowKind uint8

const (
	flowUDP  flowKind = iota
	flowAny           // lookups by UDP addresses alone: id is 0
	flowConn          // TCP connections: id is 0
)

// gap is a span of time in which events were lost.
type gap struct{ from, to uint64 }

// NewCorrelator returns a Correlator that calls done with each lookup that has
// ended, in the order in which they and their stories end.
func NewCorrelator(opts CorrelatorOptions, done func(*Lookup)) *Correlator {
	or := func(d, otherwise time.Duration) uint64 { return uint64(cmp.Or(d, otherwise)) }
	timeout := or(opts.Timeout, 5*time.Second)
	most := cmp.Or(opts.MaxLookups, DefaultMaxLookups)
	c := &Correlator{
		timeout: timeout,
		// Resolvers retry when their own timeout is over: a lookup waits a little
		// beyond it, so that a retry joins it.
		grace:      timeout / 10,
		linger:     or(opts.Linger, 100*time.Millisecond),
		reorder:    or(opts.Reorder, 10*time.Millisecond),
		maxLookups: most,
		maxEvents:  cmp.Or(opts.MaxEvents, eventsPerLookup*most),
		ended:      opts.Ended,
		packets:    map[uint64]*legState{},
		flows:      map[flowKey]*lookupState{},
		conns:      map[flowKey]*connState{},
		answered:   newRecentFlows(),
		wasOver:    newRecentFlows(),
	}
	c.stories = newStories(c.timeout+c.grace, c.maxEvents, done)
	return c
}

// Counters returns what was counted so far.
func (c *Correlator) Counters() Counters { return c.count }

// Open returns how many lookups are open.
func (c *Correlator) Open() int { return c.waiting.n + c.lingering.n }

// Add takes an event. Events may come out of order by as much as Reorder.
func (c *Correlator) Add(e *Event) {
	c.count.Events++
	if e.Time < c.horizon && !e.Step { // a step comes when its call returns, and finds its place: legState.whole
		c.count.Late++
	}
	pending := c.pending.all()
	i := len(pending)
	for i > 0 && pending[i-1].Time > e.Time {
		i--
	}
	c.pending.insert(i, e)
	c.now = max(c.now, e.Time)
	if c.now > c.reorder {
		c.release(c.now - c.reorder)
	}
}

// Advance says that the node's clock has reached now (ns, CLOCK_MONOTONIC)
// and that all events older than that by Reorder have been added.
func (c *Correlator) Advance(now uint64) {
	c.now = max(c.now, now)
	if c.now > c.reorder {
		c.release(c.now - c.reorder)
	}
	c.closeDue(c.horizon)
}

// Lost says that events between from and to (ns) were lost: lookups of that
// time are incomplete.
func (c *Correlator) Lost(from, to uint64) {
	if n := len(c.gaps); n > 0 && c.gaps[n-1].to >= from {
		c.gaps[n-1].to = max(to, c.gaps[n-1].to)
		return
	}
	c.gaps = append(c.gaps, gap{from, to})
	if len(c.gaps) > maxGaps { // the oldest two become one: rather too many lookups are incomplete than too few
		c.gaps[1].from = c.gaps[0].from
		c.gaps = slices.Delete(c.gaps, 0, 1)
	}
}

// Flush closes everything: the trace is over. Lookups whose time was not up
// are incomplete, unless what was seen says more.
func (c *Correlator) Flush() {
	c.release(^uint64(0))
	for l := c.next(); l != nil; l = c.next() {
		l.cutShort = c.now < l.deadline(c)
		c.close(l)
	}
	for c.idle.len() > 0 {
		c.forget(c.idle.pop().conn)
	}
	c.ending = fifo[appointment]{}
}

// release hands the events up to t, in order, to the lookups.
func (c *Correlator) release(t uint64) {
	for c.pending.len() > 0 && c.pending.front().Time <= t {
		c.place(c.pending.pop())
	}
	c.horizon = max(c.horizon, min(t, c.now))
}

// next returns the open lookup whose time is up first, or nil.
func (c *Correlator) next() *lookupState {
	a, b := c.waiting.head, c.lingering.head
	if a == nil || b != nil && b.due <= a.due {
		return b
	}
	return a
}

// closeDue closes the lookups whose time is up at t, and forgets connections
// that have been silent.
func (c *Correlator) closeDue(t uint64) {
	for l := c.next(); l != nil && l.due <= t; l = c.next() {
		c.close(l)
	}
	for _, reviews := range []*fifo[appointment]{&c.ending, &c.idle} {
		for reviews.len() > 0 && reviews.front().due <= t {
			c.review(reviews.pop())
		}
	}
}

// close takes a lookup out of all indices and hands it out.
func (c *Correlator) close(l *lookupState) {
	l.list.remove(l)
	out := c.finish(l)
	for _, leg := range l.legs {
		c.letGo(leg)
	}
	for _, key := range l.keys {
		c.unindex(key, l)
		if key.kind != flowAny {
			c.answered.add(key)
		}
	}
	if l.conn != nil {
		l.conn.drop(l)
	}
	if out != nil {
		c.count.Lookups++
		if c.ended != nil {
			c.ended(out)
		}
		c.stories.end(l, out)
	}
}

// finish makes a Lookup of what is known of l, or nil if it was none: a
// connection over which nobody asked anything.
func (c *Correlator) finish(l *lookupState) *Lookup {
	if l.conn != nil {
		c.takeUnread(l)
		if l.unasked() {
			c.count.Unasked++
			return nil
		}
	}
	out := l.finish(c)
	out.Strays = c.strays(l)
	return out
}

// letGo gives up a lookup's hold on a leg. What nobody holds is forgotten.
func (c *Correlator) letGo(leg *legState) {
	if leg.holders--; leg.holders == 0 {
		c.forgetLeg(leg)
	}
}

// forgetLeg takes a leg out of all indices; what comes of its packets is late.
func (c *Correlator) forgetLeg(leg *legState) {
	if leg.forgotten {
		return
	}
	leg.forgotten = true
	c.held -= len(leg.events)
	for _, id := range leg.packets {
		if c.packets[id] == leg {
			delete(c.packets, id)
		}
		c.closed.add(id)
	}
}

// open starts a lookup with e.
func (c *Correlator) open(e *Event) *lookupState {
	for c.Open() > 0 && (c.Open() >= c.maxLookups || c.held >= c.maxEvents) {
		c.evict()
	}
	l := &lookupState{start: e.Time, last: e.Time, id: e.DNSID}
	l.due = l.deadline(c)
	c.waiting.push(l)
	return l
}

// postpone puts l where its deadline belongs, after that has changed: later
// than that of all others of its list.
func (c *Correlator) postpone(l *lookupState) {
	l.list.remove(l)
	l.due = l.deadline(c)
	if l.reached {
		c.lingering.push(l)
	} else {
		c.waiting.push(l)
	}
}

// evict closes the lookup that would be over first.
func (c *Correlator) evict() {
	l := c.next()
	l.why = append(l.why, "closed early: too many lookups at one time")
	c.count.Evicted++
	c.close(l)
}

// index makes l findable by key.
func (c *Correlator) index(key flowKey, l *lookupState) {
	if slices.Contains(l.keys, key) {
		return
	}
	l.keys = append(l.keys, key)
	l.older = append(l.older, c.flows[key])
	c.flows[key] = l
}

// unindex takes l out of the chain of lookups that share key.
func (c *Correlator) unindex(key flowKey, l *lookupState) {
	older := l.olderBy(key)
	if c.flows[key] == l {
		if older == nil {
			delete(c.flows, key)
		} else {
			c.flows[key] = older
		}
		return
	}
	for at := c.flows[key]; at != nil; at = at.olderBy(key) {
		if at.olderBy(key) == l {
			at.older[slices.Index(at.keys, key)] = older
			return
		}
	}
}
