// Package tracer follows DNS lookups through a Linux node, packet by packet.
//
// The way of the data: a Tracer reads records from internal/kernel, Decode
// makes an Event of each, a Correlator puts the events of one lookup together
// and, when it has ended, hands out a Lookup: its legs, their hops, its
// outcome. All but Tracer is pure: no clock, no environment, no goroutine, no
// privilege; recorded events give the same lookups again.
package tracer
