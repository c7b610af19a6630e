package main

import (
	"github.com/dnspath/dnspath/internal/names"
	"github.com/dnspath/dnspath/internal/nodestate"
	"github.com/dnspath/dnspath/internal/rules"
	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

// newDiagnoser returns what says why lookups of this node failed. Only the
// goroutine that writes uses it: it may take its time.
func newDiagnoser(f *traceFlags, r *rules.Reader, t *tracer.Tracer) *diagnose.Diagnoser {
	name := func(inode uint32) names.NetNS {
		ns, _ := t.Names().NetNS(inode)
		return ns
	}
	return diagnose.New(nodestate.NewReader(nodestate.Options{Names: name, All: t.Names().All, Rules: r, Ports: f.ports}))
}
