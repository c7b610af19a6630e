package main

import (
	"fmt"
	"time"

	"github.com/dnspath/dnspath/internal/rules"
	"github.com/dnspath/dnspath/tracer"
)

// explainer says which rule rewrote or dropped a packet, in the lookup itself.
// Only the goroutine that writes calls Explain: it may take its time.
type explainer interface {
	Event(e *tracer.Event) // never blocks
	Explain(l *tracer.Lookup)
	Close()
}

// noExplainer leaves lookups as they are.
type noExplainer struct{}

// All of its methods do nothing.
func (noExplainer) Event(*tracer.Event)    {}
func (noExplainer) Explain(*tracer.Lookup) {}
func (noExplainer) Close()                 {}

// inferrer infers from rules as they were soon after the event.
type inferrer struct {
	*rules.Watch
	*rules.Explainer
}

// Values of --rules. What exact does not tell is inferred.
const (
	rulesInferred = "inferred"
	rulesExact    = "exact"
	rulesOff      = "off"
)

func (f *traceFlags) checkRules() error {
	switch {
	case f.rules == rulesExact && f.observe.passive:
		return usagef("--passive promises tracepoints alone: it does not go with --rules exact")
	case f.rules == rulesInferred, f.rules == rulesExact, f.rules == rulesOff:
		return nil
	}
	return usagef("--rules: %q is none of inferred, exact, off", f.rules)
}

// showWithin is how long after a lookup's time is up it may be shown. It may have
// been held back for more than twice its time, until its story had ended.
const showWithin = 2 * time.Second

// keep is how long what was read of the node is kept, to explain what happened
// then.
func (f *traceFlags) keep() time.Duration { return 4*f.timeout + showWithin }

// newRules returns what reads rules, or nil if they are not to be read.
func newRules(f *traceFlags, t *tracer.Tracer) *rules.Reader {
	if f.rules == rulesOff {
		return nil
	}
	path := func(inode uint32) string {
		ns, _ := t.Names().NetNS(inode)
		return ns.Path
	}
	return rules.NewReader(path, f.keep())
}

func newExplainer(e *env, r *rules.Reader, t *tracer.Tracer) explainer {
	if r == nil {
		return noExplainer{}
	}
	return inferrer{rules.NewWatch(r), rules.NewExplainer(r, func(inode uint32, err error) {
		ns, _ := t.Names().NetNS(inode)
		fmt.Fprintf(e.stderr, "dnspath: rules of %q are not named: %s\n", ns.Name, oneLine(err))
	})}
}
