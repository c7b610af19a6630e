package capture

import (
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

// TestBeyond holds that an export is said not to have seen a packet only where
// it would have.
func TestBeyond(t *testing.T) {
	const covers = "b's export covers that time and has not seen it"
	for _, tt := range []struct {
		name      string
		selection []string
		end       func(w *world)
		want      string // at the end of the detail, or why it is incomplete
	}{
		{"whole", nil, func(w *world) { w.end("b") }, covers},
		{"namespaces selected", []string{"--netns node-b,dns-b"}, func(w *world) { w.end("b") }, covers},
		{"ports selected, and this one", []string{"--port 5353,53"}, func(w *world) { w.end("b") }, covers},
		{"other ports selected", []string{"--port 5353"}, func(w *world) { w.end("b") }, "b's export does not have it, and leaves lookups out: --port 5353"},
		{"names selected", []string{"--name w.", "--netns x"}, func(w *world) { w.end("b") }, "b's export does not have it, and leaves lookups out: --name w."},
		{"losses", nil, func(w *world) { w.end("b", func(s *render.StatsRecord) { s.Lost["ring_full"] = 5 }) }, "b's export does not have it, but lost some: ring_full 5"},
		{"unwritten", nil, func(w *world) { w.end("b", func(s *render.StatsRecord) { s.Unwritten = 5 }) }, "b's export does not have it, but lost some: unwritten 5"},
		{"ended before", nil, func(w *world) { w.end("b", func(s *render.StatsRecord) { s.Time = w.at("b", 2*time.Second) }) }, "b's export does not cover that time"},
		{"cut short", nil, func(*world) {}, "b's export is cut short, and does not have it"},
		{"broken line", nil, func(w *world) {
			w.files["b"].WriteString("{\"type\":\"loo\n")
			w.end("b")
		}, "b's export does not have it, but could not be read as a whole: 1 line left out"},
		{"newer record", nil, func(w *world) {
			w.files["b"].WriteString("{\"type\":\"lookup\",\"schema\":2}\n")
			w.end("b")
		}, "b's export does not have it, but could not be read as a whole: 1 line left out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			w.off["b"] = -2 * time.Hour
			w.begin("a")
			w.begin("b", tt.selection...)
			w.healthy(time.Second, "w.", 9)
			w.loseQuery(3*time.Second, "x.", 1)
			w.end("a")
			tt.end(w)
			records, _ := joined(t, w.sources())
			r := records[1]
			sure := tt.want == covers
			if r.Outcome != "lost" || r.Incomplete == sure || strings.HasSuffix(r.Detail, "; "+tt.want) != sure ||
				strings.Contains(strings.Join(r.Why, "\n"), tt.want) == sure {
				t.Errorf("outcome %s: %s, incomplete %q; want %q", r.Outcome, r.Detail, r.Why, tt.want)
			}
		})
	}
}

// TestBeyondUnknown holds that nothing is said of a node to which no packet to
// that address ever came, or of an export that does not tell what it left out.
func TestBeyondUnknown(t *testing.T) {
	w := newWorld()
	w.begin("a")
	w.healthy(time.Second, "w.", 9)
	w.see(3*time.Second, look{node: "a", name: "x.", id: 1, local: true, outcome: "lost", detail: "no reply was seen", legs: []render.Leg{
		way("query", 1, hop(0, "tx", "eth0", pod, "198.51.100.53:53")),
	}})
	w.loseQuery(4*time.Second, "y.", 2)
	w.end("a")
	w.end("b") // it has no start: what it is of is unknown
	records, _ := joined(t, w.sources())
	check(t, "to an address that nobody has",
		"no reply was seen; the query was last seen on a: tx eth0 in host; it was on its way to 198.51.100.53, and no export tells where that is", records[1].Detail)
	check(t, "to a node of which it is not known when it was observed", []string{"b's export does not cover that time"}, records[2].Why)
}

// TestLossesTaint holds over all ways to take records away from an export that
// had losses: nobody is said not to have seen a packet, and no outcome is made up.
func TestLossesTaint(t *testing.T) {
	const lookups = 6
	for missing := range 1 << lookups {
		w := newWorld()
		w.off["b"] = 5 * time.Second
		w.begin("a")
		w.begin("b")
		for i := range lookups {
			at, name, id := time.Duration(i+1)*time.Second, string(rune('p'+i))+".", uint16(i)
			full := newWorld()
			full.off["b"] = w.off["b"]
			full.records = 2 * i
			if i%2 == 0 {
				full.healthy(at, name, id)
			} else {
				full.dropQuery(at, name, id)
			}
			w.files["a"].Write(full.files["a"].Bytes())
			if missing&(1<<i) == 0 {
				w.files["b"].Write(full.files["b"].Bytes())
			}
		}
		w.end("a")
		w.end("b", func(s *render.StatsRecord) { s.Lost["ring_full"] = 1 })
		records, _ := joined(t, w.sources())
		if len(records) != lookups {
			t.Fatalf("missing %b: %d lookups", missing, len(records))
		}
		for i, r := range records {
			want := "answered"
			if i%2 == 1 {
				want = "dropped"
				if missing&(1<<i) != 0 {
					want = "lost"
				}
			}
			tainted := want == "lost" && missing != 1<<lookups-1 // with nothing of b, nobody knows that b is where they went
			if r.Outcome != want || strings.Contains(r.Detail, "has not seen it") || tainted != r.Incomplete {
				t.Errorf("missing %b: %s %s: %s, incomplete %v %q, want %s", missing, r.Name, r.Outcome, r.Detail, r.Incomplete, r.Why, want)
			}
		}
	}
}
