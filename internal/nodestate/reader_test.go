package nodestate

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dnspath/dnspath/internal/names"
)

// newSpace is a namespace that nothing enters.
func newSpace() *space { return &space{enter: plainly, parts: map[any]*part{}} }

// countingRead counts how often it was called, and takes its time.
type countingRead struct {
	calls atomic.Int32
	takes time.Duration
}

func (c *countingRead) read() (int, error) {
	n := c.calls.Add(1)
	time.Sleep(c.takes)
	return int(n), nil
}

// TestReadOnce asks a thousand times in a second, from many goroutines.
func TestReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSpace(), countingRead{takes: 10 * time.Millisecond}
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				for range 100 {
					if _, err := once(s, "key", c.read); err != nil {
						t.Error(err)
					}
					time.Sleep(9 * time.Millisecond)
				}
			})
		}
		all.Wait()
		if n := c.calls.Load(); n != 1 {
			t.Errorf("read %d times in a second", n)
		}
		time.Sleep(goodFor)
		if n, err := once(s, "key", c.read); n != 2 || err != nil {
			t.Errorf("read %d (%v) later, want it read anew", n, err)
		}
	})
}

// TestSlowRead has a part take a long time: nobody waits for it for longer than
// readLimit, nobody reads it a second time meanwhile, and it is good later.
func TestSlowRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSpace(), countingRead{takes: readLimit + time.Second}
		start := time.Now()
		for range 1000 {
			if _, err := once(s, "key", c.read); !errors.Is(err, errSlow) {
				t.Fatalf("a slow read gave %v", err)
			}
		}
		if took := time.Since(start); took > readLimit {
			t.Errorf("1,000 asks waited %v", took)
		}
		time.Sleep(3 * time.Second)
		if n, err := once(s, "key", c.read); n != 1 || err != nil {
			t.Errorf("read %d (%v), want what took long", n, err)
		}
		time.Sleep(goodAtMost + 3*c.takes)
		if _, err := once(s, "key", c.read); !errors.Is(err, errSlow) || c.calls.Load() != 2 {
			t.Errorf("read %d times (%v), want an old picture taken anew", c.calls.Load(), err)
		}
		time.Sleep(c.takes)
	})
}

// TestPartsAreBounded asks for more than is kept.
func TestPartsAreBounded(t *testing.T) {
	s := newSpace()
	for i := range 10 * maxParts {
		if _, err := once(s, strconv.Itoa(i), func() (int, error) { return i, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.parts) > maxParts {
		t.Errorf("%d parts are kept", len(s.parts))
	}
}

// TestSuccessor keeps what was read while the namespace is the same.
func TestSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := "one"
		r := NewReader(Options{Names: func(inode uint32) names.NetNS { return names.NetNS{Inode: inode, Path: path} }})
		get := func() int {
			s := r.NetNS(7).(*space)
			s.enter = plainly
			n, err := once(s, "key", func() (int, error) { time.Sleep(100 * time.Millisecond); return len(path), nil })
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		get()
		time.Sleep(goodFor)
		start := time.Now()
		if get(); time.Since(start) != 0 {
			t.Error("what took 100 ms was read again after a second")
		}
		path = "other"
		time.Sleep(goodFor)
		if n := get(); n != len("other") {
			t.Errorf("got %d, of the namespace before", n)
		}
	})
}

func plainly(do func() error) error { return do() }
