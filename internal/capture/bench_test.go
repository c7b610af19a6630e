package capture

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

// busy makes the exports of three nodes: lookups from a, whose server is on b or
// c, each of twenty hops on each node, from few ports so that addresses recur.
func busy(lookups int) *world {
	w := newWorld()
	w.off["b"], w.off["c"] = 3*time.Hour, -time.Minute
	for _, node := range []string{"a", "b", "c"} {
		w.begin(node)
	}
	long := func(g render.Leg) render.Leg {
		hops := []render.Hop{g.Hops[0]}
		for range 8 {
			hops = append(hops, g.Hops[0])
		}
		g.Hops = append(hops, g.Hops[1:]...)
		return g
	}
	for i := range lookups {
		at, name := time.Duration(i)*200*time.Microsecond, fmt.Sprintf("n%d.example.test.", i%1000)
		from := fmt.Sprintf("10.244.1.%d:%d", i%200+2, 40000+i/200%50)
		node := "b"
		if i%2 == 1 {
			node = "c"
		}
		w.see(at, look{node: "a", name: name, id: uint16(i), local: true, outcome: "answered", legs: []render.Leg{long(asked(0, from, 1)), long(answer(0, from, 1))}})
		w.see(at, look{node: node, name: name, id: uint16(i), outcome: "answered", legs: []render.Leg{long(served(0, from, 1)), long(replied(0, from, 1))}})
	}
	for _, node := range []string{"a", "b", "c"} {
		w.end(node)
	}
	return w
}

const many = 100_000

// BenchmarkRead makes the index of 100,000 lookups from three nodes.
func BenchmarkRead(b *testing.B) {
	sources := busy(many).sources()
	size := int64(0)
	for _, s := range sources {
		size += s.Size
	}
	b.SetBytes(size)
	for b.Loop() {
		if _, err := Read(sources); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJoin joins them, and says how much memory the index takes.
func BenchmarkJoin(b *testing.B) {
	sources := busy(many).sources()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c, err := Read(sources)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if j := c.Join(); j.joined != many {
			b.Fatalf("%d of %d joined", j.joined, many)
		}
	}
	b.StopTimer()
	j := c.Join()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/many, "heap-B/lookup")
	runtime.KeepAlive(j)
}

// BenchmarkEach writes them as text.
func BenchmarkEach(b *testing.B) {
	sources := busy(many / 10).sources()
	c, err := Read(sources)
	if err != nil {
		b.Fatal(err)
	}
	j := c.Join()
	for b.Loop() {
		text := render.Text{}
		if err := j.Each(Selection{}, func(r *render.Record) error { return text.Write(io.Discard, r) }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/(many/10), "µs/lookup")
}

// TestBusy holds that each lookup is joined with its own other half, and with
// nothing else.
func TestBusy(t *testing.T) {
	const lookups = 3_000
	records, j := joined(t, busy(lookups).sources())
	if len(records) != lookups || j.joined != lookups {
		t.Fatalf("%d lookups, %d joined; want %d", len(records), j.joined, lookups)
	}
	for _, r := range records {
		if len(r.Legs) != 2 || len(r.Legs[0].Hops) != 21 || *r.Legs[0].Hops[10].Wire.LatencyNS != 200_000 || r.Time.Sub(epoch)%(200*time.Microsecond) != 0 {
			var b bytes.Buffer
			if err := (&render.Text{}).Write(&b, r); err != nil {
				t.Fatal(err)
			}
			t.Fatalf("joined as\n%s", &b)
		}
	}
}
