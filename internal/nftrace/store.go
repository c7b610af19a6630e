package nftrace

import (
	"cmp"
	"slices"
)

// maxSteps bounds the steps that are kept, some 20 MiB.
const maxSteps = 1 << 16

// store keeps the newest steps, and finds those of a lookup.
type store struct {
	ring  []*kept
	next  int    // where the oldest is, once the ring is full
	all   uint64 // that ever were
	byKey map[Key][]*kept
}

// kept is a step and where its rule's text will be.
type kept struct {
	step Step
	rule *rule  // nil of a policy
	n    uint64 // of the store: which it is of all
}

// rule is what is known of a rule beyond its handle.
type rule struct {
	ruleFacts
	text string
}

func (s *store) add(k *kept) {
	if s.byKey == nil {
		s.byKey = map[Key][]*kept{}
	}
	k.n = s.all
	s.all++
	if len(s.ring) < maxSteps {
		s.ring = append(s.ring, k)
	} else {
		s.drop(s.ring[s.next])
		s.ring[s.next] = k
		s.next = (s.next + 1) % maxSteps
	}
	for _, key := range k.step.keys() {
		s.byKey[key] = append(s.byKey[key], k)
	}
}

// drop takes the oldest step out of its lists, where it is the first.
func (s *store) drop(k *kept) {
	for _, key := range k.step.keys() {
		s.byKey[key] = s.byKey[key][1:]
		if len(s.byKey[key]) == 0 {
			delete(s.byKey, key)
		}
	}
}

// find returns the steps of some keys, in the order in which they were read.
func (s *store) find(keys []Key) []Step {
	var found []*kept
	for _, key := range keys {
		found = append(found, s.byKey[key]...)
	}
	if len(keys) > 1 {
		slices.SortFunc(found, func(a, b *kept) int { return cmp.Compare(a.n, b.n) })
		found = slices.Compact(found)
	}
	var steps []Step
	for _, k := range found {
		step := k.step
		if k.rule != nil {
			step.Text, step.Comment, step.NAT = k.rule.text, k.rule.comment, k.rule.nat
		}
		steps = append(steps, step)
	}
	return steps
}
