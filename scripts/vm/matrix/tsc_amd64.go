package main

import (
	"slices"
	"sync"
	"time"
)

// rdtsc reads the processor's time-stamp counter.
func rdtsc() uint64

// hostTSC returns the frequency of this machine's time-stamp counter in kHz.
// Under emulation a guest's counter is the host's. A guest measures it when it
// boots, and has been seen to find a tenth of it while the host was busy: its
// clock then ran ten times too fast, and every time limit was over at once. So
// the guests are told.
var hostTSC = sync.OnceValue(func() uint64 {
	var khz []uint64
	for range 5 {
		begin, ticks := time.Now(), rdtsc()
		time.Sleep(20 * time.Millisecond)
		took, passed := time.Since(begin), rdtsc()-ticks
		khz = append(khz, passed*uint64(time.Millisecond)/uint64(took))
	}
	slices.Sort(khz)
	return khz[len(khz)/2] // between the two clocks another process may have had its turn
})
