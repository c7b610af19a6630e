package main

import "runtime/debug"

// What the collector may let be allocated before it runs again: a quarter of what
// is in use and of heapFloor together.
const (
	heapGrowth = 25 // per cent
	heapFloor  = 32 << 20
)

// steadyHeap keeps the collector from running all the time: by a percentage alone
// it does whenever a few megabytes were allocated, for not many more are in use at
// one time, and a busy resolver makes us allocate hundreds a second. What it
// returns counts as in use till it is let go, and is never touched: it takes no
// memory. (debug.SetMemoryLimit sets a ceiling, above which the collector never
// ends, not a floor.)
func steadyHeap() []byte {
	debug.SetGCPercent(heapGrowth)
	return make([]byte, heapFloor)
}
