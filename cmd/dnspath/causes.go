package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/internal/render"
)

// Bounds of a summary's causes: those told apart, and those listed.
const (
	maxCauses   = 256
	causesShown = 8
)

// causes counts findings. Those that the same command mends are one cause.
type causes struct {
	byKey map[causeKey]*cause
	more  uint64 // findings of causes beyond maxCauses
}

type causeKey struct{ id, mend string }

// cause is one, as it was found last.
type cause struct {
	render.Finding

	count uint64
}

func newCauses() causes { return causes{byKey: map[causeKey]*cause{}} }

func (c *causes) add(f *render.Finding) {
	key := causeKey{id: f.ID}
	if len(f.Mend) > 0 {
		key.mend = f.Mend[0]
	}
	known := c.byKey[key]
	if known == nil {
		if len(c.byKey) == maxCauses {
			c.more++
			return
		}
		known = &cause{}
		c.byKey[key] = known
	}
	known.Finding = *f
	known.count++
}

// write lists the most frequent causes, each with what mends it.
func (c *causes) write(w io.Writer) {
	list := make([]*cause, 0, len(c.byKey))
	for _, one := range c.byKey {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b *cause) int {
		return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.ID, b.ID), strings.Compare(a.Summary, b.Summary))
	})
	rest := c.more
	for i, one := range list {
		if i >= causesShown {
			rest += one.count
			continue
		}
		fmt.Fprintf(w, "dnspath: %d × %s: %s (%s)\n", one.count, one.ID, render.Printable(one.Summary), one.Confidence)
		if len(one.Mend) > 0 {
			fmt.Fprintf(w, "dnspath:     mend: %s\n", render.Printable(one.Mend[0]))
		}
	}
	if rest > 0 {
		fmt.Fprintf(w, "dnspath: and %d more findings, of rarer causes\n", rest)
	}
}
