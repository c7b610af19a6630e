package rules

import (
	"net/netip"
	"sync"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// A lookup that was dropped or lost is explained when its time is up, seconds
// after it happened; by then the rules may be others. So what it will take to
// explain a rewrite or a drop is read as soon as its event is seen.

// foreseer is a Reader.
type foreseer interface {
	Foresee(netns uint32, q *Question) bool
}

// Watch has rules read that events call for. A namespace's are read at most as
// often as a Reader reads them anew: what happens meanwhile waits, so that there
// are rules from before and from after it.
type Watch struct {
	reader foreseer
	stop   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	waiting map[uint32]sightings // by namespace
}

// sightings are the newest events of their kinds.
type sightings map[sighting]*tracer.Event

// sighting is an event as far as the answer depends on it.
type sighting struct {
	src      netip.Addr
	dst, to  netip.AddrPort
	hook     tracer.Hook
	device   Device
	protocol uint8
	shape    Shape
}

// watchEvery is how long an event waits for the rules to be read.
const watchEvery = 20 * time.Millisecond

// Bounds of what waits: namespaces, and events of each.
const (
	maxWaiting   = maxSpaces
	maxSightings = 64
)

// NewWatch returns a Watch that reads by r. The caller closes it.
func NewWatch(r *Reader) *Watch {
	w := newWatch(r)
	go w.run()
	return w
}

func newWatch(r foreseer) *Watch {
	return &Watch{reader: r, stop: make(chan struct{}), done: make(chan struct{}), waiting: map[uint32]sightings{}}
}

// Close ends it. It must be called once.
func (w *Watch) Close() {
	close(w.stop)
	<-w.done
}

func (w *Watch) run() {
	defer close(w.done)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			w.read()
		}
	}
}

// Event takes an observation. It does not wait for anything to be read.
func (w *Watch) Event(e *tracer.Event) {
	if k, ok := sightingOf(e); ok {
		w.add(k, e)
	}
}

// add lets an event wait, instead of an older one of its kind.
func (w *Watch) add(k sighting, e *tracer.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := w.waiting[e.NetNS]
	if waiting == nil {
		if len(w.waiting) >= maxWaiting {
			return
		}
		waiting = sightings{}
		w.waiting[e.NetNS] = waiting
	}
	last, ok := waiting[k]
	if ok && last.Time >= e.Time || !ok && len(waiting) >= maxSightings {
		return
	}
	waiting[k] = e
}

// read reads once what waits, and lets go of what is done.
func (w *Watch) read() {
	for netns, waiting := range w.take() {
		for k, e := range waiting {
			done := true
			for _, q := range foreseen(e) {
				done = w.reader.Foresee(netns, &q) && done
			}
			if !done {
				w.add(k, e)
			}
		}
	}
}

func (w *Watch) take() map[uint32]sightings {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.waiting
	if len(taken) > 0 {
		w.waiting = map[uint32]sightings{}
	}
	return taken
}

// sightingOf reports whether an event is one that rules will be read for.
func sightingOf(e *tracer.Event) (k sighting, ok bool) {
	if e.NetNS == 0 {
		return k, false
	}
	switch {
	case refuses(e), byIPVS(e):
		q := questionOf(e)
		return sighting{src: q.Src.Addr(), dst: q.Dst, hook: e.Hook, protocol: q.Protocol, shape: q.Shape}, true
	case e.Freed != nil:
		at, ok := placeOf(e.Freed.Reason, e.Freed.Function)
		return sighting{device: Device{e.Ifindex, at}}, ok
	case e.CT != nil && e.Tunnel == nil && e.CT.Info < replyInfo && opens(e):
		ct := e.CT
		k := sighting{src: ct.Orig.Src.Addr(), dst: ct.Orig.Dst, to: ct.Reply.Src, protocol: transportProtocol(e.TCP != nil)}
		return k, ct.Orig.Dst != ct.Reply.Src || ct.Orig.Src != ct.Reply.Dst
	}
	return k, false
}

// refuses reports whether netfilter refused a packet.
func refuses(e *tracer.Event) bool {
	if e.Freed == nil {
		return e.Verdict == tracer.VerdictDrop && e.Table != nil
	}
	return e.Freed.Reason == "NETFILTER_DROP" || e.Freed.Function == "nf_hook_slow" || e.Freed.Function == "nft_do_chain"
}

// byIPVS reports whether IPVS is about to rewrite a query.
func byIPVS(e *tracer.Event) bool {
	return (e.Probe == tracer.ProbeIPVSNat || e.Probe == tracer.ProbeIPVSNat6) && e.Quote == nil && e.FragOffset == 0
}

// opens reports whether the packet may be the first of a connection; see way.first.
func opens(e *tracer.Event) bool {
	return e.Quote == nil && e.FragOffset == 0 && (e.TCP == nil || segmentOf(e.TCP) == "SYN")
}

// questionOf is what all questions about an event have in common.
func questionOf(e *tracer.Event) Question {
	q := Question{Protocol: transportProtocol(e.TCP != nil), Src: e.Src, Dst: e.Dst, Time: e.Time}
	if e.TCP != nil {
		q.Shape = segmentFlags[segmentOf(e.TCP)]
	}
	switch {
	case e.Tunnel != nil:
		q.tunnelled(e.Tunnel, e.Src.Addr())
	case e.Quote != nil:
		q.quoting(e.Quote)
	case e.Fragment:
		q.fragment(e.FragOffset, e.FragLast)
	}
	return q
}

// foreseen returns the questions that an event will raise. What is known only
// when the whole way of the packet is known stays unknown: then more rules fit.
func foreseen(e *tracer.Event) []Question {
	q := questionOf(e)
	switch {
	case refuses(e):
		q.Deed, q.Hook, q.Seen = Drop, e.Hook, true
		return []Question{q}
	case e.Freed != nil:
		at, _ := placeOf(e.Freed.Reason, e.Freed.Function)
		return []Question{{Programs: Device{e.Ifindex, at}, Time: e.Time}}
	case byIPVS(e):
		q.Deed = DNAT // without a hook no rule is asked
		return []Question{q}
	}
	return translations(e)
}

// translations returns the questions about what a conntrack entry translates,
// at all hooks where it may have been set up.
func translations(e *tracer.Event) []Question {
	var list []Question
	ct, first := e.CT, questionOf(e)
	add := func(deed Deed, dst, to netip.AddrPort, hooks ...tracer.Hook) {
		for _, hook := range hooks {
			list = append(list, Question{
				Deed: deed, Hook: hook, Protocol: first.Protocol, Shape: first.Shape, Src: ct.Orig.Src, Dst: dst, To: to, Time: e.Time,
				Tracked: Tracked{State: stateNew},
			})
		}
	}
	if ct.Orig.Dst != ct.Reply.Src {
		add(DNAT, ct.Orig.Dst, ct.Reply.Src, tracer.HookPrerouting, tracer.HookOutput)
	}
	if ct.Orig.Src != ct.Reply.Dst {
		add(SNAT, ct.Reply.Src, ct.Reply.Dst, tracer.HookPostrouting, tracer.HookInput)
	}
	return list
}
