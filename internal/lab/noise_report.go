package lab

import (
	"fmt"
	"io"
	"strings"
)

// KindBlame counts what was said of one kind of lookups.
type KindBlame struct {
	Lookups  int
	Told     int            // of them, by dnspath
	Blamed   int            // of them, that have a finding
	Findings map[string]int // by ID
	Wrong    int            // findings
}

// Blame is what dnspath blamed in noisy runs.
type Blame struct {
	Kinds     map[string]*KindBlame
	Silent    int // lookups that failed, of which nothing is said
	Unclear   int // lookups of which dnspath says that it missed events
	Strangers int // records of no lookup that was made, or second ones
	Disturbed int // lookups during which this machine stood still: they may be slow, and given up
	Missed    int // lookups of which there is no record
	Losses    MixedLosses
	Faults    []string // the first ten
}

// NewBlame returns one that counts from 0.
func NewBlame() *Blame {
	b := &Blame{Kinds: map[string]*KindBlame{}}
	for _, kind := range NoiseKinds() {
		b.Kinds[kind] = &KindBlame{Findings: map[string]int{}}
	}
	return b
}

func (b *Blame) kind(kind string) *KindBlame { return b.Kinds[kind] }

// record counts what is said of a lookup, of which some findings may be true.
func (b *Blame) record(kind string, l *MixedLookup, r *mixedRecord, may []string) {
	k := b.kind(kind)
	if len(r.Findings) > 0 {
		k.Blamed++
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		k.Findings[f.ID]++
		if why := wrongFinding(f, may); why != "" {
			k.Wrong++
			b.fault("%s: %s\n    of %v\n    told as %v\n      %s\n      %s", f.ID, why, l, r, f.Summary, strings.Join(f.Evidence, "\n      "))
		}
	}
	switch {
	case r.Incomplete:
		b.Unclear++
	case r.Outcome != "answered" && len(r.Findings) == 0:
		b.Silent++
		b.fault("nothing is said\n    of %v\n    told as %v", l, r)
	}
}

func (b *Blame) fault(format string, args ...any) {
	if len(b.Faults) < 10 {
		b.Faults = append(b.Faults, fmt.Sprintf(format, args...))
	}
}

// Total counts all kinds together.
func (b *Blame) Total() *KindBlame {
	total := &KindBlame{Findings: map[string]int{}}
	for _, kind := range NoiseKinds() {
		total.add(b.kind(kind))
	}
	return total
}

func (k *KindBlame) add(o *KindBlame) {
	k.Lookups += o.Lookups
	k.Told += o.Told
	k.Blamed += o.Blamed
	k.Wrong += o.Wrong
	k.Findings = addCounts(k.Findings, o.Findings)
}

// Add adds what was blamed in another run.
func (b *Blame) Add(o *Blame) {
	for kind, k := range o.Kinds {
		b.kind(kind).add(k)
	}
	b.Silent += o.Silent
	b.Unclear += o.Unclear
	b.Strangers += o.Strangers
	b.Missed += o.Missed
	b.Disturbed += o.Disturbed
	b.Faults = append(b.Faults, o.Faults[:min(len(o.Faults), 10-min(len(b.Faults), 10))]...)
}

// Good reports whether no finding is wrong, and each failed lookup has one. Where
// more than one of a hundred lookups was missed, that says nothing.
func (b *Blame) Good() bool {
	total := b.Total()
	return total.Wrong == 0 && b.Silent == 0 && b.Missed <= total.Lookups/100
}

// Write prints a line for each kind, and what is wrong.
func (b *Blame) Write(w io.Writer) error {
	var s strings.Builder
	fmt.Fprintf(&s, "%-24s %8s %8s %8s %6s  %s\n", "lookups", "made", "told", "findings", "wrong", "which")
	for _, kind := range NoiseKinds() {
		s.WriteString(b.kind(kind).row(kind))
	}
	s.WriteString(b.Total().row("all"))
	fmt.Fprintf(&s, "%d missed, %d told twice or of nobody's, %d incomplete, %d while this machine stood still\n", b.Missed, b.Strangers, b.Unclear, b.Disturbed)
	for _, fault := range b.Faults {
		fmt.Fprintf(&s, "  %s\n", fault)
	}
	_, err := io.WriteString(w, s.String())
	return err
}

func (k *KindBlame) row(name string) string {
	n := 0
	for _, count := range k.Findings {
		n += count
	}
	return fmt.Sprintf("%-24s %8d %8d %8d %6d  %s\n", name, k.Lookups, k.Told, n, k.Wrong, tally(k.Findings))
}

// Write prints what was blamed in a topology, in a line, and what is wrong.
func (r *NoiseResult) Write(w io.Writer) error {
	var s strings.Builder
	total := r.Blame.Total()
	seen := "both nodes"
	if r.Run.OneNode {
		seen = NodeA
	}
	fmt.Fprintf(&s, "%s; loss: %s", r.Topology, r.Run.Loss)
	if r.Frames > 0 {
		fmt.Fprintf(&s, " (%d of %d)", r.Lost, r.Frames)
	}
	fmt.Fprintf(&s, "; seen: %s\n", seen)
	fmt.Fprintf(&s, "  %d lookups, %d told, %d missed, %d unclear, %d strangers, %d disturbed, losses of dnspath %d; %d wrong of %s\n",
		total.Lookups, total.Told, r.Blame.Missed, r.Blame.Unclear, r.Blame.Strangers, r.Blame.Disturbed, r.Blame.Losses.Total(), total.Wrong, tally(total.Findings))
	for _, fault := range r.Blame.Faults {
		fmt.Fprintf(&s, "  %s\n", fault)
	}
	_, err := io.WriteString(w, s.String())
	return err
}
