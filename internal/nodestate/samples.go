package nodestate

import (
	"sync"
	"time"

	"github.com/dnspath/dnspath/tracer/diagnose"
)

// history is the samples of one namespace, the oldest first.
type history struct {
	mu      sync.Mutex
	samples []*sample
	latest  *sample // the newest of all; it may be none of samples

	answer      *diagnose.Counters // to the last question
	first, last *sample            // between which it is
}

// add keeps a sample, and lets go of those that nobody will ask about: the last
// one that is older than keep stays, as what was before all others.
func (h *history) add(s *sample, keep time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.renew(s) {
		return
	}
	h.samples = append(h.samples, s)
	old := 0
	for old+1 < len(h.samples) && h.samples[old+1].end+uint64(keep) < s.begin {
		old++
	}
	h.samples = append(h.samples[:0], h.samples[old:]...)
}

// renew makes a sample the newest, unless there is a newer one. If it does not
// follow the one before it, that was of a namespace that had this one's inode.
func (h *history) renew(s *sample) bool {
	if h.latest == nil {
		h.latest = s
		return true
	}
	if s.begin < h.latest.end {
		return false
	}
	s.share(h.latest)
	if !s.follows(h.latest) {
		h.samples, h.answer = nil, nil
	}
	h.latest = s
	return true
}

// between returns by how much counters rose from the last sample at or before a
// time until the first one at or after another. Without one before, it is the
// first that there is. It reports whether there are both.
func (h *history) between(from, to uint64) (*diagnose.Counters, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var first, last *sample
	for _, s := range h.samples {
		if first == nil || s.end <= from {
			first = s
		}
		if last == nil && s.begin >= to {
			last = s
		}
	}
	if last == nil && h.latest != nil && h.latest.begin >= to {
		last = h.latest
	}
	if first == nil || last == nil || first == last {
		return nil, false
	}
	if h.answer == nil || first != h.first || last != h.last {
		h.first, h.last, h.answer = first, last, last.since(first)
	}
	return h.answer, true
}

// histories are those of all namespaces.
type histories struct {
	mu    sync.Mutex
	known map[uint32]*history
}

// of returns the history of a namespace; nil if it has none, and none is to be
// made, or there are too many.
func (h *histories) of(inode uint32, create bool) *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := h.known[inode]
	if one == nil && create && len(h.known) < maxSpaces {
		one = &history{}
		h.known[inode] = one
	}
	return one
}

// forget lets go of the namespaces that are not there any more, but for those
// that were seen lately.
func (h *histories) forget(alive func(inode uint32) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for inode := range h.known {
		if !alive(inode) {
			delete(h.known, inode)
		}
	}
}

// freshEvery is how often counters are read anew for questions at the most.
const freshEvery = 20 * time.Millisecond

type countersKey struct{}

// Counters returns by how much the counters rose around two times. Of a namespace
// that a Watch has not seen before, that is not known.
func (s *space) Counters(from, to uint64) (*diagnose.Counters, error) {
	h := s.reader.counters.of(s.Inode, false)
	if h == nil {
		return nil, diagnose.ErrNotRead
	}
	if c, ok := h.between(from, to); ok {
		return c, nil
	}
	// The newest sample is older than the lookup's end. One that is read a moment
	// later is good for all lookups that end until then.
	time.Sleep(h.pause(monotonic()))
	s.drop(countersKey{})
	fresh, err := once(s, countersKey{}, readCounters)
	if err != nil {
		return nil, err
	}
	h.refresh(fresh)
	if c, ok := h.between(from, to); ok {
		return c, nil
	}
	return nil, diagnose.ErrNotRead
}

// pause is how long to wait until something may be read anew.
func (h *history) pause(now uint64) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.latest == nil {
		return 0
	}
	return max(0, freshEvery-time.Duration(now-min(now, h.latest.end)))
}

// refresh takes a sample that was read for a question.
func (h *history) refresh(s *sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renew(s)
}
