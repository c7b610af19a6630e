//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// stamped is output, with the time at which each line of it came.
type stamped struct {
	mu    sync.Mutex
	rest  []byte
	lines [][]byte
	times []time.Time
}

// Write takes a part of the output.
func (s *stamped) Write(p []byte) (int, error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, p...)
	for {
		line, rest, whole := bytes.Cut(s.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		s.lines, s.times = append(s.lines, bytes.Clone(line)), append(s.times, now)
		s.rest = rest
	}
}

// TestVerdictTime has a thousand lookups a second fail, and prints how soon after
// its time was up each is on the screen, with its cause.
func TestVerdictTime(t *testing.T) {
	sameEverywhere(t, "measured on this machine")
	const timeout = 2 * time.Second
	count, rate := lab.Share(5000), lab.Share(1000)
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	if err := l.NodeA.IPTables(t.Context(), strings.Fields("-I FORWARD -p udp --dport 53 -j DROP")...); err != nil {
		t.Fatal(err)
	}
	out := &stamped{}
	o, err := lab.ObserveTo(t.Context(), out, bin, slices.Concat([]string{"trace", "-o", "json", "--timeout", timeout.String()}, labOnly(l))...)
	if err != nil {
		t.Fatal(err)
	}
	// until all have been told
	res, err := lab.Load(t.Context(), l.Client, lab.LoadOptions{Server: lab.Service(), Count: count, Rate: rate, Timeout: 2 * timeout})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Stop(); err != nil {
		t.Fatalf("tool: %v: %s", err, o.Stderr())
	}
	checkVerdictTimes(t, out, res.Sent, timeout+timeout/10) // a tenth is for what is late
}

// checkVerdictTimes checks when lookups were told whose time was up after some
// time, and that each has its cause.
func checkVerdictTimes(t *testing.T, out *stamped, sent int, up time.Duration) {
	t.Helper()
	var took []time.Duration
	causes := map[string]int{}
	for i, line := range out.lines {
		if !bytes.HasPrefix(line, []byte(`{"type":"lookup"`)) {
			continue
		}
		var r render.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		took = append(took, out.times[i].Sub(r.Time.Add(up)))
		for _, f := range r.Findings {
			causes[f.ID]++
		}
	}
	if len(took) == 0 {
		t.Fatal("no lookup was told")
	}
	slices.Sort(took)
	at := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))].Round(time.Millisecond) }
	t.Logf("%d of %d lookups told, with causes %v; after their time was up: half of them within %v, 99 of 100 within %v, all within %v",
		len(took), sent, causes, at(0.5), at(0.99), at(1))
	if len(took) < sent*99/100 || causes["policy-drop"] < sent*99/100 {
		t.Errorf("%d of %d were told, with causes %v", len(took), sent, causes)
	}
	if limit := lab.Patience(200 * time.Millisecond); at(0.5) > limit {
		t.Errorf("half of the verdicts came later than %v, want them within %v", at(0.5), limit)
	}
}
