package capture

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// sample is what one lookup, seen in both directions, tells of two clocks: the
// offset (the second's time less the first's) is between lo and hi, since no
// packet arrives before it was sent. hi-lo is its round trip between the nodes.
type sample struct {
	at     int64 // the first's time
	lo, hi int64
}

// offset is a difference of two clocks, ns.
type offset struct {
	ns    int64
	error int64 // it is off by this much at most
}

// pairClock is what is known of the clocks of two nodes.
type pairClock struct {
	samples []sample
	atMost  int64 // of packets there; math.MaxInt64 none
	atLeast int64 // of packets back; math.MinInt64 none

	windows []window // in order of time; none: the offset is unknown
	best    offset
	used    int
}

// window is a minute's best estimate: clocks drift.
type window struct {
	at int64
	offset
}

const windowLength = int64(time.Minute)

func newPairClock() *pairClock { return &pairClock{atMost: math.MaxInt64, atLeast: math.MinInt64} }

// estimate makes the estimate of the samples.
func (p *pairClock) estimate() {
	good := agreeing(p.samples)
	p.samples, p.used = nil, len(good)
	if len(good) == 0 {
		return
	}
	slices.SortFunc(good, func(a, b sample) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.lo, b.lo), cmp.Compare(a.hi, b.hi))
	})
	p.best = good[0].offset()
	for i, s := range good {
		o := s.offset()
		if o.error < p.best.error {
			p.best = o
		}
		n := len(p.windows)
		switch {
		case i == 0 || s.at-p.windows[n-1].at >= windowLength:
			p.windows = append(p.windows, window{s.at - s.at%windowLength, o})
		case o.error < p.windows[n-1].error:
			p.windows[n-1].offset = o
		}
	}
}

func (s sample) offset() offset {
	return offset{s.lo + (s.hi-s.lo)/2, (s.hi - s.lo + 1) / 2}
}

// agreeing leaves the samples that the most others agree with, within what two
// clocks may drift apart: what was joined wrongly says anything. The algorithm
// is Marzullo's, as NTP has it.
func agreeing(samples []sample) []sample {
	if len(samples) == 0 {
		return nil
	}
	first, last := samples[0].at, samples[0].at
	for _, s := range samples {
		first, last = min(first, s.at), max(last, s.at)
	}
	slack := int64(time.Millisecond) + (last-first)/10_000 // 100 ppm: a bad quartz
	type edge struct {
		at   int64
		ends bool
	}
	edges := make([]edge, 0, 2*len(samples))
	for _, s := range samples {
		edges = append(edges, edge{s.lo - slack, false}, edge{s.hi + slack, true})
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if d := cmp.Compare(a.at, b.at); d != 0 {
			return d
		}
		if a.ends == b.ends {
			return 0
		}
		if b.ends {
			return -1
		}
		return 1
	})
	depth, most, from, to := 0, 0, int64(0), int64(0)
	for i, e := range edges {
		if e.ends {
			depth--
			continue
		}
		if depth++; depth > most {
			most, from, to = depth, e.at, edges[i+1].at
		}
	}
	return slices.DeleteFunc(slices.Clone(samples), func(s sample) bool { return s.hi+slack < from || s.lo-slack > to })
}

// at returns the estimate for a time by the first's clock.
func (p *pairClock) at(t int64) offset {
	i, found := slices.BinarySearchFunc(p.windows, t, func(w window, t int64) int { return cmp.Compare(w.at, t) })
	if !found && i > 0 {
		i--
	}
	return p.windows[min(i, len(p.windows)-1)].offset
}

// clocks relates the clocks of all nodes, along the tree of those pairs whose
// offset is known best.
type clocks struct {
	pairs  map[[2]int]*pairClock // first < second
	parent []int                 // -1: a root
	root   []int                 // nodes with the same root can be compared
}

func newClocks(nodes int) *clocks {
	c := &clocks{pairs: map[[2]int]*pairClock{}, parent: make([]int, nodes), root: make([]int, nodes)}
	for n := range nodes {
		c.parent[n], c.root[n] = -1, n
	}
	return c
}

func (c *clocks) pair(a, b int) *pairClock {
	key := [2]int{min(a, b), max(a, b)}
	if c.pairs[key] == nil {
		c.pairs[key] = newPairClock()
	}
	return c.pairs[key]
}

// round adds what packets there and back tell: b's clock, less a's, is from
// least to most; at is a time by a's.
func (c *clocks) round(a, b int, at, least, most int64) {
	s := sample{at: at, lo: least, hi: most}
	if s.lo > s.hi {
		return // it came back before it was there: not the same packets
	}
	if a > b {
		s = sample{at: at + most, lo: -most, hi: -least}
	}
	p := c.pair(a, b)
	p.samples = append(p.samples, s)
}

// oneWay adds what packets from a to b alone tell: b's clock, less a's, is most
// or less.
func (c *clocks) oneWay(a, b int, most int64) {
	p := c.pair(a, b)
	if a < b {
		p.atMost = min(p.atMost, most)
	} else {
		p.atLeast = max(p.atLeast, -most)
	}
}

// settle estimates all offsets and grows a tree from each root, the first node
// first, always by the pair with the least error.
func (c *clocks) settle() {
	var known [][2]int
	for key, p := range c.pairs {
		if p.estimate(); p.used > 0 {
			known = append(known, key)
		}
	}
	slices.SortFunc(known, func(a, b [2]int) int {
		return cmp.Or(cmp.Compare(c.pairs[a].best.error, c.pairs[b].best.error), slices.Compare(a[:], b[:]))
	})
	done := make([]bool, len(c.parent))
	for root := range c.parent {
		if done[root] {
			continue
		}
		done[root] = true
		for grew := true; grew; {
			grew = false
			for _, key := range known {
				a, b := key[0], key[1]
				if done[a] == done[b] || c.root[a] != root && c.root[b] != root {
					continue
				}
				if done[b] {
					a, b = b, a
				}
				c.parent[b], c.root[b], done[b], grew = a, root, true, true
				break
			}
		}
	}
}

// toRoot returns a node's clock less that of its root, at a time by its clock.
func (c *clocks) toRoot(n int, t int64) offset {
	var sum offset
	for p := c.parent[n]; p >= 0; n, p = p, c.parent[p] {
		pair := c.pair(n, p)
		o := pair.at(t - pair.best.ns) // windows are by the first's clock
		if n < p {
			o = pair.at(t)
			o.ns = -o.ns
		}
		sum.ns += o.ns
		sum.error += o.error
		t -= o.ns
	}
	return sum
}

// between returns b's clock less a's, at a time by a's clock, if it is known.
func (c *clocks) between(a, b int, t int64) (offset, bool) {
	if c.root[a] != c.root[b] {
		return offset{}, false
	}
	if c.parent[a] == b || c.parent[b] == a { // the way by the root would only add errors
		pair := c.pair(a, b)
		if a < b {
			return pair.at(t), true
		}
		o := pair.at(t + (-pair.best.ns))
		o.ns = -o.ns
		return o, true
	}
	x := c.toRoot(a, t)
	y := c.toRoot(b, t-x.ns+c.toRoot(b, t).ns)
	return offset{y.ns - x.ns, y.error + x.error}, true
}
