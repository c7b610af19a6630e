package diagnose

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// Case is a lookup that has ended, and what is known besides it.
type Case struct {
	*tracer.Lookup
	story   []*tracer.Lookup // that it is part of, itself included
	node    Node
	history *history
	unread  []string // what the rule that is asked could not read, and why
	gaps    []string // the same, of rules that found nothing
}

// Failed reports whether the lookup ended without an answer for its client.
func (c *Case) Failed() bool {
	return c.Outcome != tracer.OutcomeAnswered && c.Outcome != tracer.OutcomeIncomplete
}

// NetNS returns the configuration of a namespace.
func (c *Case) NetNS(inode uint32) NetNS { return c.node.NetNS(inode) }

// Linked yields the lookups of the story that are tied to the case's, in order.
// Those after it have their findings by now.
func (c *Case) Linked(kind tracer.LinkKind) iter.Seq[*tracer.Lookup] {
	return func(yield func(*tracer.Lookup) bool) {
		for _, l := range c.story {
			is := func(k tracer.Link) bool { return k.Kind == kind && k.Ref == l.Ref() }
			if slices.ContainsFunc(c.Links, is) && !yield(l) {
				return
			}
		}
	}
}

// Hops yields all hops with their legs.
func (c *Case) Hops() iter.Seq2[*tracer.Leg, *tracer.Hop] {
	return func(yield func(*tracer.Leg, *tracer.Hop) bool) {
		for i := range c.Legs {
			leg := &c.Legs[i]
			for j := range leg.Hops {
				if !yield(leg, &leg.Hops[j]) {
					return
				}
			}
		}
	}
}

// Drops yields the drops of the lookup's packets, those of ICMP errors left out.
func (c *Case) Drops() iter.Seq2[*tracer.Leg, *tracer.Hop] {
	return func(yield func(*tracer.Leg, *tracer.Hop) bool) {
		for leg, h := range c.Hops() {
			if h.Drop != nil && leg.Error == nil && !yield(leg, h) {
				return
			}
		}
	}
}

// last returns the last hop that was seen of the packet that came farthest, and
// its leg; nil if nothing was seen.
func (c *Case) last() (leg *tracer.Leg, last *tracer.Hop) {
	for l, h := range c.Hops() {
		if l.Error == nil && (last == nil || h.Time >= last.Time) {
			leg, last = l, h
		}
	}
	return leg, last
}

// read reads a part of the configuration. If that can't be, it notes why, as
// evidence that is missing, and reports false. What the kernel does not have is
// not missing.
func read[T any](c *Case, ns NetNS, what string, get func() (T, error)) (value T, ok bool) {
	value, err := get()
	if err == nil {
		return value, true
	}
	if !errors.Is(err, fs.ErrNotExist) {
		c.unread = append(c.unread, fmt.Sprintf("%s of %s: %v", what, ns.Name(), err))
	}
	return value, false
}

// reason returns why a packet was dropped, as the kernel spells it, or as later
// kernels do; empty if that can't be told.
func reason(h *tracer.Hop) string {
	if h.Drop.Reason != "" {
		return h.Drop.Reason
	}
	return h.Drop.Inferred
}

// unsaid reports whether the kernel gave no reason for a drop: the function that
// dropped it has to tell.
func unsaid(h *tracer.Hop) bool { return reason(h) == "" || reason(h) == "NOT_SPECIFIED" }

// At says where a hop is: "tx eth0 in node-a".
func (c *Case) At(h *tracer.Hop) string {
	parts := []string{h.Name}
	switch {
	case h.Hook != "" && h.Drop == nil:
		parts = append(parts, string(h.Hook))
	case h.Dev != "":
		parts = append(parts, h.Dev)
	}
	if h.NetNS != 0 {
		parts = append(parts, "in", c.NetNS(h.NetNS).Name())
	}
	return strings.Join(parts, " ")
}

// legName says which packet a leg is the way of.
func legName(leg *tracer.Leg) string {
	switch {
	case leg.Segment != "" && leg.Segment != "data":
		return leg.Segment
	case leg.Response:
		return "reply"
	}
	return "query"
}
