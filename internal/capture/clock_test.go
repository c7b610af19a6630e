package capture

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

// round adds a packet there and one back: sent by a, received by b, sent by b,
// received by a.
func round(c *clocks, a, b int, sentA, gotB, sentB, gotA int64) {
	c.round(a, b, sentA, sentB-gotA, gotB-sentA)
}

// TestOffset holds the estimate against the truth: it is within the error that
// it names, whatever the wire takes each way, and however the clocks drift.
func TestOffset(t *testing.T) {
	for _, drift := range []float64{0, 20e-6, -80e-6} {
		rng := rand.New(rand.NewPCG(1, 2))
		const off = -int64(3*time.Hour) + 12345
		c := newClocks(2)
		clockB := func(t int64) int64 { return t + off + int64(float64(t)*drift) }
		for i := range int64(5000) {
			sent := i * int64(time.Second)
			there, serves, back := 50_000+rng.Int64N(5_000_000), rng.Int64N(1_000_000), 50_000+rng.Int64N(5_000_000)
			round(c, 0, 1, sent, clockB(sent+there), clockB(sent+there+serves), sent+there+serves+back)
			if i%10 == 0 { // joined wrongly
				wrong := rng.Int64N(int64(time.Hour))
				round(c, 0, 1, sent, clockB(sent+wrong+there), clockB(sent+wrong+there), sent+2*there)
			}
		}
		c.settle()
		for at := int64(0); at < 5000*int64(time.Second); at += int64(7 * time.Second) {
			o, known := c.between(0, 1, at)
			truth := clockB(at) - at
			allowed := o.error + int64(float64(windowLength)*max(drift, -drift))
			if d := o.ns - truth; !known || d > allowed || -d > allowed {
				t.Fatalf("drift %g, at %s: off by %d ns, error is said to be %d", drift, time.Duration(at), d, o.error)
			}
			back, _ := c.between(1, 0, clockB(at))
			if d := back.ns + o.ns; d > 2*allowed+back.error || -d > 2*allowed+back.error { // another minute's estimate, maybe
				t.Fatalf("drift %g, at %s: %d there, %d back", drift, time.Duration(at), o.ns, back.ns)
			}
		}
	}
}

// TestOffsetTree holds that the clocks of nodes that never talked are compared
// by way of others, and those of nodes without any connection are not.
func TestOffsetTree(t *testing.T) {
	truth := []int64{0, 5e9, -7e9, 100, 9e12, 1}
	c := newClocks(len(truth))
	rounds := func(a, b int, wire int64) {
		for at := range int64(20) {
			at *= 1e9
			round(c, a, b, at+truth[a], at+wire+truth[b], at+2*wire+truth[b], at+3*wire+truth[a])
		}
	}
	rounds(0, 3, 1e6)
	rounds(3, 1, 2e6)
	rounds(2, 1, 1e6)
	rounds(0, 2, 50e6) // the way by the others is known better
	rounds(5, 4, 1e6)
	c.settle()
	for a := range truth {
		for b := range truth {
			o, known := c.between(a, b, 1e9+truth[a])
			if together := (a < 4) == (b < 4); known != together {
				t.Errorf("%d and %d: known %t", a, b, known)
			} else if d := o.ns - (truth[b] - truth[a]); known && (d > o.error || -d > o.error || o.error > 10e6) {
				t.Errorf("%d and %d: off by %d, error %d", a, b, d, o.error)
			}
		}
	}
}

// TestWire holds what a hop over the wire says.
func TestWire(t *testing.T) {
	w := newWorld()
	w.off["b"] = 90 * time.Minute
	w.begin("a")
	w.begin("b")
	w.healthy(time.Second, "x.", 1)
	w.end("a")
	w.end("b")
	records, j := joined(t, w.sources())
	ns := func(n uint64) *uint64 { return &n }
	signed := func(n int64) *int64 { return &n }
	off := int64(90 * time.Minute)
	check(t, "wire there", &render.Wire{From: "a", To: "b", LatencyNS: ns(200_000), ErrorNS: ns(200_000), OffsetNS: signed(off)}, records[0].Legs[0].Hops[2].Wire)
	check(t, "wire back", &render.Wire{From: "b", To: "a", LatencyNS: ns(200_000), ErrorNS: ns(200_000), OffsetNS: signed(-off)}, records[0].Legs[1].Hops[2].Wire)
	check(t, "time of arrival", 220*us, records[0].Legs[0].Hops[2].TNS)
	check(t, "nodes", []string{"a", "b"}, records[0].Nodes)
	sum := j.Analysis()
	check(t, "nodes of the analysis", []render.AnalyzedNode{
		{Node: "a", Records: 1, OffsetNS: signed(0), ErrorNS: ns(0)}, {Node: "b", Records: 1, OffsetNS: signed(off), ErrorNS: ns(200_000)},
	}, sum.Nodes)
	check(t, "warnings", []string{"the clock of b is +1h30m0s against that of a: times are shown by the latter"}, sum.Warnings)
	// The first file's clock is the one that counts, whoever the client is.
	sources := w.sources()
	records, _ = joined(t, []Source{sources[1], sources[0]})
	check(t, "time by the other's clock", w.at("b", time.Second), records[0].Time)
}

// TestOneDirection holds that packets of one direction give no offset.
func TestOneDirection(t *testing.T) {
	w := newWorld()
	w.off["b"] = 3 * time.Millisecond
	w.begin("a")
	w.begin("b")
	w.dropQuery(time.Second, "x.", 1)
	w.dropQuery(2*time.Second, "y.", 2)
	w.end("a")
	w.end("b")
	records, j := joined(t, w.sources())
	check(t, "warnings", []string{"clock offset between a and b unknown: no lookup seen in both directions (that of b is +3.20 ms at most)"}, j.c.Warnings())
	wire := records[0].Legs[0].Hops[2]
	check(t, "wire", &render.Wire{From: "a", To: "b"}, wire.Wire)
	check(t, "hop over the wire, placed after the one before", 20*us, wire.TNS)
}
