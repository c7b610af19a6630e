package nodestate

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/dnspath/dnspath/internal/names"
	"github.com/dnspath/dnspath/tracer"
)

// Bounds of what a Watch reads: how often, in which namespaces, and how many of
// the others, in turn, so that there is something from before their first packet.
const (
	sampleEvery = time.Second
	seenFor     = time.Minute
	maxWatched  = 64
	maxOthers   = 8
	busyAtMost  = 50 // of this many moments, one is spent at reading
)

// Watch takes samples of the counters of namespaces in which DNS packets were
// seen lately, so that there is one from before a lookup was lost.
type Watch struct {
	reader *Reader
	keep   time.Duration
	stop   chan struct{}
	done   chan struct{}

	mu   sync.Mutex
	seen map[uint32]uint64 // when, by namespace; ns, CLOCK_MONOTONIC
	turn int               // of the others
}

// NewWatch returns a Watch whose samples the Reader answers from. They are kept
// for questions about what happened up to keep ago. The caller closes it.
func NewWatch(r *Reader, keep time.Duration) *Watch {
	w := newWatch(r, keep)
	go w.run()
	return w
}

func newWatch(r *Reader, keep time.Duration) *Watch {
	return &Watch{reader: r, keep: keep, stop: make(chan struct{}), done: make(chan struct{}), seen: map[uint32]uint64{}}
}

// Close ends it. It must be called once.
func (w *Watch) Close() {
	close(w.stop)
	<-w.done
}

// Event takes an observation. It does not wait for anything to be read.
func (w *Watch) Event(e *tracer.Event) {
	if e.NetNS == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.seen[e.NetNS]; ok || len(w.seen) < maxWatched {
		w.seen[e.NetNS] = e.Time
	}
}

func (w *Watch) run() {
	defer close(w.done)
	w.sampleAll()
	next := time.NewTimer(sampleEvery)
	defer next.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-next.C:
			start := time.Now()
			w.sample(w.due(monotonic()))
			next.Reset(max(sampleEvery-time.Since(start), busyAtMost*time.Since(start)))
		}
	}
}

// sampleAll takes a first sample of what there is.
func (w *Watch) sampleAll() {
	var all []uint32
	for _, n := range w.reader.opts.All() {
		all = append(all, n.Inode)
	}
	w.sample(all)
}

// due returns the namespaces to take a sample of: those that were seen lately,
// and some of the others.
func (w *Watch) due(now uint64) []uint32 {
	all := w.reader.opts.All()
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []uint32
	for inode, at := range w.seen {
		if at+uint64(seenFor) < now {
			delete(w.seen, inode)
			continue
		}
		list = append(list, inode)
	}
	for range min(maxOthers, len(all)) {
		w.turn = (w.turn + 1) % len(all)
		if inode := all[w.turn].Inode; !slices.Contains(list, inode) {
			list = append(list, inode)
		}
	}
	w.reader.counters.forget(func(inode uint32) bool {
		at, seen := w.seen[inode]
		_, there := slices.BinarySearchFunc(all, inode, func(n names.NetNS, inode uint32) int { return cmp.Compare(n.Inode, inode) })
		return there || seen && at+uint64(w.keep) >= now
	})
	return list
}

// sample takes a sample of some namespaces. One that can't be read is left out.
func (w *Watch) sample(list []uint32) {
	for _, inode := range list {
		select {
		case <-w.stop:
			return
		default:
		}
		h := w.reader.counters.of(inode, true)
		if h == nil {
			return
		}
		var s *sample
		err := w.reader.NetNS(inode).(*space).enter(func() (err error) {
			s, err = readCounters()
			return err
		})
		if err == nil {
			h.add(s, w.keep)
		}
	}
}
