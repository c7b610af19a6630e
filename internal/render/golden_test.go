package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/tracer"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// write makes the text of all samples.
func write(t *testing.T, text Text) string {
	t.Helper()
	var b bytes.Buffer
	for _, l := range samples() {
		if err := text.Write(&b, sampleContext().View(l)); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		name string
		text Text
	}{
		{"text", Text{}},
		{"text-color", Text{Color: true}},
		{"text-narrow", Text{Width: 80}},
		{"text-all-legs", Text{AllLegs: true}},
	} {
		t.Run(tt.name, func(t *testing.T) { golden(t, tt.name, write(t, tt.text)) })
	}
	if diff := cmp.Diff(write(t, Text{}), write(t, Text{Width: narrow})); diff != "" {
		t.Errorf("a terminal wide enough changes the text (-unknown +%d columns):\n%s", narrow, diff)
	}
}

// TestColor holds that colours change nothing but colours.
func TestColor(t *testing.T) {
	if diff := cmp.Diff(write(t, Text{}), stripColors(write(t, Text{Color: true}))); diff != "" {
		t.Errorf("text (-plain +colour, stripped):\n%s", diff)
	}
}

func stripColors(s string) string {
	for _, code := range []string{red, green, yellow, cyan, bold, dim, reset} {
		s = strings.ReplaceAll(s, code, "")
	}
	return s
}

// TestTrailingBlanks holds that no line ends in blanks, whatever its form.
func TestTrailingBlanks(t *testing.T) {
	for name, text := range map[string]Text{"plain": {}, "colour": {Color: true}, "narrow": {Width: 80}, "narrow, colour": {Width: 80, Color: true}} {
		for line := range strings.Lines(stripColors(write(t, text))) {
			if line = strings.TrimSuffix(line, "\n"); line != strings.TrimRight(line, " ") {
				t.Errorf("%s: %q", name, line)
			}
		}
	}
}

// TestStoryText holds that a story's line comes once, before the first of its
// lookups that is shown, and how far each is indented.
func TestStoryText(t *testing.T) {
	lookups := storySamples()
	for _, tt := range []struct {
		name  string
		shown []int
		want  []int // columns before each lookup
	}{
		{"all", []int{0, 1, 2, 3, 4}, []int{2, 2, 4, 4, 0}},
		{"the cause is filtered out", []int{0, 2, 3}, []int{2, 2, 2}},
		{"alone of its story", []int{3}, []int{2}},
		{"none of it", []int{4, 5}, []int{0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			var text Text
			for _, i := range tt.shown {
				if err := text.Write(&b, sampleContext().View(lookups[i])); err != nil {
					t.Fatal(err)
				}
			}
			var got []int
			headlines, want := 0, min(1, tt.want[0])
			for line := range strings.Lines(b.String()) {
				if at := strings.IndexAny(line, "✓!✗"); at >= 0 {
					got = append(got, at)
				}
				if strings.HasPrefix(line, "4 lookups for db,") {
					headlines++
				}
			}
			if headlines != want {
				t.Errorf("%d lines about the story, want %d:\n%s", headlines, want, b.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("columns (-want +got):\n%s\n%s", diff, b.String())
			}
		})
	}
}

// TestUnnamedNamespaces holds that hooks of different namespaces do not share a
// line because neither has a name.
func TestUnnamedNamespaces(t *testing.T) {
	text := write(t, Text{})
	if strings.Contains(text, "PREROUTING INPUT") {
		t.Errorf("hooks of two namespaces are in one line:\n%s", text[strings.LastIndex(text, "reply"):])
	}
}

func exportText(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	for _, r := range export() {
		if err := WriteJSON(&b, r); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestJSON(t *testing.T) { golden(t, "export", exportText(t)) }

// TestJSONAbsent holds that lists and tables without members are empty, not null.
func TestJSONAbsent(t *testing.T) {
	l := &tracer.Lookup{Question: &tracer.Message{}, Legs: []tracer.Leg{{Attempt: 1}}, Outcome: tracer.OutcomeLost, Client: webPod}
	for name, record := range map[string]any{
		"leg without hops":    sampleContext().View(l),
		"lookup without legs": sampleContext().View(&tracer.Lookup{Question: &tracer.Message{}, Client: webPod}),
		"no outcomes":         Stats("worker-0", sampleContext().Wall(0), &tracer.Stats{Lost: map[string]uint64{}}, nil, 0),
		"no losses":           Stats("worker-0", sampleContext().Wall(0), &tracer.Stats{}, map[string]uint64{}, 0),
		"no probes":           Start{Type: "start", Probes: Probes(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := WriteJSON(&b, record); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(b.String(), "null") {
				t.Errorf("null in %s", b.String())
			}
		})
	}
}

// TestID holds that a lookup's ID does not depend on when it is computed, and
// that other lookups have other IDs.
func TestID(t *testing.T) {
	view := sampleContext()
	if a, b := view.View(answered()).ID, view.View(answered()).ID; a != b || len(a) != 16 {
		t.Errorf("IDs are %q and %q, want the same 16 digits", a, b)
	}
	seen := map[string]bool{}
	for _, l := range samples() {
		seen[view.View(l).ID] = true
	}
	if len(seen) != len(samples()) {
		t.Errorf("%d IDs of %d lookups", len(seen), len(samples()))
	}
}

func TestDuration(t *testing.T) {
	for ns, want := range map[uint64]string{
		0: "0.0 µs", 40: "0.0 µs", 1_250: "1.2 µs", 9_940: "9.9 µs", 10_000: "10 µs", 412_000: "412 µs",
		1_000_000: "1.00 ms", 5_123_000: "5.12 ms", 1_000_000_000: "1.00 s", 12_345_000_000: "12.35 s",
	} {
		if got := duration(ns); got != want {
			t.Errorf("duration(%d) = %q, want %q", ns, got, want)
		}
	}
}

func TestPath(t *testing.T) {
	for s, want := range map[string]string{
		"10.96.0.10:53 → 10.244.2.53:53 after 380µs": "10.96.0.10:53 → 10.244.2.53:53 after 380µs",
		"→µ":                  "→µ",
		"a\x1b[31m → b\u202e": `a\x1b[31m → b\u202e`,
	} {
		if got := path(s); got != want {
			t.Errorf("path(%q) = %q, want %q", s, got, want)
		}
	}
}

// symbols are what text has beside printable ASCII.
const symbols = "→µ✓✗≤…\n"

// FuzzTextIsPrintable holds that nothing which the network or other programs
// choose reaches a terminal as it is, and that JSON stays one line.
func FuzzTextIsPrintable(f *testing.F) {
	f.Add(hostile, hostile, hostile, hostile, hostile, hostile, true)
	f.Add("dig", "eth0", "a.example.test.", "node-a", "nf_hook_slow", "NETFILTER_DROP", false)
	f.Add("\x1b[31m", "\u009b31m", "\x7f", "\xc0\x80", "\u2028", "\x1b", true)
	f.Fuzz(func(t *testing.T, comm, dev, name, netns, function, reason string, color bool) {
		l := dropped()
		l.Outcome, l.Detail, l.Why = tracer.OutcomeIncomplete, reason+" in "+function, []string{reason}
		l.Comm, l.PID, l.Question.Name, l.Question.Defect = comm, 1, name, reason
		for _, leg := range l.Legs {
			for i := range leg.Hops {
				h := &leg.Hops[i]
				h.Dev, h.Comm, h.PID = dev, comm, 1
				if h.Drop != nil {
					h.Drop.Function, h.Drop.Reason = function, reason
					h.Drop.By = &tracer.By{Name: netns, Rule: reason, How: tracer.HowInferred}
				}
			}
		}
		l.Legs[0].Hops[0].Name = "read"
		l.Story = &tracer.Story{First: l.Ref(), Name: name, Lookups: 2, NXDomain: 1, NoData: 1}
		l.Links = []tracer.Link{{Kind: tracer.LinkKind(comm), How: netns, Ref: l.Ref()}}
		view := sampleContext()
		view.NetNS = func(uint32) (string, string) { return netns, netns }
		record := view.View(l)
		var text, line bytes.Buffer
		if err := (&Text{Color: color}).Write(&text, record); err != nil {
			t.Fatal(err)
		}
		plain := text.String()
		if color {
			plain = stripColors(plain)
		}
		for _, r := range plain {
			if (r < ' ' || r > '~') && !strings.ContainsRune(symbols, r) {
				t.Fatalf("%q is in %q", r, plain)
			}
		}
		if err := WriteJSON(&line, record); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(line.Bytes()) || bytes.IndexByte(line.Bytes(), '\n') != line.Len()-1 {
			t.Errorf("not one line of JSON: %q", line.String())
		}
	})
}

// TestLongWay has a packet that goes round and round.
func TestLongWay(t *testing.T) {
	leg := Leg{Direction: "query"}
	const hops = 2 * rowsShown
	for i := range hops {
		leg.Hops = append(leg.Hops, Hop{Hop: "tx", Layer: "device", TNS: uint64(1000 * i), Dev: fmt.Sprint("eth", i)})
	}
	var b bytes.Buffer
	new(Text).leg(&b, &Record{}, leg)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if want := fmt.Sprintf("…  %d lines more, which -o json has", hops-rowsShown); len(lines) != 1+rowsShown+1 || strings.TrimSpace(lines[1+rowsBegin]) != want {
		t.Errorf("%d lines, %q at the gap; want %d and %q", len(lines), lines[1+rowsBegin], 1+rowsShown+1, want)
	}
	if want := "+1.0 µs"; !strings.HasPrefix(strings.TrimSpace(lines[2+rowsBegin]), want) {
		t.Errorf("after the gap %q, want %s since the line before it", lines[2+rowsBegin], want)
	}
}
