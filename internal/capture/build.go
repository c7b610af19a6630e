package capture

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

// load reads a lookup's whole record.
func (c *Capture) load(l *lookup) (*render.Record, error) {
	text := make([]byte, l.length)
	if _, err := c.sources[l.source].Data.ReadAt(text, l.offset); err != nil {
		return nil, fmt.Errorf("read %s again: %w", c.sources[l.source].Name, err)
	}
	r := &render.Record{}
	err := json.Unmarshal(text, r)
	switch {
	case err != nil:
	case len(r.Legs) != len(l.legs):
		err = errors.New("it changed meanwhile")
	case r.Findings == nil:
		r.Findings = []render.Finding{}
	}
	if err != nil {
		return nil, badRecord{fmt.Errorf("%s: lookup %016x left out: %w", c.sources[l.source].Name, l.id, err)}
	}
	return r, nil
}

// badRecord is a record whose index entry could be made, and that is broken
// somewhere else.
type badRecord struct{ error }

// part is what one node tells of a lookup.
type part struct {
	l      *lookup
	number int32
	record *render.Record
	offset int64 // its node's clock, less that of the first part
	error  int64 // of offset
	known  bool  // offset is more than a guess between bounds
}

// whole is a lookup that is put together.
type whole struct {
	*Joined
	parts  []*part // the client's first
	by     map[int32]*part
	chains []chain
}

// chain is a packet's way: its legs, node by node.
type chain struct {
	legs  []ref
	reply bool
	at    int64 // of its first hop, by the first part's clock
}

// record makes the record of a group of lookups.
func (j *Joined) record(group []int32) (*render.Record, error) {
	w := &whole{Joined: j, by: map[int32]*part{}}
	for _, n := range group {
		r, err := j.c.load(j.c.lookups[n])
		var bad badRecord
		if errors.As(err, &bad) {
			j.c.warnf("%s", bad)
			continue
		}
		if err != nil {
			return nil, err
		}
		p := &part{l: j.c.lookups[n], number: n, record: r}
		w.parts, w.by[n] = append(w.parts, p), p
	}
	if len(w.parts) == 0 {
		return nil, nil
	}
	base := w.parts[0]
	if base.l.whole {
		return base.record, nil
	}
	w.tellTimes()
	w.chain()
	w.judge()
	w.merge()
	w.relink()
	w.assemble()
	o := j.clocks.toRoot(base.l.node, base.l.start)
	base.record.Time = base.record.Time.Add(-time.Duration(o.ns)).UTC()
	return base.record, nil
}

// edge is a link between two parts, with what it tells of their clocks.
type edge struct{ most, least int64 } // the second's clock, less the first's

// tellTimes finds each part's clock offset from the first part. No packet may
// arrive before it was sent: what is estimated yields to that.
func (w *whole) tellTimes() {
	edges := w.edges()
	w.parts[0].known = true
	done := map[int32]bool{w.parts[0].number: true}
	for grew := true; grew; {
		grew = false
		for _, p := range w.parts {
			for _, q := range w.parts {
				e := edges[[2]int32{p.number, q.number}]
				if !done[p.number] || done[q.number] || e == nil {
					continue
				}
				o, known := w.clocks.between(p.l.node, q.l.node, p.l.start)
				lo, hi := max(e.least, -math.MaxInt64), e.most
				switch {
				case known && lo <= hi:
					o.ns = min(max(o.ns, lo), hi)
				case known:
				case hi != math.MaxInt64:
					o.ns = hi
				default:
					o.ns = lo
				}
				q.offset, q.error, q.known = p.offset+o.ns, p.error+o.error, p.known && known
				done[q.number], grew = true, true
			}
		}
	}
}

func (w *whole) edges() map[[2]int32]*edge {
	edges := map[[2]int32]*edge{}
	at := func(a, b int32) *edge {
		key := [2]int32{a, b}
		if edges[key] == nil {
			edges[key] = &edge{math.MaxInt64, math.MinInt64}
		}
		return edges[key]
	}
	for _, p := range w.parts {
		for n := range p.l.legs {
			out := ref{p.number, int32(n)}
			in, ok := w.next[out]
			if !ok || w.by[in.lookup] == nil {
				continue
			}
			d := w.leg(in).in.at - w.leg(out).out.at
			there, back := at(out.lookup, in.lookup), at(in.lookup, out.lookup)
			there.most, back.least = min(there.most, d), max(back.least, -d)
		}
	}
	return edges
}

// toBase turns a time of a part's node into one of the first part's.
func (p *part) toBase(t int64) int64 { return t - p.offset }

// chain finds the packets' ways, in order of time.
func (w *whole) chain() {
	for _, p := range w.parts {
		for n := range p.l.legs {
			r := ref{p.number, int32(n)}
			if prev, ok := w.prev[r]; ok && w.by[prev.lookup] != nil {
				continue
			}
			c := chain{reply: p.l.legs[n].reply, at: p.toBase(p.l.legs[n].in.at)}
			for steps := 0; steps < maxChain; steps++ {
				c.legs = append(c.legs, r)
				next, ok := w.next[r]
				if !ok || w.by[next.lookup] == nil {
					break
				}
				r = next
			}
			w.chains = append(w.chains, c)
		}
	}
	slices.SortStableFunc(w.chains, func(a, b chain) int { return cmp.Compare(a.at, b.at) })
}

// maxChain bounds the nodes on a packet's way.
const maxChain = 64

// last returns where a packet was last seen.
func (c *chain) last() ref { return c.legs[len(c.legs)-1] }

// assemble makes the legs of the record.
func (w *whole) assemble() {
	base := w.parts[0].record
	attempts := w.attempts()
	legs := make([]render.Leg, 0, len(w.chains))
	queries := 0
	for _, c := range w.chains {
		first := c.legs[0]
		leg := w.by[first.lookup].record.Legs[first.leg]
		var hops []render.Hop
		for i, r := range c.legs {
			if i > 0 {
				hops = append(hops, w.wire(c.legs[i-1], r))
			}
			hops = append(hops, w.hops(r)...)
		}
		if leg.Hops = hops; hops == nil {
			leg.Hops = []render.Hop{}
		}
		if n, ok := attempts[first]; ok {
			leg.Attempt = n
		}
		if !c.reply && !w.parts[0].l.tcp {
			queries = max(queries, leg.Attempt)
		}
		legs = append(legs, leg)
	}
	base.Legs = legs
	if queries > base.Attempts {
		base.Attempts, base.GapsNS = queries, nil
	}
	if len(w.c.nodes) < 2 {
		return
	}
	for _, p := range w.parts {
		if name := w.c.nodes[p.l.node].name; !slices.Contains(base.Nodes, name) {
			base.Nodes = append(base.Nodes, name)
		}
	}
}

// attempts numbers the first legs of all chains: as the client's node has them,
// then what only others saw. A reply follows the query that its server had.
func (w *whole) attempts() map[ref]int {
	numbers := map[ref]int{}
	type attempt struct {
		lookup int32
		number int
	}
	known := map[attempt]int{}
	most := 0
	for _, own := range []bool{true, false} {
		for _, c := range w.chains {
			if c.reply || own != (c.legs[0].lookup == w.parts[0].number) {
				continue
			}
			n := w.leg(c.legs[0]).attempt
			if !own && !w.parts[0].l.tcp { // of TCP, each segment has a leg
				n = most + 1
			}
			most = max(most, n)
			numbers[c.legs[0]] = n
			for _, r := range c.legs {
				known[attempt{r.lookup, w.leg(r).attempt}] = n
			}
		}
	}
	for _, c := range w.chains {
		if !c.reply {
			continue
		}
		for _, r := range c.legs { // the last that knows is nearest to the client
			if n, ok := known[attempt{r.lookup, w.leg(r).attempt}]; ok {
				numbers[c.legs[0]] = n
			}
		}
	}
	return numbers
}

// hops returns what one node saw of a packet, by the time of the record.
func (w *whole) hops(r ref) []render.Hop {
	p := w.by[r.lookup]
	hops := p.record.Legs[r.leg].Hops
	for i := range hops {
		hops[i].TNS = w.since(p, p.l.start+int64(min(hops[i].TNS, maxSpan)))
		if len(w.c.nodes) > 1 {
			hops[i].Node = w.c.nodes[p.l.node].name
		}
	}
	return hops
}

// since is the time since the record's beginning, ns.
func (w *whole) since(p *part, t int64) uint64 {
	return uint64(max(0, p.toBase(t)-w.parts[0].l.start))
}

// wire is the hop from one node to the next.
func (w *whole) wire(out, in ref) render.Hop {
	a, b := w.by[out.lookup], w.by[in.lookup]
	arrived := b.record.Legs[in.leg].Hops[0]
	sent, got := w.leg(out).out.at, w.leg(in).in.at
	h := render.Hop{
		Hop: "wire", Layer: "wire", Probe: "analyze", TNS: w.since(b, got),
		Src: arrived.Src, Dst: arrived.Dst, Len: arrived.Len, TTL: arrived.TTL, Tunnel: arrived.Tunnel,
		Node: w.c.nodes[b.l.node].name,
		Wire: &render.Wire{From: w.c.nodes[a.l.node].name, To: w.c.nodes[b.l.node].name},
	}
	if o, known := w.clocks.between(a.l.node, b.l.node, sent); known && a.known && b.known {
		latency, off, diff := uint64(max(0, b.toBase(got)-a.toBase(sent))), uint64(o.error), b.offset-a.offset
		h.Wire.LatencyNS, h.Wire.ErrorNS, h.Wire.OffsetNS = &latency, &off, &diff
	}
	return h
}
