package main

import (
	"fmt"

	"github.com/dnspath/dnspath/internal/rules"
	"github.com/dnspath/dnspath/tracer"
)

// explainer says which rule rewrote or dropped a packet, in the lookup itself.
// Only the goroutine that writes calls it: it may take its time.
type explainer interface {
	Explain(l *tracer.Lookup)
}

// noExplainer leaves lookups as they are.
type noExplainer struct{}

// Explain does nothing.
func (noExplainer) Explain(*tracer.Lookup) {}

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

func newExplainer(e *env, mode string, t *tracer.Tracer) explainer {
	if mode == rulesOff {
		return noExplainer{}
	}
	path := func(inode uint32) string {
		ns, _ := t.Names().NetNS(inode)
		return ns.Path
	}
	return rules.NewExplainer(rules.NewReader(path), func(inode uint32, err error) {
		ns, _ := t.Names().NetNS(inode)
		fmt.Fprintf(e.stderr, "dnspath: rules of %q are not named: %s\n", ns.Name, oneLine(err))
	})
}
