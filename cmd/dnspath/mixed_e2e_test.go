//go:build e2e

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
)

// Lookups of every kind: each is told once, with what its client knows of it.
func TestMixed(t *testing.T) {
	sameEverywhere(t, "counted on this machine")
	l, err := lab.New(t.Context(), lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	if errors.Is(err, lab.ErrNotSupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	if err := lab.PrepareMixed(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	res, err := lab.ObserveMixed(t.Context(), l, lab.MixedRun{
		Lookups: lab.MixedOptions{Count: lab.Share(2000), Rate: lab.Share(400), TCP: 0.2, Seed: 1},
		Bin:     bin, ToolTimeout: lab.Patience(2 * time.Second),
		// room for half of all events: on a busy machine the tool may lag behind the lookups
		Args: []string{"--ring-size", "64M"},
	})
	if err != nil {
		t.Fatal(err)
	}
	v := lab.JudgeMixed(res.Log, res.Export)
	var b strings.Builder
	if err := v.Write(&b); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", b.String())
	// A machine that stands still makes connections time out of themselves, and what
	// was to follow on them is not made.
	if v.Unmade > v.Lookups/100 {
		t.Errorf("%d of %d lookups were not made as planned", v.Unmade, v.Lookups)
	}
	if !v.Good() {
		t.Errorf("of %d lookups %d were missed, %d split, %d merged, %d wrong, %d foreign, %d incomplete, %d blamed, and %d losses; want none",
			v.Lookups, v.Missed, v.Split, v.Merged, v.Wrong, v.Foreign, v.Incomplete, v.Blamed, v.Losses.Total())
	}
}
