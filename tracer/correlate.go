package tracer

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
	"time"
)

// Limits of a Correlator: what is beyond them is evicted and counted.
const (
	defaultMaxLookups = 1 << 16
	defaultMaxEvents  = 1 << 18 // some 100 MiB
	maxLegEvents      = 512     // a packet in a routing loop passes some 4 hops for each of its 64 lives
	maxLegs           = 64
	maxGaps           = 1024
)

// CorrelatorOptions are the parameters of a Correlator. The zero value is usable.
type CorrelatorOptions struct {
	Timeout    time.Duration // a lookup without an answer for so long is lost; 0 is 5 s
	Linger     time.Duration // how long an answered lookup waits for its last events; 0 is 100 ms
	Reorder    time.Duration // how far events of different CPUs may be out of order; 0 is 10 ms
	MaxLookups int           // open at one time; 0 is 65536
	MaxEvents  int           // of all open lookups together; 0 is 262144
}

// Counters say what a Correlator did, and what it had to give up.
type Counters struct {
	Events  uint64 // taken
	Lookups uint64 // handed out
	Evicted uint64 // lookups closed early, since too many were open, or too many of their events held
	Cut     uint64 // events beyond the bounds of one lookup
	Late    uint64 // events out of order by more than Reorder

	Stragglers uint64 // events of lookups that had been handed out already
}

// Correlator puts events together to lookups. It has no clock: time passes by
// the events that it is given and by Advance. It is not safe for concurrent use.
type Correlator struct {
	timeout, grace, linger, reorder uint64
	maxLookups, maxEvents           int
	done                            func(*Lookup)

	pending []*Event // not yet released, in order of time
	now     uint64   // newest time known
	horizon uint64   // all events up to here are released

	packets map[uint64]*legState
	flows   map[flowKey]*lookupState // newest first, linked by lookupState.older
	due     dueHeap
	held    int // events of all open lookups
	gaps    []gap
	count   Counters

	// What belonged to lookups that were handed out lately: events that come after
	// their time don't start new ones.
	closed   recent[uint64]
	answered recent[flowKey]
}

// flowKey finds the lookup of a packet: its addresses by their role, and the
// DNS ID. Retries reuse the ID; A and AAAA may share the addresses.
type flowKey struct {
	client, server netip.AddrPort
	id             uint16
}

// gap is a span of time in which events were lost.
type gap struct{ from, to uint64 }

// NewCorrelator returns a Correlator that calls done with each lookup that has
// ended, in the order in which they end.
func NewCorrelator(opts CorrelatorOptions, done func(*Lookup)) *Correlator {
	or := func(d, otherwise time.Duration) uint64 { return uint64(cmp.Or(d, otherwise)) }
	timeout := or(opts.Timeout, 5*time.Second)
	return &Correlator{
		timeout: timeout,
		// Resolvers retry when their own timeout is over: a lookup waits a little
		// beyond it, so that a retry joins it.
		grace:      timeout / 10,
		linger:     or(opts.Linger, 100*time.Millisecond),
		reorder:    or(opts.Reorder, 10*time.Millisecond),
		maxLookups: cmp.Or(opts.MaxLookups, defaultMaxLookups),
		maxEvents:  cmp.Or(opts.MaxEvents, defaultMaxEvents),
		done:       done,
		packets:    map[uint64]*legState{},
		flows:      map[flowKey]*lookupState{},
	}
}

// Counters returns what was counted so far.
func (c *Correlator) Counters() Counters { return c.count }

// Open returns how many lookups are open.
func (c *Correlator) Open() int { return len(c.due) }

// Add takes an event. Events may come out of order by as much as Reorder.
func (c *Correlator) Add(e *Event) {
	c.count.Events++
	if e.Time < c.horizon {
		c.count.Late++
	}
	i := len(c.pending)
	for i > 0 && c.pending[i-1].Time > e.Time {
		i--
	}
	c.pending = slices.Insert(c.pending, i, e)
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
	for len(c.due) > 0 {
		l := heap.Pop(&c.due).(*lookupState)
		l.cutShort = c.now < l.deadline(c)
		c.close(l)
	}
}

// release hands the events up to t, in order, to the lookups.
func (c *Correlator) release(t uint64) {
	n := 0
	for n < len(c.pending) && c.pending[n].Time <= t {
		c.place(c.pending[n])
		n++
	}
	c.pending = slices.Delete(c.pending, 0, n)
	c.horizon = max(c.horizon, min(t, c.now))
}

// closeDue closes the lookups whose time is up at t.
func (c *Correlator) closeDue(t uint64) {
	for len(c.due) > 0 && c.due[0].due <= t {
		l := c.due[0]
		if d := l.deadline(c); d > t {
			l.due = d
			heap.Fix(&c.due, 0)
			continue
		}
		heap.Pop(&c.due)
		c.close(l)
	}
}

// close takes a lookup out of all indices and hands it out.
func (c *Correlator) close(l *lookupState) {
	for _, leg := range l.legs {
		c.held -= len(leg.events)
		for _, id := range leg.packets {
			if c.packets[id] == leg {
				delete(c.packets, id)
			}
			c.closed.add(id)
		}
	}
	for _, key := range l.keys {
		c.unindex(key, l)
		c.answered.add(key)
	}
	c.count.Lookups++
	c.done(l.finish(c))
}

// open starts a lookup with e.
func (c *Correlator) open(e *Event) *lookupState {
	for len(c.due) > 0 && (len(c.due) >= c.maxLookups || c.held >= c.maxEvents) {
		c.evict()
	}
	l := &lookupState{start: e.Time, last: e.Time}
	l.due = l.deadline(c)
	heap.Push(&c.due, l)
	return l
}

// evict closes the lookup that would be over first.
func (c *Correlator) evict() {
	l := heap.Pop(&c.due).(*lookupState)
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

// dueHeap orders the open lookups by when to look at them next.
type dueHeap []*lookupState

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *dueHeap) Push(x any) {
	l := x.(*lookupState)
	l.at = len(*h)
	*h = append(*h, l)
}
func (h *dueHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}

// maxRecent bounds what is remembered of lookups that were handed out.
const maxRecent = 1 << 15

// recent is a set that forgets its oldest member when it is full. The zero
// value is an empty one.
type recent[K comparable] struct {
	set  map[K]struct{}
	ring []K
	next int
}

func (r *recent[K]) has(k K) bool {
	_, ok := r.set[k]
	return ok
}

func (r *recent[K]) add(k K) {
	if r.has(k) {
		return
	}
	if r.set == nil {
		r.set = make(map[K]struct{})
	}
	r.set[k] = struct{}{}
	if len(r.ring) < maxRecent {
		r.ring = append(r.ring, k)
		return
	}
	delete(r.set, r.ring[r.next])
	r.ring[r.next] = k
	r.next = (r.next + 1) % maxRecent
}
