package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/render"
	"github.com/dnspath/dnspath/tracer"
)

// What may wait for a slow reader of stdout: records, or lookups and stories, and
// the bytes that these take, for a lookup has 1 KB or, with many attempts, a
// thousand times that. What comes beyond is counted: the trace itself must not
// wait, or the kernel's buffer overflows.
const (
	maxQueued = 16384
	maxBytes  = 256 << 20
)

// queued is what waits to be written.
type queued struct {
	record any
	bytes  int64 // that it takes, estimated
}

// output writes what a trace finds, on a goroutine of its own.
type output struct {
	env    *env
	flags  *traceFlags
	node   string
	tracer *tracer.Tracer
	view   *render.Context
	text   render.Text
	filter *tracer.Filter
	rules  explainer
	doctor doctor
	sum    *summary           // of the goroutine that writes
	stop   context.CancelFunc // ends the trace

	story     batch // what has come of the story that comes
	shown     atomic.Int64
	outcomes  map[string]uint64
	unwritten atomic.Uint64
	queue     chan queued
	bytes     atomic.Int64   // of what was put and is not written yet
	asked     chan os.Signal // for a summary
	failed    atomic.Bool    // the writer has stopped
	done      chan error
}

func newOutput(e *env, f *traceFlags, node string, t *tracer.Tracer) *output {
	color, width := terminal(e)
	r := newRules(f, t)
	return &output{
		env: e, flags: f, node: node, tracer: t, view: view(node, t),
		text: render.Text{Color: color, Width: width, AllLegs: f.allLegs}, rules: newExplainer(e, r, t), doctor: newDoctor(f, r, t),
		sum:      newSummary(e.now()),
		outcomes: map[string]uint64{}, queue: make(chan queued, maxQueued), asked: make(chan os.Signal, 1), done: make(chan error, 1),
	}
}

// terminal returns how stdout wants its text: colours and columns, or neither
// if it is no terminal (https://no-color.org).
func terminal(e *env) (color bool, width int) {
	f, ok := e.stdout.(*os.File)
	if !ok {
		return false, 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return false, 0
	}
	return e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb", int(size.Col)
}

// start writes the first record and starts the writer.
func (o *output) start(release string) error {
	go o.write()
	if o.flags.output != "json" {
		return nil
	}
	now := o.env.now()
	o.put(render.Start{
		Type: "start", Schema: render.SchemaVersion, Tool: "dnspath", Version: version, Kernel: release, Node: o.node,
		Time: now.UTC(), ClockOffsetNS: o.tracer.Wall(0).UnixNano(), Probes: render.Probes(o.tracer.Probes()),
		Selection: o.flags.selection,
	})
	return nil
}

// lookup takes a lookup that has ended. Those of a story come one after the other.
func (o *output) lookup(l *tracer.Lookup) {
	full := o.full()
	if full && len(o.story.lookups) == 0 {
		return
	}
	show := !full && o.filter.Match(l)
	if show {
		o.outcomes[string(l.Outcome)]++
	}
	if o.story.add(l, show) {
		o.put(o.story)
		o.story = batch{}
	}
	if show && o.picksAll() {
		o.count()
	}
}

// picksAll reports whether all lookups are shown that the filter lets through:
// then they are counted as they come. Which the others are the goroutine that
// writes finds out, and counts them.
func (o *output) picksAll() bool { return o.flags.pick.Pick == render.Pick{} }

// count counts a lookup that is shown, and ends the trace after the last.
func (o *output) count() {
	if o.shown.Add(1) == int64(o.flags.count) {
		o.stop()
	}
}

// full reports whether as many lookups were shown as are wanted.
func (o *output) full() bool { return o.flags.count > 0 && o.shown.Load() >= int64(o.flags.count) }

// event takes an observation.
func (o *output) event(e *tracer.Event) {
	o.rules.Event(e)
	o.doctor.Event(e)
	if o.flags.events {
		o.put(e)
	}
}

func (o *output) put(record any) {
	q := queued{record, size(record)}
	if !o.offer(q) {
		o.unwritten.Add(records(record))
	}
	if o.failed.Load() {
		o.stop()
	}
}

// offer puts a record into the queue if there is room. In an empty one there is,
// however large it be.
func (o *output) offer(q queued) bool {
	if all := o.bytes.Add(q.bytes); all <= maxBytes || all == q.bytes {
		select {
		case o.queue <- q:
			return true
		default:
		}
	}
	o.bytes.Add(-q.bytes)
	return false
}

// write writes records until the queue is closed. It flushes when nothing more
// waits, so that people see a lookup as soon as it has ended.
func (o *output) write() {
	w := bufio.NewWriterSize(o.env.stdout, 1<<16)
	var err error
	for q := range o.queue {
		if err == nil { // else drain
			err = o.writeQueued(w, q.record)
		}
		o.bytes.Add(-q.bytes)
	}
	if err == nil {
		err = w.Flush()
	}
	o.done <- err
}

// writeQueued writes a record, and all before it if it is the last that waits.
func (o *output) writeQueued(w *bufio.Writer, record any) error {
	err := o.writeRecord(w, record)
	if err == nil && len(o.queue) == 0 {
		err = w.Flush()
	}
	if err != nil {
		o.failed.Store(true)
		o.stop()
	}
	return err
}

func (o *output) writeRecord(w *bufio.Writer, record any) error {
	switch r := record.(type) {
	case batch:
		return o.writeBatch(w, r)
	case summaryRequest:
		o.summarize()
		return nil
	case render.StatsRecord:
		o.sum.fill(&r)
		record = r
	case *tracer.Event:
		name, _ := o.view.NetNS(r.NetNS)
		record = render.EventRecord{Type: "event", Schema: render.SchemaVersion, Node: o.node, Event: r, NetNSName: name}
	}
	if o.flags.output == "json" {
		return render.WriteJSON(w, record)
	}
	if r, ok := record.(*render.Record); ok {
		return o.text.Write(w, r)
	}
	return nil
}

// finish writes the last record and waits for the writer.
func (o *output) finish() error {
	stats := o.tracer.Stats()
	if o.flags.output == "json" {
		o.queue <- queued{record: render.Stats(o.node, o.env.now(), &stats, o.outcomes, o.unwritten.Load())}
	}
	close(o.queue)
	err := <-o.done
	o.rules.Close()
	o.doctor.Close()
	if errors.Is(err, unix.EPIPE) {
		return err
	}
	o.summarize()
	return err
}

// summaryRequest asks for a summary before the end.
type summaryRequest struct{}

// sumUp asks for a summary, as SIGUSR1 does.
func (o *output) sumUp() {
	select {
	case o.asked <- unix.SIGUSR1:
	default: // one is asked for already
	}
}

// summarizeOn has SIGUSR1 print a summary, until stop is called.
func (o *output) summarizeOn(ctx context.Context) (stop func()) {
	signal.Notify(o.asked, unix.SIGUSR1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-o.asked:
				select {
				case o.queue <- queued{record: summaryRequest{}}:
				case <-ctx.Done():
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(o.asked)
		<-done
	}
}

// summarize says on stderr what was seen, and what was lost.
func (o *output) summarize() {
	stats := o.tracer.Stats()
	o.sum.write(o.env.stderr, o.env.now())
	fmt.Fprintf(o.env.stderr, "dnspath: %d events, %d lost\n", stats.Events, stats.LostTotal())
	if n := stats.LostTotal(); n > 0 {
		fmt.Fprintf(o.env.stderr, "dnspath: lost: %s; lookups of that time are marked incomplete; a larger --ring-size may help\n", losses(&stats))
	}
	if r := stats.Rules; r != nil && r.Overflows+r.Undecodable+r.Unlisted > 0 {
		fmt.Fprintf(o.env.stderr, "dnspath: rules may be missing beside hops: netlink buffer full %d times, undecodable %d, without a text %d\n",
			r.Overflows, r.Undecodable, r.Unlisted)
	}
	if n := o.unwritten.Load(); n > 0 {
		fmt.Fprintf(o.env.stderr, "dnspath: %d records were not written: the output was too slow\n", n)
	}
}

func losses(s *tracer.Stats) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(s.Lost)) {
		if s.Lost[name] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, s.Lost[name]))
		}
	}
	if s.Undecodable > 0 {
		parts = append(parts, fmt.Sprintf("undecodable %d", s.Undecodable))
	}
	if s.Cut > 0 {
		parts = append(parts, fmt.Sprintf("cut %d", s.Cut))
	}
	return strings.Join(parts, ", ")
}
