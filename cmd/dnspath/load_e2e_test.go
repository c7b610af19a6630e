//go:build e2e

package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// underLoad runs a tool while lookups go to the service on the other node.
func underLoad(t *testing.T, count, rate int, args ...string) (lab.LoadResult, export) {
	t.Helper()
	l, err := lab.New(t.Context(), lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	if _, err := lab.StartDNS(l.DNSB, lab.DNSOptions{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	ask(t, l.Client, lab.Service(), "warm.example.test.", nil)
	// patient, both: a machine that is busy with other things answers late
	o, err := lab.Observe(t.Context(), bin, slices.Concat([]string{"trace", "-o", "json", "--timeout", "10s"}, labOnly(l), args)...)
	if err != nil {
		t.Fatal(err)
	}
	res, err := lab.Load(t.Context(), l.Client, lab.LoadOptions{Server: lab.Service(), Count: count, Rate: rate, Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	x := end(t, o)
	t.Logf("%d lookups sent at %.0f/s, %d answered, %d lost; half of them within %s, 99 of 100 within %s",
		res.Sent, res.Rate, res.Answered, res.Lost, res.Quantile(0.5), res.Quantile(0.99))
	t.Logf("tool: %d lookups %v, %d events, lost %v, %d late, %d stragglers, %d evicted, %d cut, %d unwritten",
		x.stats.Lookups, x.stats.Outcomes, x.stats.Events, x.stats.Lost, x.stats.Late, x.stats.Stragglers,
		x.stats.Evicted, x.stats.Cut, x.stats.Unwritten)
	if len(x.lookups) != int(sum(x.stats.Outcomes)-x.stats.Unwritten) {
		t.Errorf("%d lookups were written, the stats count %d", len(x.lookups), sum(x.stats.Outcomes))
	}
	return res, x
}

func sum(counts map[string]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// Thousands of lookups: each is told once, whole, and all take the same way.
func TestLoad(t *testing.T) {
	const count = 10000
	res, x := underLoad(t, count, 2000)
	lost := sum(x.stats.Lost) + x.stats.Undecodable + x.stats.Cut + x.stats.Evicted + x.stats.Unwritten
	unanswered := map[string]bool{} // a busy machine's sockets overflow
	for _, name := range res.LostNames {
		unanswered[name] = true
	}
	seen := map[string]int{}
	for _, r := range x.lookups {
		seen[r.Name]++
	}
	faults := map[string]int{} // by kind, so that thousands of the same make one line
	example := map[string]string{}
	fault := func(name, kind string) {
		faults[kind]++
		example[kind] = name
	}
	for n := range count {
		name := lab.LoadName(n)
		if k := seen[name]; k > 1 || k == 0 && lost == 0 {
			fault(name, fmt.Sprintf("told %d times", k))
		}
	}
	if missing := uint64(count - min(count, len(seen))); missing*uint64(len(remoteQuery)+len(remoteReply)) > lost {
		t.Errorf("%d lookups are missing, each made an event or more at each hop; only %d events and records are counted as lost", missing, lost)
	}
	if len(seen) > count {
		t.Errorf("%d different names, %d were asked for", len(seen), count)
	}
	for _, r := range x.lookups {
		if r.Incomplete && lost > 0 || unanswered[r.Name] {
			continue // it says so; and there is nothing to compare it with
		}
		for _, kind := range loadFaults(r) {
			fault(r.Name, kind)
		}
	}
	for kind, n := range faults {
		t.Errorf("%d lookups: %s; %s for one", n, kind, example[kind])
	}
}

// Lookups of several clients at one time, all with the same ID and length, as
// some clients always use one ID, are as many lookups.
func TestSameID(t *testing.T) {
	const clients, each = 8, 40
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	ask(t, l.Client, lab.Service(), "warm.example.test.", nil)
	o := observe(t, append(labOnly(l), "--name", "*-same.example.test.")...)
	var running sync.WaitGroup
	for c := range clients {
		running.Go(func() {
			for i := range each {
				name := fmt.Sprintf("%d-%02d-same.example.test.", c, i)
				if _, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: lab.Service(), Name: name, ID: 7}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	x := end(t, o)
	if lost := sum(x.stats.Lost); lost > 0 {
		t.Fatalf("%d events were lost in a small test", lost)
	}
	if len(x.lookups) != clients*each {
		t.Errorf("%d lookups, want %d", len(x.lookups), clients*each)
	}
	for _, r := range x.lookups {
		for _, fault := range loadFaults(r) {
			t.Errorf("%s: %s", r.Name, fault)
		}
	}
}

// loadFaults says what of a lookup is not as it should be.
func loadFaults(r *render.Record) (faults []string) {
	if r.Outcome != "answered" || r.Rcode != "NOERROR" || r.Incomplete {
		faults = append(faults, fmt.Sprintf("%s %s %s, incomplete %v %q", r.Outcome, r.Rcode, r.Detail, r.Incomplete, r.Why))
	}
	if r.Attempts != 1 || len(r.Legs) != 2 || r.Legs[0].Direction != "query" || r.Legs[1].Direction != "reply" {
		var legs []string
		for _, leg := range r.Legs {
			legs = append(legs, leg.Direction)
		}
		return append(faults, fmt.Sprintf("%d attempts, legs %q", r.Attempts, legs))
	}
	for i, want := range [][]string{remoteQuery, remoteReply} {
		got := way(r, i)
		if slices.Equal(got, want[:len(want)-1]) {
			continue // since 6.18 a CPU may queue to a socket what another has received: that is not seen
		}
		if !slices.Equal(got, want) {
			faults = append(faults, fmt.Sprintf("%s by %s", r.Legs[i].Direction, difference(want, got)))
		}
	}
	return faults
}

// difference names the hops that are missing, and those that are too many.
func difference(want, got []string) string {
	count := map[string]int{}
	for _, h := range want {
		count[h]--
	}
	for _, h := range got {
		count[h]++
	}
	var parts []string
	for _, h := range slices.Concat(want, got) {
		if n := count[h]; n != 0 {
			parts = append(parts, fmt.Sprintf("%+d %s", n, h))
			count[h] = 0
		}
	}
	if len(parts) == 0 {
		return "another order"
	}
	return strings.Join(parts, ", ")
}

// Where the kernel's buffer overflows, the loss is counted and nothing is made
// of what was not seen.
func TestTinyRing(t *testing.T) {
	res, x := underLoad(t, 2000, 2000, "--ring-size", "4K")
	if x.stats.Lost["ring_full"] == 0 {
		t.Fatal("nothing was lost: this buffer was meant to be too small")
	}
	if res.Answered < res.Sent {
		t.Skipf("the lab answered %d of %d lookups: what the tool says of the others may be right", res.Answered, res.Sent)
	}
	wrong, answered := map[string]int{}, 0
	for _, r := range x.lookups {
		switch {
		case r.Outcome == "answered" && (r.Incomplete || len(loadFaults(r)) == 0):
			answered++
		case r.Outcome != "incomplete" || !r.Incomplete || len(r.Why) == 0:
			wrong[fmt.Sprintf("%s, %s, incomplete %v %q", r.Outcome, r.Detail, r.Incomplete, r.Why)]++
		}
	}
	for what, n := range wrong {
		t.Errorf("%d lookups are %s; want incomplete: they were answered, but not all of it was seen", n, what)
	}
	if answered > res.Answered {
		t.Errorf("%d lookups were answered, the tool tells of %d", res.Answered, answered)
	}
}
