package main

import (
	"github.com/dnspath/dnspath/internal/names"
	"github.com/dnspath/dnspath/internal/nodestate"
	"github.com/dnspath/dnspath/internal/rules"
	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

// doctor says why lookups of this node failed. Only the goroutine that writes
// calls Diagnose: it may take its time.
type doctor struct {
	*diagnose.Diagnoser
	*nodestate.Watch
}

// newDoctor returns one that watches the node. The caller closes it.
func newDoctor(f *traceFlags, r *rules.Reader, t *tracer.Tracer) doctor {
	name := func(inode uint32) names.NetNS {
		ns, _ := t.Names().NetNS(inode)
		return ns
	}
	reader := nodestate.NewReader(nodestate.Options{Names: name, All: t.Names().All, Rules: r, Wall: t.Wall, Ports: f.ports})
	return doctor{diagnose.New(reader), nodestate.NewWatch(reader, f.keep())}
}
