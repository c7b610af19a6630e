package capture

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/dnspath/dnspath/internal/render"
)

// Joined is what exports tell together.
type Joined struct {
	*joiner
	groups [][]int32          // lookups that are one, in order of time
	places map[netip.Addr]int // which node packets to an address came to; several: none
	conns  map[conn]bool      // TCP connections that nodes saw
	heads  map[named]*lookup  // to the first of their group
	joined int
}

// conn is a TCP connection as a node saw it.
type conn struct {
	node           int
	client, server netip.AddrPort
}

// several says of an address that packets to it came to more than one node.
const several = -1

// Join finds what belongs together.
func (c *Capture) Join() *Joined {
	j := &joiner{
		c: c, meetings: make(map[wireKey]*meeting, len(c.lookups)), clocks: newClocks(len(c.nodes)),
		next: map[ref]ref{}, prev: map[ref]ref{},
	}
	j.gather()
	j.tune()
	j.link()
	out := &Joined{joiner: j, places: map[netip.Addr]int{}, conns: map[conn]bool{}}
	out.group()
	out.nameAll()
	out.learn()
	out.warnClocks()
	return out
}

// group makes groups of lookups that links connect.
func (j *Joined) group() {
	up := make([]int32, len(j.c.lookups))
	for i := range up {
		up[i] = int32(i)
	}
	find := func(i int32) int32 {
		for up[i] != i {
			up[i] = up[up[i]]
			i = up[i]
		}
		return i
	}
	for out, in := range j.next {
		up[find(out.lookup)] = find(in.lookup)
	}
	members := map[int32][]int32{}
	for i := range up {
		root := find(int32(i))
		members[root] = append(members[root], int32(i))
	}
	start := func(i int32) int64 { return j.rootTime(j.c.lookups[i]) }
	first := make(map[int32]int64, len(members)) // by a group's first member
	for _, g := range members {
		slices.SortFunc(g, func(a, b int32) int { return cmp.Or(cmp.Compare(start(a), start(b)), cmp.Compare(a, b)) })
		head := j.head(g)
		g[0], g[head] = g[head], g[0]
		first[g[0]] = start(g[0])
		j.groups = append(j.groups, g)
		if len(g) > 1 {
			j.joined++
		}
	}
	slices.SortFunc(j.groups, func(a, b []int32) int {
		return cmp.Or(cmp.Compare(first[a[0]], first[b[0]]), cmp.Compare(a[0], b[0]))
	})
}

// head returns which of a group is the client's: a query goes on from it that
// came from nowhere, best of one that is seen to have been sent.
func (j *Joined) head(g []int32) int {
	best, rank := 0, -1
	for i, n := range g {
		r := 0
		for leg := range j.c.lookups[n].legs {
			at := ref{n, int32(leg)}
			_, goesOn := j.next[at]
			_, came := j.prev[at]
			if reply := j.leg(at).reply; !reply && goesOn && !came || reply && came && !goesOn {
				r = max(r, 1)
			}
			if came && !j.leg(at).reply {
				r = -2
				break
			}
		}
		if r >= 0 && j.c.lookups[n].local {
			r += 2
		}
		if r > rank {
			best, rank = i, r
		}
	}
	return best
}

// learn notes where addresses are: by the packets that came there.
func (j *Joined) learn() {
	note := func(a netip.Addr, node int) {
		if !a.IsValid() {
			return
		}
		if known, ok := j.places[a]; ok && known != node {
			node = several
		}
		j.places[a] = node
	}
	for i, l := range j.c.lookups {
		for n := range l.legs {
			if l.legs[n].icmp {
				continue // its way leads to where the packet came from
			}
			if g := &l.legs[n]; g.in.wire {
				note(g.in.outer, l.node)
			}
			if in, ok := j.next[ref{int32(i), int32(n)}]; ok {
				note(l.legs[n].to(), j.node(in))
			}
			if l.tcp {
				g := &l.legs[n]
				j.conns[conn{l.node, g.in.client, g.in.server}] = true
				j.conns[conn{l.node, g.out.client, g.out.server}] = true
			}
		}
	}
}

// to returns where a packet goes that leaves a node: to the tunnel's end if it
// is in one.
func (g *leg) to() netip.Addr {
	switch {
	case g.out.outer.IsValid():
		return g.out.outer
	case g.reply:
		return g.out.client.Addr()
	}
	return g.out.server.Addr()
}

// warnClocks says what is known of the clocks, where that must be said.
func (j *Joined) warnClocks() {
	for n, node := range j.c.nodes {
		if j.clocks.root[n] != 0 {
			continue
		}
		if o := j.clocks.toRoot(n, j.middle(n)); max(o.ns, -o.ns) > 1e9 {
			j.c.warnf("the clock of %s is %s against that of %s: times are shown by the latter",
				node.name, render.Offset(o.ns), j.c.nodes[0].name)
		}
	}
	var unknown [][2]int
	for key := range j.clocks.pairs {
		if j.clocks.root[key[0]] != j.clocks.root[key[1]] {
			unknown = append(unknown, key)
		}
	}
	slices.SortFunc(unknown, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	for _, key := range unknown {
		a, b := j.c.nodes[key[0]].name, j.c.nodes[key[1]].name
		j.c.warnf("clock offset between %s and %s unknown: no lookup seen in both directions%s", a, b, j.clocks.pairs[key].bounds(b))
	}
}

// bounds says what packets of one direction tell of the second's clock.
func (p *pairClock) bounds(name string) string {
	switch most, least := p.atMost != math.MaxInt64, p.atLeast != math.MinInt64; {
	case most && least && p.atLeast <= p.atMost:
		return fmt.Sprintf(" (that of %s is between %s and %s)", name, render.Offset(p.atLeast), render.Offset(p.atMost))
	case most && !least:
		return fmt.Sprintf(" (that of %s is %s at most)", name, render.Offset(p.atMost))
	case least && !most:
		return fmt.Sprintf(" (that of %s is %s at least)", name, render.Offset(p.atLeast))
	}
	return ""
}

// middle returns a time at which a node observed, by its clock.
func (j *Joined) middle(n int) int64 {
	s := j.c.nodes[n].sessions[0]
	return cmp.Or(s.first, s.from)
}

// Analysis sums up; its outcomes are left to the caller.
func (j *Joined) Analysis() render.Analysis {
	a := render.Analysis{
		Type: "analysis", Schema: render.SchemaVersion, Nodes: []render.AnalyzedNode{}, Records: uint64(len(j.c.lookups)),
		Lookups: uint64(len(j.groups)), Joined: uint64(j.joined), Outcomes: map[string]uint64{}, Warnings: j.c.warnings,
	}
	for n, node := range j.c.nodes {
		v := render.AnalyzedNode{Node: node.name, Records: node.records}
		if j.clocks.root[n] == 0 {
			o := j.clocks.toRoot(n, j.middle(n))
			off := uint64(o.error)
			v.OffsetNS, v.ErrorNS = &o.ns, &off
		}
		a.Nodes = append(a.Nodes, v)
	}
	return a
}

// Lookups returns how many lookups there are after joining.
func (j *Joined) Lookups() int { return len(j.groups) }

// Nodes returns how many nodes the exports are of.
func (c *Capture) Nodes() int { return len(c.nodes) }
