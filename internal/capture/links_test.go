package capture

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

// TestLinks holds that links lead to the record that a lookup has become part of.
func TestLinks(t *testing.T) {
	w := newWorld()
	w.begin("a")
	w.begin("b")
	w.healthy(time.Second, "x.", 1) // IDs 1 on a, 2 on b
	w.see(time.Second, look{node: "b", name: "x.", id: 7, local: true, outcome: "answered", legs: []render.Leg{
		way("query", 1, hop(300*us, "tx", "eth0", "10.244.2.53:5555", "198.51.100.1:53")),
	}})
	w.end("a")
	w.end("b")
	sources := w.sources()
	b := w.files["b"].String()
	linked := func(text, id, link string) string {
		return strings.Replace(text, `"id":"`+id+`"`, `"id":"`+id+`","story":"0000000000000002","links":[`+link+`]`, 1)
	}
	b = linked(b, "0000000000000003", `{"kind":"parent","how":"inferred","id":"0000000000000002"},{"kind":"sibling","how":"seen","id":"00000000000000ff"}`)
	b = linked(b, "0000000000000002", `{"kind":"child","how":"seen","id":"0000000000000003"}`)
	sources[1] = source("b.json", b)
	records, _ := joined(t, sources)
	ids := func(r *render.Record) (out []string) {
		for _, l := range r.Links {
			out = append(out, l.Kind+" "+l.ID)
		}
		return append(out, "story "+r.Story)
	}
	check(t, "links of the joined one", []string{"child 0000000000000003", "story 0000000000000001"}, ids(records[0]))
	check(t, "links to it", []string{"parent 0000000000000001", "sibling 00000000000000ff", "story 0000000000000001"}, ids(records[1]))
	var text bytes.Buffer
	if err := (&render.Text{}).Write(&text, records[1]); err != nil {
		t.Fatal(err)
	}
	if want := "  caused by the lookup of 10.244.1.10:40000, ID 1 (inferred)\n"; !strings.Contains(text.String(), want) {
		t.Errorf("no %q in\n%s", want, &text)
	}
}
