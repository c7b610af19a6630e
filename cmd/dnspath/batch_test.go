package main

import (
	"bufio"
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

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
		outcomes: map[string]uint64{}, queue: make(chan queued, maxQueued), done: make(chan error, 1),
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
	for q := range o.queue {
		if err := o.writeRecord(w, q.record); err != nil {
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

// What waits for the output is bounded in bytes, what comes beyond is counted, and
// there is room again when some was written.
func TestQueueBytes(t *testing.T) {
	o := testOutput(&traceFlags{})
	large := func() *tracer.Lookup {
		l := ended("large.", tracer.OutcomeAnswered, time.Millisecond, nil)
		l.Legs = []tracer.Leg{{Hops: make([]tracer.Hop, 1, maxBytes/1000/int(unsafe.Sizeof(tracer.Hop{})))}}
		return l
	}
	one := int64(large().Size())
	room := uint64(maxBytes / one)
	if room < 900 || room > 1000 {
		t.Fatalf("%d lookups of %d bytes fill the queue; want some 1,000", room, one)
	}
	l := large() // the memory of one is enough
	for range room + 5 {
		o.lookup(l)
	}
	if got := uint64(len(o.queue)); got != room || o.unwritten.Load() != 5 {
		t.Errorf("%d lookups wait, %d are counted as not written; want %d and 5", got, o.unwritten.Load(), room)
	}
	var b bytes.Buffer
	o.env = &env{stdout: &b}
	go o.write()
	for o.bytes.Load() > 0 { // till all is written
		time.Sleep(time.Millisecond)
	}
	o.lookup(l)
	close(o.queue)
	if err := <-o.done; err != nil {
		t.Fatal(err)
	}
	if got := uint64(strings.Count(b.String(), "\n")); got != room+1 || o.unwritten.Load() != 5 {
		t.Errorf("%d lookups were written, %d not; want %d and 5", got, o.unwritten.Load(), room+1)
	}
}

// One story that is larger than all that may wait is shown all the same.
func TestQueueOne(t *testing.T) {
	o := testOutput(&traceFlags{})
	large := queued{bytes: maxBytes + 1}
	if !o.offer(large) {
		t.Error("it has no room in an empty queue")
	}
	if o.offer(large) || o.offer(queued{bytes: 1}) {
		t.Error("another one has room beside it")
	}
	if len(o.queue) != 1 || o.bytes.Load() != maxBytes+1 {
		t.Errorf("%d wait, of %d bytes; want the first alone", len(o.queue), o.bytes.Load())
	}
}
