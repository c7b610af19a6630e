package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

const benchHelp = `Measure dnspath in the lab, under lookups to the DNS pod on the other node:
how soon it sees its first event, how much memory and processor time it takes,
what it misses, and what it adds to a lookup. Ratios are of one run.

Usage:
  dnslab bench [flags]

Example:
  dnslab bench --count 10000 --rate 2000
`

// benchFlags are the flags of "dnslab bench".
type benchFlags struct {
	bin    string
	count  int
	rate   int
	starts int
}

func runBench(ctx context.Context, e env, args []string) error {
	var f benchFlags
	fs := newFlags(e, "bench", benchHelp)
	tool := toolFlag(fs)
	fs.IntVar(&f.count, "count", 10000, "lookups of the load")
	fs.IntVar(&f.rate, "rate", 2000, "lookups a second")
	fs.IntVar(&f.starts, "starts", 5, "starts of which the median is told")
	if done, err := parse(fs, args); done || err != nil {
		return err
	}
	var err error
	if f.bin, err = findTool(*tool); err != nil {
		return err
	}
	status, err := lab.Isolate(func() int { return exitStatus(e, bench(ctx, e, f)) })
	if err != nil {
		return err
	}
	if status != 0 {
		return exitError(status)
	}
	return nil
}

// bench runs all measurements in one lab, in the isolated process.
func bench(ctx context.Context, e env, f benchFlags) (err error) {
	l, err := lab.New(ctx, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if _, err := lab.StartDNS(l.DNSB, lab.DNSOptions{Workers: 2}); err != nil {
		return err
	}
	if err := benchStart(ctx, e, l, f); err != nil {
		return fmt.Errorf("measure the start: %w", err)
	}
	return benchLoad(ctx, e, l, f)
}

// benchStart measures the time from a start to the first event, under lookups
// that come every few milliseconds.
func benchStart(ctx context.Context, e env, l *lab.Lab, f benchFlags) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		opts := lab.LoadOptions{Server: lab.Service(), Count: 1 << 20, Rate: 200}
		lab.Load(ctx, l.Client, opts) //nolint:errcheck // it ends when the measurement does
	}()
	var first, ready []time.Duration
	for range f.starts {
		start := time.Now()
		o, err := lab.Observe(ctx, f.bin, append(traceArgs(l), "--events", "--count", "1")...)
		if err != nil {
			return err
		}
		if err := o.Wait(); err != nil {
			return err
		}
		at, err := firstEvent(o.Stdout())
		if err != nil {
			return err
		}
		first, ready = append(first, at.Sub(start)), append(ready, o.Startup)
	}
	fmt.Fprintf(e.stdout, "start to ready            %s (median of %d)\n", median(ready), f.starts)
	fmt.Fprintf(e.stdout, "start to first event      %s (median of %d; want < 1s)\n", median(first), f.starts)
	return nil
}

// traceArgs has dnspath watch this lab alone: there may be others on the machine.
func traceArgs(l *lab.Lab) []string {
	args := []string{"trace", "-o", "json"}
	for _, ns := range l.Namespaces() {
		args = append(args, "--netns", ns.Name)
	}
	return args
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2].Round(time.Millisecond)
}

// firstEvent returns the wall clock of the earliest event of an export.
func firstEvent(export []byte) (at time.Time, err error) {
	var offset int64
	err = errors.New("no event in the export")
	for line := range bytes.Lines(export) {
		var r struct {
			Type   string `json:"type"`
			Offset int64  `json:"clock_offset_ns"`
			TNS    int64  `json:"t_ns"`
		}
		if jsonErr := json.Unmarshal(line, &r); jsonErr != nil {
			return at, jsonErr
		}
		switch r.Type {
		case "start":
			offset = r.Offset
		case "event":
			if t := time.Unix(0, offset+r.TNS); err != nil || t.Before(at) {
				at, err = t, nil
			}
		}
	}
	return at, err
}

// benchLoad measures a run under load, against one without dnspath.
func benchLoad(ctx context.Context, e env, l *lab.Lab, f benchFlags) error {
	opts := lab.LoadOptions{Server: lab.Service(), Count: f.count, Rate: f.rate}
	without, err := lab.Load(ctx, l.Client, opts)
	if err != nil {
		return err
	}
	out, err := os.CreateTemp("", "dnspath-bench-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	o, err := lab.ObserveTo(ctx, out, f.bin, traceArgs(l)...)
	if err != nil {
		return err
	}
	with, err := lab.Load(ctx, l.Client, opts)
	if err != nil {
		return err
	}
	memory, err := lab.PeakMemory(o.PID())
	if err != nil {
		return err
	}
	if err := o.Stop(); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "lookups                   sent %d at %.0f/s, answered %d\n", with.Sent, with.Rate, with.Answered)
	if err := writeMissed(e, out); err != nil {
		return err
	}
	cpu := o.ProcessState().UserTime() + o.ProcessState().SystemTime()
	fmt.Fprintf(e.stdout, "peak resident memory      %.1f MiB (want < 64 MiB)\n", float64(memory)/(1<<20))
	fmt.Fprintf(e.stdout, "processor time            %s, %s a lookup, %.0f %% of one core\n", cpu.Round(time.Millisecond),
		(cpu / time.Duration(with.Sent)).Round(time.Microsecond), 100*cpu.Seconds()/with.Elapsed.Seconds())
	fmt.Fprintf(e.stdout, "lookup, median            %s without, %s with: ratio %.2f\n", without.Quantile(0.5), with.Quantile(0.5),
		float64(with.Quantile(0.5))/float64(without.Quantile(0.5)))
	return nil
}

// writeMissed compares what was reported with what was sent.
func writeMissed(e env, out *os.File) error {
	if _, err := out.Seek(0, 0); err != nil {
		return err
	}
	names := map[string]int{}
	var stats render.StatsRecord
	whole, incomplete := 0, 0
	for dec := json.NewDecoder(bufio.NewReader(out)); dec.More(); {
		var line json.RawMessage
		if err := dec.Decode(&line); err != nil {
			return err
		}
		var kind struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(line, &kind); err != nil {
			return err
		}
		switch kind.Type { // records of another share no more than that
		case "lookup":
			var r render.Record
			if err := json.Unmarshal(line, &r); err != nil {
				return err
			}
			names[r.Name]++
			if r.Outcome == "answered" && r.Attempts == 1 && len(r.Legs) == 2 {
				whole++
			}
			if r.Incomplete {
				incomplete++
			}
		case "stats":
			if err := json.Unmarshal(line, &stats); err != nil {
				return err
			}
		}
	}
	split := 0
	for _, n := range names {
		split += n - 1
	}
	fmt.Fprintf(e.stdout, "reported                  %d lookups, %d whole, %d twice, %d incomplete\n", len(names), whole, split, incomplete)
	fmt.Fprintf(e.stdout, "events                    %d, %d a lookup; lost %v\n", stats.Events, stats.Events/max(1, stats.Lookups), stats.Lost)
	return nil
}
