package tracer

import (
	"hash/maphash"
	"slices"
)

// dueList holds open lookups in the order in which their time is up. Each comes
// in with the latest deadline so far, but for the few whose events were late.
type dueList struct {
	head, tail *lookupState
	n          int
}

func (d *dueList) push(l *lookupState) {
	l.list, l.prev, l.next = d, d.tail, nil
	if d.tail == nil {
		d.head = l
	} else {
		d.tail.next = l
	}
	d.tail = l
	d.n++
}

func (d *dueList) remove(l *lookupState) {
	if l.prev == nil {
		d.head = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		d.tail = l.prev
	} else {
		l.next.prev = l.prev
	}
	l.list, l.prev, l.next = nil, nil, nil
	d.n--
}

// fifo is a queue whose front is taken in constant time. The zero value is an
// empty one.
type fifo[T any] struct {
	items []T
	taken int // of items, from the front
}

func (f *fifo[T]) all() []T          { return f.items[f.taken:] }
func (f *fifo[T]) len() int          { return len(f.items) - f.taken }
func (f *fifo[T]) front() T          { return f.items[f.taken] }
func (f *fifo[T]) push(v T)          { f.items = append(f.items, v) }
func (f *fifo[T]) insert(i int, v T) { f.items = slices.Insert(f.items, f.taken+i, v) }

func (f *fifo[T]) pop() T {
	var zero T
	v := f.items[f.taken]
	f.items[f.taken] = zero
	f.taken++
	if f.taken*2 > len(f.items) { // moves each item once, on average
		f.items = slices.Delete(f.items, 0, f.taken)
		f.taken = 0
	}
	return v
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

// remove forgets k. It may still be forgotten a second time, if it is added
// again before its old place is needed.
func (r *recent[K]) remove(k K) { delete(r.set, k) }

// recentFlows is recent for the keys of flows. Their hashes are kept, since they
// are long: that two of 32,768 are the same happens once in 10^10 times.
type recentFlows struct {
	hashes recent[uint64]
	seed   maphash.Seed
}

func newRecentFlows() recentFlows { return recentFlows{seed: maphash.MakeSeed()} }

func (r *recentFlows) has(k flowKey) bool { return r.hashes.has(maphash.Comparable(r.seed, k)) }
func (r *recentFlows) add(k flowKey)      { r.hashes.add(maphash.Comparable(r.seed, k)) }
func (r *recentFlows) remove(k flowKey)   { r.hashes.remove(maphash.Comparable(r.seed, k)) }
