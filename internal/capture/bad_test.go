package capture

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

// good makes the exports of two nodes with some lookups.
func good(lookups int) *world {
	w := newWorld()
	w.begin("a")
	w.begin("b")
	for i := range lookups {
		w.healthy(time.Duration(i+1)*time.Second, fmt.Sprintf("n%d.", i), uint16(i))
	}
	w.end("a")
	w.end("b")
	return w
}

func TestBadInput(t *testing.T) {
	w := good(3)
	a, b := w.files["a"].String(), w.files["b"].String()
	aLines := strings.SplitAfter(a, "\n")
	newer := strings.ReplaceAll(b, `"schema":1`, `"schema":2`)
	for _, tt := range []struct {
		name    string
		sources []Source
		lookups int
		want    []string
	}{
		{"two good ones", w.sources(), 3, nil},
		{"without stats", []Source{source("a.json", strings.Join(aLines[:4], "")), source("b.json", b)}, 3,
			[]string{"a.json: cut short, or still being written: it has no stats at its end"}},
		{"cut in the last line", []Source{source("a.json", strings.Join(aLines[:3], "")+aLines[3][:50]), source("b.json", b)}, 3,
			[]string{"a.json: cut short in its last line (unexpected end of JSON input): what is whole is used"}},
		{"a newline is missing, and no more", []Source{source("a.json", strings.TrimSuffix(a, "\n"))}, 3, nil},
		{"broken lines", []Source{source("a.json", aLines[0]+"{\"type\":\"lookup\",\"sch\n"+aLines[1][:60]+aLines[2]+strings.Join(aLines[2:], "")), source("b.json", b)}, 3,
			[]string{"a.json: 2 broken lines left out, the first is line 2 (unexpected end of JSON input): did several programs write to this file?"}},
		{"interleaved nodes in one file", []Source{source("both.json", interleave(a, b))}, 3,
			[]string{"both.json: records of 2 nodes (a, b): each counts for its own"}},
		{"newer schema", []Source{source("a.json", a), source("b.json", newer)}, 3,
			[]string{"b.json: 5 records of schema 2 left out: this dnspath knows schema 1 and older"}},
		{"older schema", []Source{source("a.json", a), source("b.json", strings.ReplaceAll(b, `"schema":1`, `"schema":0`))}, 3, nil},
		{"the same twice", []Source{source("a.json", a), source("b.json", b), source("copy.json", a)}, 3,
			[]string{"a.json and copy.json: both have 3 lookups of a: each counts once"}},
		{"the same twice in one file", []Source{source("a.json", a+a)}, 3,
			[]string{"a.json: 3 lookups of a there twice: each counts once"}},
		{"two of one node at the same time", []Source{source("a.json", a), source("a2.json", again(a))}, 3,
			[]string{"a.json and a2.json: both have 3 lookups of a: each counts once"}},
		{"two nodes of one name", []Source{source("a.json", a), source("b.json", strings.ReplaceAll(b, `"node":"b"`, `"node":"a"`))}, 6,
			[]string{"a.json and b.json: both say that they are of a, at the same time, and have no lookup in common: if these are two nodes, trace --node tells them apart"}},
		{"not an export", []Source{source("a.json", a), source("notes.txt", "hello\nworld\n")}, 3,
			[]string{"notes.txt:1: no export of dnspath: invalid character 'h' looking for beginning of value"}},
		{"other JSON", []Source{source("a.json", a), source("pods.json", "{\n \"kind\": \"List\"\n}\n")}, 3,
			[]string{"pods.json:1: no export of dnspath: unexpected end of JSON input"}},
		{"JSON Lines of something else", []Source{source("a.json", a), source("log.json", "{\"level\":\"info\"}\n{}\n")}, 3,
			[]string{"log.json:1: no export of dnspath: not a record of an export"}},
		{"empty", []Source{source("a.json", a), source("empty.json", "\n\n")}, 3, []string{"empty.json: no export of dnspath: the file is empty"}},
		{"losses", []Source{source("a.json", strings.ReplaceAll(a, `"ring_full":0`, `"ring_full":12`)), source("b.json", b)}, 3,
			[]string{"a.json: a lost some of what it saw: ring_full 12"}},
		{"hours apart", []Source{source("a.json", a), source("b.json", strings.ReplaceAll(b, "T10:00:0", "T15:00:0"))}, 3,
			[]string{"the clock of b is +5h0m0s against that of a: times are shown by the latter"}},
		{"line too long", []Source{source("a.json", a+strings.Repeat("x", maxLine+1)+"\n"), source("b.json", b)}, 3,
			[]string{"a.json: 1 line of more than 16 MiB left out"}},
		{"blank lines, and carriage returns", []Source{source("a.json", "\n"+strings.ReplaceAll(a, "\n", "\r\n\r\n"))}, 3, nil},
		{"record broken where the index does not look", []Source{source("a.json", a), source("b.json", strings.Replace(b, `"len":60`, `"len":"60"`, 1))}, 3,
			[]string{"b.json: lookup 0000000000000002 left out: json: cannot unmarshal string into Go struct field Hop.legs.hops.len of type uint32"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			records, j := joined(t, tt.sources)
			if len(records) != tt.lookups {
				t.Errorf("%d lookups, want %d: %q", len(records), tt.lookups, lines(records))
			}
			for _, r := range records {
				if r.Outcome != "answered" {
					t.Errorf("%s: %s %s", r.Name, r.Outcome, r.Detail)
				}
			}
			check(t, "warnings", tt.want, j.c.Warnings())
		})
	}
}

// interleave takes lines of both in turn.
func interleave(a, b string) string {
	var out strings.Builder
	x, y := strings.SplitAfter(a, "\n"), strings.SplitAfter(b, "\n")
	for i := range x {
		out.WriteString(x[i] + y[i])
	}
	return out.String()
}

// again is what another dnspath writes on the same node: it sees the same a
// little later, and so has other IDs.
func again(a string) string {
	return strings.ReplaceAll(strings.ReplaceAll(a, `"id":"0`, `"id":"f`), ":01Z", ":01.000013Z")
}

func TestNoExport(t *testing.T) {
	for _, sources := range [][]Source{
		{source("notes.txt", "hello\n")},
		{source("empty.json", "")},
		{source("new.json", "{\"type\":\"start\",\"schema\":9,\"node\":\"a\"}\n")},
		{source("cut.json", "{\"type\":\"st")},
	} {
		if _, err := Read(sources); !errors.Is(err, ErrNoExport) || !strings.Contains(err.Error(), sources[0].Name) {
			t.Errorf("%s: error %v", sources[0].Name, err)
		}
	}
}

// TestAgain holds that what analyze writes can be read, and stays as it is.
func TestAgain(t *testing.T) {
	records, j := joined(t, good(2).sources())
	var b bytes.Buffer
	for _, r := range records {
		if err := render.WriteJSON(&b, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := render.WriteJSON(&b, j.Analysis()); err != nil {
		t.Fatal(err)
	}
	once := lines(records)
	records, _ = joined(t, []Source{source("joined.json", b.String())})
	check(t, "read again", once, lines(records))
}
