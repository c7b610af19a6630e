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
	if v.Unmade > 0 {
		t.Errorf("%d lookups were not made as planned", v.Unmade)
	}
	// A machine that is too busy costs events: what they belonged to is then
	// missing, or says that it is incomplete, and still nothing is wrong.
	lossless := v.Losses.Total() == 0
	if v.Split+v.Merged+v.Wrong+v.Foreign > 0 || lossless && !v.Good() {
		t.Errorf("of %d lookups %d were missed, %d split, %d merged, %d wrong, %d foreign, %d incomplete; want none",
			v.Lookups, v.Missed, v.Split, v.Merged, v.Wrong, v.Foreign, v.Incomplete)
	}
}
