//go:build e2e

package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// Each finding of the catalogue is named in a lab that makes its failure for
// real, alone, and what it says to do mends it.
func TestFindings(t *testing.T) { testFaults(t, lab.Faults()) }

// Four cases from the field, with more than one thing wrong, or nothing.
func TestCases(t *testing.T) { testFaults(t, lab.Cases()) }

func testFaults(t *testing.T, faults []lab.Fault) {
	t.Helper()
	for _, f := range faults {
		t.Run(f.ID, func(t *testing.T) {
			if !f.NeedsGuest() {
				sameEverywhere(t, "the evidence, where this kernel gives it at all; make findings runs it")
			}
			onGuests(t, lab.OneGuest)
			l, err := f.Raise(t.Context())
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
			checkFault(t, &f, l)
		})
	}
}

// sights are the ways of observing in which a fault must be named here.
func sights(t *testing.T, f *lab.Fault) map[string][]string {
	t.Helper()
	ways := map[string][]string{}
	if f.Needs == lab.SightTracepoints || f.Needs == lab.SightHooks && attached(t, "nf_enter") { // by links, which are no probes
		ways["passive"] = []string{"--passive"}
	}
	if f.Needs <= lab.SightHooks && seesHooks(t) || attached(t, "nf_hook_slow") {
		ways["all"] = nil
	}
	if len(ways) == 0 {
		t.Skip("this kernel lets too little be seen")
	}
	return ways
}

func checkFault(t *testing.T, f *lab.Fault, l *lab.Lab) {
	t.Helper()
	const name = "broken.example.test."
	watching := map[string]*lab.Observer{} // both at once: it takes half the time
	for way, flags := range sights(t, f) {
		watching[way] = observe(t, slices.Concat(f.Watched(l), flags, []string{"--timeout", lab.ToolTimeout().String()})...)
	}
	if f.With != nil {
		if err := f.With(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	if err := f.Fails(t.Context(), l, name); err != nil {
		t.Fatal(err)
	}
	if lab.Slowness() > 1 { // servers, which know nothing of it, have asked upstream again meanwhile
		begin = time.Now()
	}
	time.Sleep(time.Until(begin.Add(lab.ToolTimeout() * 5 / 4))) // or a lookup that nobody answers is not over
	for way, o := range watching {
		t.Run(way, func(t *testing.T) { checkFindings(t, f, endWrong(t, o), name) })
	}
	if f.Mend == nil {
		return
	}
	if err := f.Mend(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if err := f.Works(t.Context(), l, "mended.example.test."); err != nil {
		t.Errorf("what mends it does not: %v", err)
	}
}

// checkFindings checks that the lookups for a name have the fault's finding, and
// no other.
func checkFindings(t *testing.T, f *lab.Fault, x export, name string) {
	t.Helper()
	var named []string
	for _, r := range x.lookups {
		if !strings.Contains(r.Name, strings.TrimSuffix(name, "example.test.")) && r.Name != "" { // names below it too
			continue
		}
		for _, found := range r.Findings {
			t.Logf("%s %s: %s: %s (%s)\n\t%s\n\tmend: %s", r.Name, r.Outcome, found.ID, found.Summary, found.Confidence,
				strings.Join(found.Evidence, "\n\t"), strings.Join(found.Mend, "\n\tmend: "))
			if !slices.Contains(named, found.ID) {
				named = append(named, found.ID)
			}
			checkFinding(t, &found)
		}
	}
	named = slices.DeleteFunc(named, func(id string) bool { return slices.Contains(f.May, id) })
	want := slices.Clone(f.Wanted())
	slices.Sort(named)
	slices.Sort(want)
	if !slices.Equal(named, want) {
		t.Errorf("findings are %q, want %q alone; events lost: %v, of lookups %d", named, want, x.stats.Lost, x.stats.Cut)
		for _, r := range x.lookups {
			for i := range r.Legs {
				t.Logf("%s %s %s %q: %s\n\t%s", r.Name, r.Outcome, r.Detail, r.Why, r.Legs[i].Direction, strings.Join(way(r, i), "\n\t"))
			}
		}
	}
}

// checkFinding checks what every finding has.
func checkFinding(t *testing.T, f *render.Finding) {
	t.Helper()
	if f.Summary == "" || f.Confidence == "" || len(f.Evidence) == 0 {
		t.Errorf("finding %s lacks a summary, its confidence or evidence: %+v", f.ID, f)
	}
	if len(f.Mend) == 0 {
		t.Errorf("finding %s does not say what mends it", f.ID)
	}
}
