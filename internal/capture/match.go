package capture

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"
)

// Bounds of matching.
const (
	maxWire   = int64(time.Second)          // a packet that takes longer from node to node is another one
	slackWire = int64(2 * time.Millisecond) // beyond the clocks' error: what they drift within a window
	maxAlike  = 64                          // lookups with the same content that are tried against each other
)

// ref is a leg of a lookup, by its number in Capture.lookups.
type ref struct{ lookup, leg int32 }

// wireKey is what a packet bears on its way between two nodes: innermost
// addresses by their role, and the DNS ID.
type wireKey struct {
	client, server netip.AddrPort
	dnsID          uint16
	tcp, reply     bool
	kind           string
}

// meeting is where packets of one content left nodes, and came to nodes.
type meeting struct{ outs, ins []ref }

// joiner finds the legs that go on on another node.
type joiner struct {
	c        *Capture
	meetings map[wireKey]*meeting
	clocks   *clocks
	next     map[ref]ref
	prev     map[ref]ref
}

func (j *joiner) leg(r ref) *leg   { return &j.c.lookups[r.lookup].legs[r.leg] }
func (j *joiner) of(r ref) *lookup { return j.c.lookups[r.lookup] }
func (j *joiner) node(r ref) int   { return j.c.lookups[r.lookup].node }

// key is what a leg's packet bears at one of its ends. What opens and closes a
// TCP connection has no DNS ID.
func (l *lookup) key(g *leg, e *end) wireKey {
	k := wireKey{e.client, e.server, l.dnsID, l.tcp, g.reply, g.kind}
	if l.tcp && g.kind != "data" {
		k.dnsID = 0
	}
	return k
}

// gather fills in the meetings.
func (j *joiner) gather() {
	at := func(k wireKey) *meeting {
		m := j.meetings[k]
		if m == nil {
			m = &meeting{}
			j.meetings[k] = m
		}
		return m
	}
	for i, l := range j.c.lookups {
		if l.whole {
			continue
		}
		for n := range l.legs {
			g, r := &l.legs[n], ref{int32(i), int32(n)}
			if g.out.wire {
				m := at(l.key(g, &g.out))
				m.outs = append(m.outs, r)
			}
			if g.in.wire {
				m := at(l.key(g, &g.in))
				m.ins = append(m.ins, r)
			}
		}
	}
}

// fits reports whether a packet that left as out may have come as in, whatever
// the time. Hop limits only shrink.
func (j *joiner) fits(out, in ref) bool {
	a, b := j.of(out), j.of(in)
	return a.node != b.node && (a.name == "" || b.name == "" || a.name == b.name && a.qtype == b.qtype) &&
		j.leg(in).in.ttl <= j.leg(out).out.ttl
}

// plainly links what content alone tells: all packets of a lookup that left, and
// as many of one other lookup that came, with no third in question.
func (j *joiner) plainly(m *meeting, link func(out, in ref)) {
	outs, ins := bundles(m.outs), bundles(m.ins)
	if len(outs) > maxAlike || len(ins) > maxAlike {
		return
	}
	fit := func(o, i []ref) bool { return j.fits(o[0], i[0]) }
	for _, o := range outs {
		var one []ref
		n := 0
		for _, i := range ins {
			if fit(o, i) {
				one, n = i, n+1
			}
		}
		rivals := 0
		for _, other := range outs {
			if n == 1 && fit(other, one) {
				rivals++
			}
		}
		if n != 1 || rivals != 1 || len(o) != len(one) {
			continue
		}
		for k := range o {
			link(o[k], one[k])
		}
	}
}

// bundles puts the legs of one lookup together; they come in its order.
func bundles(refs []ref) [][]ref {
	var all [][]ref
	for i, r := range refs {
		if i > 0 && refs[i-1].lookup == r.lookup {
			all[len(all)-1] = append(all[len(all)-1], r)
			continue
		}
		all = append(all, []ref{r})
	}
	return all
}

// passage is what a pair of lookups tells of the clocks of their nodes: that of
// the second, less that of the first, is from least to most.
type passage struct {
	there, back bool
	at          int64 // of the first packet there, by the first's clock
	least, most int64
}

// tune estimates the clocks' offsets from what content alone joins.
func (j *joiner) tune() {
	passages := map[[2]int32]*passage{} // by the lookup before the wire, as the query goes, and the one behind it
	for key, m := range j.meetings {
		j.plainly(m, func(out, in ref) {
			pair := [2]int32{out.lookup, in.lookup}
			if key.reply {
				pair = [2]int32{in.lookup, out.lookup}
			}
			p := passages[pair]
			if p == nil {
				p = &passage{at: math.MaxInt64, least: math.MinInt64, most: math.MaxInt64}
				passages[pair] = p
			}
			sent, got := j.leg(out).out.at, j.leg(in).in.at
			if key.reply {
				p.back, p.least = true, max(p.least, sent-got)
			} else {
				p.there, p.most, p.at = true, min(p.most, got-sent), min(p.at, sent)
			}
		})
	}
	for pair, p := range passages {
		a, b := j.c.lookups[pair[0]].node, j.c.lookups[pair[1]].node
		switch {
		case p.there && p.back:
			j.clocks.round(a, b, p.at, p.least, p.most)
		case p.there:
			j.clocks.oneWay(a, b, p.most)
		default:
			j.clocks.oneWay(b, a, -p.least)
		}
	}
	j.clocks.settle()
}

// link links all that can be told: by time where the clocks can be compared,
// else by content alone.
func (j *joiner) link() {
	for _, m := range j.meetings {
		j.timely(m)
		rest := meeting{
			outs: slices.DeleteFunc(slices.Clone(m.outs), func(r ref) bool { _, ok := j.next[r]; return ok }),
			ins:  slices.DeleteFunc(slices.Clone(m.ins), func(r ref) bool { _, ok := j.prev[r]; return ok }),
		}
		j.plainly(&rest, func(out, in ref) {
			if j.clocks.root[j.node(out)] != j.clocks.root[j.node(in)] {
				j.join(out, in)
			}
		})
	}
}

func (j *joiner) join(out, in ref) { j.next[out], j.prev[in] = in, out }

// timed is an end with its time by the clock of the root, and that time's error.
type timed struct {
	ref
	at, error int64
}

// timely links each packet that came with the last that left before.
func (j *joiner) timely(m *meeting) {
	outs := j.timed(m.outs, func(g *leg) int64 { return g.out.at })
	ins := j.timed(m.ins, func(g *leg) int64 { return g.in.at })
	for _, in := range ins {
		n, _ := slices.BinarySearchFunc(outs, in.at+slackWire+in.error, func(o timed, at int64) int { return cmp.Compare(o.at, at) })
		n = min(n+maxAlike, len(outs)) // those whose own error brings them within reach
		for tries := 0; n > 0 && tries < 4*maxAlike; tries++ {
			n--
			out := outs[n]
			if _, used := j.next[out.ref]; used || j.clocks.root[j.node(out.ref)] != j.clocks.root[j.node(in.ref)] || !j.fits(out.ref, in.ref) {
				continue
			}
			tolerance := slackWire + in.error + out.error
			if out.at > in.at+tolerance {
				continue
			}
			if in.at-out.at <= maxWire+tolerance {
				j.join(out.ref, in.ref)
			}
			break
		}
	}
}

func (j *joiner) timed(refs []ref, at func(*leg) int64) []timed {
	list := make([]timed, 0, len(refs))
	for _, r := range refs {
		t := at(j.leg(r))
		o := j.clocks.toRoot(j.node(r), t)
		list = append(list, timed{r, t - o.ns, o.error})
	}
	slices.SortFunc(list, func(a, b timed) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.lookup, b.lookup), cmp.Compare(a.leg, b.leg))
	})
	return list
}
