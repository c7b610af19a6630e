package main

// heapFloor is how much the collector takes to be in use, in bytes, beyond what is.
const heapFloor = 16 << 20

// raiseHeap keeps the collector from running all the time: by its percentage alone
// it does whenever a few megabytes were allocated, for not many more are in use at
// one time, and a busy resolver makes us allocate hundreds a second. What it
// returns counts as in use till it is let go, and is never touched: it takes no
// memory. SetMemoryLimit would be no floor but a ceiling, above which the
// collector never ends.
func raiseHeap() []byte { return make([]byte, heapFloor) }
