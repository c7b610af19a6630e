package capture

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/render"
	"github.com/dnspath/dnspath/tracer"
)

// scene are lookups of all kinds over two nodes, and one with a third node that
// has seen packets of one direction.
func scene() *world {
	w := newWorld()
	w.off["b"] = -1200 * time.Microsecond
	w.begin("a")
	w.begin("b")
	w.begin("c")
	w.healthy(time.Second, "web.example.test.", 1)
	w.dropQuery(2*time.Second, "db.example.test.", 2)
	w.loseQuery(3*time.Second, "gone.example.test.", 3)
	const other = "10.244.3.53:53"
	w.see(4*time.Second, look{node: "a", name: "one.example.test.", id: 4, local: true, outcome: "lost", detail: "no reply was seen", legs: []render.Leg{
		way("query", 1, hop(0, "tx", "eth0", pod, other)),
	}})
	w.see(4*time.Second, look{node: "c", name: "one.example.test.", id: 4, outcome: "lost", detail: "the server read the query and sent no reply", legs: []render.Leg{
		way("query", 1, hop(100*us, "rx", "eth0", pod, other), hop(120*us, "read", "", pod, other)),
	}})
	w.end("a")
	w.end("b")
	w.end("c")
	return w
}

func TestText(t *testing.T) {
	records, j := joined(t, scene().sources())
	var text, export bytes.Buffer
	for _, r := range records {
		if err := render.WriteJSON(&export, r); err != nil {
			t.Fatal(err)
		}
		Clean(r)
		if err := (&render.Text{}).Write(&text, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := render.WriteJSON(&export, j.Analysis()); err != nil {
		t.Fatal(err)
	}
	golden(t, "text", text.String())
	golden(t, "export", export.String())
}

// TestStable holds that the same files give the same output, each time.
func TestStable(t *testing.T) {
	text := func() string {
		records, _ := joined(t, good(50).sources())
		var b bytes.Buffer
		for _, r := range records {
			if err := render.WriteJSON(&b, r); err != nil {
				t.Fatal(err)
			}
		}
		return b.String()
	}
	first := text()
	for range 5 {
		if got := text(); got != first {
			t.Fatal("two runs differ")
		}
	}
}

// TestPickedStory holds that what is in one story with a lookup that is picked is
// shown too, if the filter lets it through.
func TestPickedStory(t *testing.T) {
	w := newWorld()
	w.begin("a")
	for i, name := range []string{"alone.", "first.", "lost.", "last."} {
		outcome := "answered"
		if name == "lost." {
			outcome = "lost"
		}
		w.see(time.Duration(i+1)*time.Second, look{node: "a", name: name, id: uint16(i), local: true, outcome: outcome, legs: []render.Leg{
			way("query", 1, hop(0, "tx", "eth0", pod, service)),
		}})
	}
	w.end("a")
	text := w.files["a"].String()
	for _, id := range []string{"2", "3", "4"} {
		text = strings.Replace(text, `"id":"000000000000000`+id+`"`, `"id":"000000000000000`+id+`","story":"0000000000000002"`, 1)
	}
	c, err := Read([]Source{source("a.json", text)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		want []string
	}{
		{"", []string{"first.", "lost.", "last."}},
		{"last.", nil},
	} {
		var names []string
		if tt.name != "" {
			names = []string{tt.name}
		}
		filter, err := tracer.NewFilter(tracer.FilterOptions{Names: names})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := c.Join().Each(Selection{Filter: filter, Pick: render.Pick{Failed: true}}, func(r *render.Record) error {
			got = append(got, r.Name)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		check(t, "names picked of "+tt.name, tt.want, got)
	}
}

func TestSelection(t *testing.T) {
	c, err := Read(scene().sources())
	if err != nil {
		t.Fatal(err)
	}
	j := c.Join()
	for _, tt := range []struct {
		name   string
		filter tracer.FilterOptions
		pick   render.Pick
		want   []string
	}{
		{"all", tracer.FilterOptions{}, render.Pick{}, []string{"web.", "db.", "gone.", "one."}},
		{"failed", tracer.FilterOptions{}, render.Pick{Failed: true}, []string{"db.", "gone.", "one."}},
		{"name", tracer.FilterOptions{Names: []string{"db.example.test"}}, render.Pick{}, []string{"db."}},
		{"name, failed", tracer.FilterOptions{Names: []string{"web.example.test"}}, render.Pick{Failed: true}, nil},
		{"type", tracer.FilterOptions{Types: []string{"AAAA"}}, render.Pick{}, nil},
		{"slower", tracer.FilterOptions{}, render.Pick{Slower: time.Second}, []string{"db.", "gone.", "one."}},
		{"slower than 0.7 ms", tracer.FilterOptions{}, render.Pick{Slower: 699 * time.Microsecond}, []string{"web.", "db.", "gone.", "one."}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			filter, err := tracer.NewFilter(tt.filter)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			if err := j.Each(Selection{Filter: filter, Pick: tt.pick}, func(r *render.Record) error {
				labels := dns.SplitDomainName(r.Name)
				got = append(got, labels[0]+".")
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			check(t, "lookups", tt.want, got)
		})
	}
}
