// Package nodestate reads what the configuration of a node says about the way
// of DNS packets: its devices, routes, neighbours, sysctls, conntrack, services,
// sockets and counters, of each network namespace that matters. It reads by
// netlink and /proc, when it is asked and not before, within a time limit, and
// keeps what it read for a moment: a thousand failures in a second read it once.
package nodestate

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/kernel"
	"github.com/dnspath/dnspath/internal/names"
	"github.com/dnspath/dnspath/internal/rules"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

// How long what was read is good: a second, and twenty times as long as it took,
// so that reading one part costs no more than a twentieth of a processor. What
// takes very long is good for three seconds and three times as long as it took: of
// what changes when names cease to resolve, an older picture is a wrong one. And how
// long one part is waited for: a verdict should be there within 200 ms, and is
// on a node that has time; on a busy one a late verdict is better than none.
const (
	goodFor      = time.Second
	goodPerSpent = 20
	goodAtMost   = 3 * time.Second
	readLimit    = 3 * time.Second
)

// maxSpaces bounds how many namespaces are remembered, maxParts how much of each.
const (
	maxSpaces = 512
	maxParts  = 256
)

var (
	errGone = errors.New("the network namespace has gone")
	errSlow = errors.New("it took too long")
)

// Options are what a Reader builds on.
type Options struct {
	Names func(inode uint32) names.NetNS // what is known of a namespace
	All   func() []names.NetNS           // all that there are
	Rules *rules.Reader                  // nil: rules are not to be read
	Wall  func(ns uint64) time.Time      // kernel time to wall clock
	Ports []uint16                       // of DNS; nil: 53
}

// Reader reads the state of network namespaces. It is safe for concurrent use.
type Reader struct {
	opts     Options
	counters histories

	mu     sync.Mutex
	spaces map[uint32]*space
}

// NewReader returns a Reader.
func NewReader(opts Options) *Reader {
	if len(opts.Ports) == 0 {
		opts.Ports = []uint16{53}
	}
	return &Reader{opts: opts, counters: histories{known: map[uint32]*history{}}, spaces: map[uint32]*space{}}
}

// Wall turns an event's time into the wall clock.
func (r *Reader) Wall(ns uint64) time.Time { return r.opts.Wall(ns) }

// NetNS returns a namespace, whether it is there or not.
func (r *Reader) NetNS(inode uint32) diagnose.NetNS {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.spaces[inode]; s != nil && time.Since(s.named) < goodFor {
		return s
	}
	if len(r.spaces) >= maxSpaces {
		clear(r.spaces)
	}
	s := &space{NetNS: r.opts.Names(inode), reader: r, named: time.Now(), parts: map[any]*part{}}
	s.enter = s.inside
	if old := r.spaces[inode]; old != nil && old.Path == s.Path {
		s.parts = old.take()
	}
	r.spaces[inode] = s
	return s
}

// space is a network namespace, and what was read of it.
type space struct {
	names.NetNS
	reader *Reader
	named  time.Time
	enter  func(do func() error) error // calls do in the namespace

	mu    sync.Mutex
	parts map[any]*part
}

// part is what was read, or is being read.
type part struct {
	since time.Time
	done  chan struct{} // closed when what follows is there
	spent time.Duration
	value any
	err   error
}

// good reports whether what was read, or is being read, need not be read again.
func (p *part) good(now time.Time) bool {
	return !p.ended() || now.Sub(p.since) < max(goodFor, min(goodPerSpent*p.spent, goodAtMost+3*p.spent))
}

func (s *space) Name() string { return s.NetNS.Name }
func (s *space) Pod() string  { return s.NetNS.Pod }
func (s *space) Host() bool   { return s.NetNS.Host }

// take returns what was read, for a successor.
func (s *space) take() map[any]*part {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := s.parts
	s.parts = map[any]*part{}
	return parts
}

// part returns what was read under a key a moment ago, or starts to read it.
func (s *space) part(key any, read func() (any, error)) *part {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.parts[key]; p != nil && p.good(time.Now()) {
		return p
	}
	if len(s.parts) >= maxParts {
		clear(s.parts)
	}
	p := &part{since: time.Now(), done: make(chan struct{})}
	s.parts[key] = p
	go func() {
		defer close(p.done)
		p.err = s.enter(func() (err error) {
			p.value, err = read()
			return err
		})
		p.spent = time.Since(p.since)
	}()
	return p
}

// once reads a part of a namespace, from within it, unless that was done a moment
// ago. What takes longer than readLimit is an error, at once for those who ask
// later; it may be there the next time.
func once[T any](s *space, key any, read func() (T, error)) (value T, err error) {
	p := s.part(key, func() (any, error) { return read() })
	if !p.wait() {
		return value, errSlow
	}
	if p.err != nil {
		return value, p.err
	}
	return p.value.(T), nil
}

// drop has a part read anew the next time, unless it is being read.
func (s *space) drop(key any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.parts[key]; p != nil && p.ended() {
		delete(s.parts, key)
	}
}

// ended reports whether it has been read.
func (p *part) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// wait waits for what is being read, and reports whether it is there in time.
func (p *part) wait() bool {
	limit := time.NewTimer(time.Until(p.since.Add(readLimit)))
	defer limit.Stop()
	select {
	case <-p.done:
		return true
	case <-limit.C:
		return p.ended() // it may be both
	}
}

// inside calls do in the namespace.
func (s *space) inside(do func() error) error {
	if s.Path == "" || s.Gone {
		return errGone
	}
	handle, err := netns.GetFromPath(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return errGone
	}
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer handle.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(handle), &st); err != nil || uint32(st.Ino) != s.Inode {
		return errGone
	}
	return kernel.Enter(handle, do)
}
