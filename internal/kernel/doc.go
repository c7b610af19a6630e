// Package kernel is all of dnspath that needs privilege: it chooses for each
// hop the probe that this kernel allows, loads and attaches the programs of
// package gen, reads their events, counts what was lost, and turns the
// kernel's numbers (drop reasons, code addresses) into names.
//
// It knows nothing of lookups: what it returns are the records of the wire
// contract (gen.DnspathEvent and the captured bytes).
package kernel
