package tracer

import (
	"runtime"
	"slices"
	"testing"
)

// alone copies an event with all that it refers to, as each comes from the kernel.
func alone(e *Event) *Event {
	c := *e
	c.Captured = slices.Clone(e.Captured)
	if e.CT != nil {
		ct := *e.CT
		c.CT = &ct
	}
	if e.Tunnel != nil {
		tunnel := *e.Tunnel
		c.Tunnel = &tunnel
	}
	if e.Freed != nil {
		freed := *e.Freed
		c.Freed = &freed
	}
	return &c
}

// TestSize compares the estimate with what lookups take on the heap.
func TestSize(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(*scene)
	}{
		{"answered", func(s *scene) { s.whole(s.ask()) }},
		{"lost", func(s *scene) { s.ask().tx(podEth0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene()
			c.make(s)
			const many = 200
			done := make([]*Lookup, 0, many)
			before := heap()
			for range many {
				events := make([]*Event, len(s.events))
				for i, e := range s.events {
					events[i] = alone(e)
				}
				done = append(done, correlate(t, CorrelatorOptions{}, events)...)
			}
			took := float64(heap()-before) / many
			if len(done) != many {
				t.Fatalf("%d lookups, want %d", len(done), many)
			}
			estimate := float64(done[0].Size())
			hops := 0
			for _, leg := range done[0].Legs {
				hops += len(leg.Hops)
			}
			t.Logf("%d hops: estimated %.0f bytes, took %.0f", hops, estimate, took)
			if estimate < 0.7*took || estimate > 1.5*took {
				t.Errorf("estimated %.0f bytes, took %.0f", estimate, took)
			}
			runtime.KeepAlive(done)
		})
	}
}
