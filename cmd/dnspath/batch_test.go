package main

import (
	"bufio"
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/internal/names"
	"github.com/dnspath/dnspath/internal/nodestate"
	"github.com/dnspath/dnspath/internal/render"
	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

// testOutput writes what lookups are picked, with nothing of a kernel behind it.
func testOutput(f *traceFlags) *output {
	f.output = "json"
	nobody := func(uint32) names.NetNS { return names.NetNS{} }
	reader := nodestate.NewReader(nodestate.Options{Names: nobody, All: func() []names.NetNS { return nil }})
	filter, _ := tracer.NewFilter(tracer.FilterOptions{})
	return &output{
		flags: f, filter: filter, rules: noExplainer{}, doctor: doctor{diagnose.New(reader), nil}, sum: newSummary(time.Time{}), stop: func() {},
		view:     &render.Context{Wall: func(ns uint64) time.Time { return time.Unix(0, int64(ns)) }, NetNS: func(uint32) (string, string) { return "", "" }},
		outcomes: map[string]uint64{}, queue: make(chan any, maxQueued), done: make(chan error, 1),
	}
}

// ended is a lookup that ended so.
func ended(name string, outcome tracer.Outcome, took time.Duration, story *tracer.Story) *tracer.Lookup {
	l := &tracer.Lookup{
		Start: 1, End: 1 + uint64(took), Question: &tracer.Message{Name: name, Type: 1}, Outcome: outcome, Story: story,
		Client: netip.MustParseAddrPort("192.0.2.1:4000"), Server: netip.MustParseAddrPort("192.0.2.53:53"),
	}
	if outcome == tracer.OutcomeAnswered {
		l.Latency, l.Reply = uint64(took), &tracer.Message{Name: name, Type: 1, Response: true}
	}
	return l
}

// written has an output take lookups, and returns the names of those it writes.
func written(t *testing.T, o *output, lookups ...*tracer.Lookup) (names []string) {
	t.Helper()
	for _, l := range lookups {
		o.lookup(l)
	}
	close(o.queue)
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	for record := range o.queue {
		if err := o.writeRecord(w, record); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if _, rest, ok := strings.Cut(line, `"name":"`); ok {
			name, _, _ := strings.Cut(rest, ".")
			names = append(names, name)
		}
	}
	return names
}

func TestShowPicked(t *testing.T) {
	const slower = 100 * time.Millisecond
	for _, c := range []struct {
		name  string
		flags traceFlags
		want  []string
	}{
		{"all", traceFlags{}, []string{"quick", "slow", "lost", "first", "second", "other", "unknown"}},
		{"failed", traceFlags{pick: pickFlags{render.Pick{Failed: true}}}, []string{"lost", "first", "second", "unknown"}},
		{"slower", traceFlags{pick: pickFlags{render.Pick{Slower: slower}}}, []string{"slow", "lost", "first", "second"}},
		{"either", traceFlags{pick: pickFlags{render.Pick{Failed: true, Slower: slower}}}, []string{"slow", "lost", "first", "second", "unknown"}},
		{"the first two", traceFlags{count: 2}, []string{"quick", "slow"}},
		{"the first two that failed", traceFlags{count: 2, pick: pickFlags{render.Pick{Failed: true}}}, []string{"lost", "first", "second"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testOutput(&c.flags)
			story := &tracer.Story{Name: "a.", Lookups: 2}
			got := written(t, o,
				ended("quick.", tracer.OutcomeAnswered, time.Millisecond, nil),
				ended("slow.", tracer.OutcomeAnswered, slower+1, nil),
				ended("lost.", tracer.OutcomeLost, time.Second, nil),
				ended("first.", tracer.OutcomeAnswered, time.Millisecond, story),
				ended("second.", tracer.OutcomeDropped, time.Millisecond, story),
				ended("other.", tracer.OutcomeAnswered, slower, nil),
				ended("unknown.", tracer.OutcomeIncomplete, time.Second, nil),
			)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
			if c.flags.count > 0 {
				return
			}
			all := map[string]uint64{"answered": 4, "lost": 1, "dropped": 1, "incomplete": 1}
			if diff := cmp.Diff([]map[string]uint64{all, all}, []map[string]uint64{o.outcomes, o.sum.outcomes}); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
		})
	}
}
