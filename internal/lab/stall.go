package lab

import (
	"sync"
	"time"
)

// stillness is from when on this process is said to have stood still: who waits on
// a busy machine is let run again later than that seldom.
const stillness = 50 * time.Millisecond

// stallWatch notes when this process stands still, and with it the clients, servers
// and wires of its labs.
type stallWatch struct {
	done    chan struct{}
	running sync.WaitGroup
	stalls  []stall // read after stop
}

type stall struct{ from, to time.Time }

func watchStalls() *stallWatch {
	w := &stallWatch{done: make(chan struct{})}
	w.running.Go(func() {
		tick := time.NewTicker(stillness / 5)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-w.done:
				return
			case <-tick.C:
			}
			now := time.Now()
			if now.Sub(last) >= stillness {
				w.stalls = append(w.stalls, stall{last, now})
			}
			last = now
		}
	})
	return w
}

// stop ends the watch; to be called once.
func (w *stallWatch) stop() {
	close(w.done)
	w.running.Wait()
}

// between returns for how long the process stood still in a time.
func (w *stallWatch) between(from, to time.Time) (still time.Duration) {
	for _, s := range w.stalls {
		begin, end := s.from, s.to
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		still += max(end.Sub(begin), 0)
	}
	return still
}
