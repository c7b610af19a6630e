package tracer

import (
	"hash/maphash"
	"net/netip"
)

// maxAsks bounds how many questions are remembered: those of some seconds on a busy
// node, for which servers remember what they were told.
const maxAsks = 1 << 15

// asks remembers who asked what lately, of lookups too that are under way or held
// back: what a server was told for one client it may tell another at once, before
// the first one's story is over.
type asks struct {
	seed   maphash.Seed
	ring   []ask
	count  uint64            // of all so far: the nth is at n-1, modulo maxAsks
	byName map[uint64]uint64 // the last ask for a name from a namespace: its number, from 1
}

// ask is a question as it became known.
type ask struct {
	netns  uint32 // that it was first seen in
	server netip.AddrPort
	time   uint64
	name   uint64 // hash of its name and netns
	before uint64 // the last ask for that before, at another server; 0: none
}

func newAsks() asks { return asks{seed: maphash.MakeSeed(), byName: map[uint64]uint64{}} }

// add remembers the question of a lookup, which became known at a time.
func (a *asks) add(m *member, time uint64) {
	next := ask{netns: m.netns, server: m.server, time: time, name: a.key(m.netns, m.name)}
	next.before = a.byName[next.name]
	if last := a.at(next.before); last != nil && last.server == m.server {
		next.before = last.before
	}
	if len(a.ring) < maxAsks {
		a.ring = append(a.ring, next)
	} else {
		oldest := &a.ring[a.count%maxAsks]
		if a.byName[oldest.name] == a.count+1-maxAsks {
			delete(a.byName, oldest.name)
		}
		*oldest = next
	}
	a.count++
	a.byName[next.name] = a.count
}

func (a *asks) key(netns uint32, name string) uint64 {
	return maphash.Comparable(a.seed, struct {
		netns uint32
		name  string
	}{netns, name})
}

// at returns the nth ask; nil if there is none, or it is forgotten.
func (a *asks) at(n uint64) *ask {
	if n == 0 || n+maxAsks <= a.count {
		return nil
	}
	return &a.ring[(n-1)%maxAsks]
}

// byServer reports whether the server of a lookup was seen to ask another: while it
// had the query, or for the same name, whenever that was. It may have asked for
// itself; who asks the same server is a client beside it.
func (a *asks) byServer(m *member, out *Lookup) bool {
	came, left := out.Served()
	if left == nil {
		return false
	}
	for q := a.at(a.byName[a.key(left.NetNS, m.name)]); q != nil; q = a.at(q.before) {
		if q.server != m.server {
			return true
		}
	}
	for n := a.count; a.at(n) != nil && a.at(n).time >= came.Time; n-- {
		if q := a.at(n); q.netns == left.NetNS && q.server != m.server && q.time <= left.Time {
			return true
		}
	}
	return false
}
