package capture

import (
	"net/netip"
	"slices"
	"time"
)

// sameTime is how far two exports of one node may differ in when a lookup
// began: each has probes of its own, and not the same ones.
const sameTime = int64(20 * time.Millisecond)

// identity is what two exports of one node tell alike of the same lookup. Its
// ID is made of the first event's time, to the ns, and is alike in copies only.
type identity struct {
	node           int
	client, server netip.AddrPort
	dnsID          uint16
	tcp            bool
	name           string
}

// dropTwice leaves one of each lookup that is there several times: the same
// export given twice, or two that one node made at the same time.
func (c *Capture) dropTwice() {
	type idKey struct {
		node int
		id   uint64
	}
	ids := make(map[idKey]*lookup, len(c.lookups))
	contents := map[identity][]*lookup{}
	twice := map[[2]int]map[int]int{} // sources, by node
	several := c.nodesOfSeveralSources()
	kept := c.lookups[:0]
	for _, l := range c.lookups {
		known := ids[idKey{l.node, l.id}]
		if known == nil && several[l.node] {
			known = overlapping(contents[l.identity()], l)
		}
		if known != nil {
			pair := [2]int{known.source, l.source}
			if twice[pair] == nil {
				twice[pair] = map[int]int{}
			}
			twice[pair][l.node]++
			continue
		}
		ids[idKey{l.node, l.id}] = l
		if several[l.node] {
			contents[l.identity()] = append(contents[l.identity()], l)
		}
		kept = append(kept, l)
		c.nodes[l.node].records++
	}
	clear(c.lookups[len(kept):])
	c.lookups = kept
	c.warnTwice(twice)
}

func (l *lookup) identity() identity {
	return identity{l.node, l.client, l.server, l.dnsID, l.tcp, l.name}
}

// overlapping returns the lookup of another source that l is, or nil.
func overlapping(known []*lookup, l *lookup) *lookup {
	for _, k := range known {
		if d := k.start - l.start; k.source != l.source && -sameTime <= d && d <= sameTime {
			return k
		}
	}
	return nil
}

func (c *Capture) nodesOfSeveralSources() map[int]bool {
	several := map[int]bool{}
	for n, node := range c.nodes {
		for _, s := range node.sessions {
			several[n] = several[n] || s.source != node.sessions[0].source
		}
	}
	return several
}

func (c *Capture) warnTwice(twice map[[2]int]map[int]int) {
	var pairs [][2]int
	for pair := range twice {
		pairs = append(pairs, pair)
	}
	slices.SortFunc(pairs, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	for _, pair := range pairs {
		for n := range c.nodes {
			times := twice[pair][n]
			switch a, b := c.sources[pair[0]].Name, c.sources[pair[1]].Name; {
			case times == 0:
			case pair[0] == pair[1]:
				c.warnf("%s: %s of %s there twice: each counts once", a, count(times, "lookup"), c.nodes[n].name)
			default:
				c.warnf("%s and %s: both have %s of %s: each counts once", a, b, count(times, "lookup"), c.nodes[n].name)
			}
		}
	}
	for n, node := range c.nodes {
		c.warnNamesakes(n, node, twice)
	}
}

// warnNamesakes warns of two exports that bear the name of one node, were made
// at the same time and have nothing in common: they may be of two nodes.
func (c *Capture) warnNamesakes(n int, node *node, twice map[[2]int]map[int]int) {
	for i, a := range node.sessions {
		for _, b := range node.sessions[:i] {
			if a.source != b.source && a.first != 0 && b.first != 0 && a.first <= b.last && b.first <= a.last &&
				twice[[2]int{b.source, a.source}][n] == 0 {
				c.warnf("%s and %s: both say that they are of %s, at the same time, and have no lookup in common: if these are two nodes, trace --node tells them apart",
					c.sources[b.source].Name, c.sources[a.source].Name, node.name)
				return
			}
		}
	}
}
