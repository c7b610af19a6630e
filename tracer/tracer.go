package tracer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/kernel"
	"github.com/dnspath/dnspath/internal/names"
	"github.com/dnspath/dnspath/internal/nftrace"
)

// Errors of Open, for errors.Is; see package kernel.
var (
	ErrPermission   = kernel.ErrPermission
	ErrNotSupported = kernel.ErrNotSupported
)

// Limits of Options.
const (
	MaxPorts = kernel.MaxPorts
	MaxNetNS = kernel.MaxNetNS
)

// Backend is a way to probe kernel functions; see package kernel.
type Backend = kernel.Backend

// Netfilter says whether to attach to netfilter's hooks; see package kernel.
type Netfilter = kernel.Netfilter

// Values of Netfilter.
const (
	NetfilterOff  = kernel.NetfilterOff
	NetfilterOn   = kernel.NetfilterOn
	NetfilterAuto = kernel.NetfilterAuto
)

// Options select what a Tracer observes. The zero value observes DNS on UDP
// port 53 in all network namespaces by tracepoints alone.
type Options struct {
	Ports       []uint16      // UDP ports of DNS; nil is 53
	VXLANPorts  []uint16      // nil is 4789 and 8472
	NetNS       []uint32      // inodes of the only namespaces to observe; nil is all
	GenevePorts []uint16      // nil is 6081
	Backend     Backend       // how kernel functions are probed
	Netfilter   Netfilter     // attach to netfilter hooks, which are in the packets' way: they accept, always
	BTF         string        // file with the kernel's types; "" is the kernel's own
	TC          []string      // attach to the tc hooks of devices with these names (path.Match patterns)
	ExactRules  bool          // add a table of nftables to each namespace, to be told which rules DNS packets match
	RingSize    int           // bytes between kernel and user space, a power of two; 0 is 8 MiB
	Timeout     time.Duration // a lookup without an answer for so long is lost; 0 is 5 s
	MaxLookups  int           // under way at one time; 0 is DefaultMaxLookups
}

// ProbeStatus is a row of the table of hops: what is observed, and how.
type ProbeStatus = kernel.ProbeStatus

// Tracer observes the node that it runs on. All its methods but Run may be
// called from any goroutine.
type Tracer struct {
	opts    Options
	session *kernel.Session
	names   *names.Resolver
	rules   *nftrace.Tracer // nil without ExactRules
	offset  int64           // ns from CLOCK_MONOTONIC to CLOCK_REALTIME

	mu    sync.Mutex
	stats Stats
}

// Stats count what a Tracer took, and what it lost.
type Stats struct {
	Counters
	Undecodable uint64            // records that Decode refused
	Lost        map[string]uint64 // in the kernel, by what was full
	Namespaces  int               // observed by netfilter links or known by name
	Err         error             // of the last look for namespaces and devices; nil if all went well
	Rules       *RuleStats        // nil without ExactRules
}

// RuleStats count what was read of nftables' traces, and what was lost: then
// rules may be missing beside hops, and nothing else.
type RuleStats = nftrace.Stats

// LostTotal is how many events were lost anywhere, or refused.
func (s *Stats) LostTotal() uint64 {
	n := s.Undecodable + s.Cut
	for _, lost := range s.Lost {
		n += lost
	}
	return n
}

// Open loads and attaches what opts ask for. The error wraps ErrPermission or
// ErrNotSupported where that is the matter. The caller closes the Tracer.
func Open(opts Options) (*Tracer, error) {
	session, err := kernel.Open(kernel.Options{
		Ports: opts.Ports, VXLANPorts: opts.VXLANPorts, NetNS: opts.NetNS,
		GenevePorts: opts.GenevePorts, Backend: opts.Backend, BTF: opts.BTF,
		Netfilter: opts.Netfilter, TCX: len(opts.TC) > 0, RingSize: opts.RingSize,
	})
	if err != nil {
		return nil, err
	}
	t := &Tracer{opts: opts, session: session, names: names.New(names.Options{})}
	if t.offset, err = clockOffset(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if opts.ExactRules {
		if t.rules, err = nftrace.New(opts.Ports); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	t.sync()
	debug.FreeOSMemory() // what reading the kernel's types took is not needed any more
	return t, nil
}

// Close detaches everything and frees it. It may be called twice.
func (t *Tracer) Close() error {
	var err error
	if t.rules != nil {
		err = t.rules.Close()
	}
	return errors.Join(err, t.session.Close())
}

// Probes returns the table of hops with what is observed of it.
func (t *Tracer) Probes() []ProbeStatus { return t.session.Probes() }

// Took returns how long it took to load and to attach the probes.
func (t *Tracer) Took() kernel.Took { return t.session.Took() }

// Names returns what names namespaces and processes; see package names.
func (t *Tracer) Names() *names.Resolver { return t.names }

// Wall turns an event's time into the node's wall clock, as it was set when
// the Tracer was opened.
func (t *Tracer) Wall(ns uint64) time.Time { return time.Unix(0, int64(ns)+t.offset) }

// Stats returns what was counted so far.
func (t *Tracer) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	stats := t.stats
	if t.rules != nil {
		rules := t.rules.Stats()
		stats.Rules = &rules
	}
	return stats
}

// Sink takes what a Tracer finds. Its functions are called by Run's goroutine
// and must not block: the kernel's buffer holds a second or less.
type Sink struct {
	Lookup func(*Lookup) // those of one story one after the other, when all have ended
	Event  func(*Event)  // may be nil
	// Ready is called once, when the first event can be seen; may be nil.
	Ready func() error
}

// How often the ring buffer is looked at if little is in it, the loss counters
// are read, and namespaces are looked for.
const (
	pollEvery      = 20 * time.Millisecond
	lossesEvery    = 50 * time.Millisecond
	syncEvery      = time.Second
	syncAtMost     = 100 * time.Millisecond // after an unknown namespace was seen
	recordsAtATime = 8192                   // between looks at the clock
)

// ruleLinger is how long an answered lookup waits for the texts of its rules:
// nft is run for each chain.
const ruleLinger = 300 * time.Millisecond

// Run reads events until ctx is done, and hands out lookups as they end; then
// it closes those that are open, and returns nil. It may be called once.
func (t *Tracer) Run(ctx context.Context, sink Sink) error {
	r := &runner{
		Tracer: t, sink: sink, decoder: NewDecoder(t.session),
	}
	opts := CorrelatorOptions{MaxLookups: t.opts.MaxLookups, Timeout: t.opts.Timeout}
	if t.rules != nil {
		opts.Linger, opts.Ended = ruleLinger, r.attribute
	}
	r.corr = NewCorrelator(opts, sink.Lookup)
	if sink.Ready != nil {
		if err := sink.Ready(); err != nil {
			return err
		}
	}
	now := time.Now()
	r.synced, r.counted, r.countedAt = now, now, monotonic()
	for ctx.Err() == nil {
		if err := r.step(time.Now()); err != nil {
			return err
		}
	}
	return r.finish()
}

// runner is what only Run's goroutine touches.
type runner struct {
	*Tracer
	sink        Sink
	decoder     *Decoder
	corr        *Correlator
	undecodable uint64
	newest      uint64 // time of the youngest event taken
	lost        map[string]uint64
	countedAt   uint64 // kernel time when lost was read
	counted     time.Time
	synced      time.Time
	known       uint32 // namespace of the last event whose name is known
	unknown     bool   // an event came from a namespace without a name
}

// attribute says which rules a lookup met, as soon as it has ended: not many
// steps are kept.
func (r *runner) attribute(l *Lookup) { attribute(l, r.rules.Steps(stepKeys(l))) }

// step reads what there is, then lets time pass.
func (r *runner) step(now time.Time) error {
	before := monotonic() // all that was emitted before this is in the buffer
	drained, err := r.read(now.Add(pollEvery))
	if err != nil {
		return err
	}
	if now.Sub(r.counted) >= lossesEvery {
		if err := r.countLosses(); err != nil {
			return err
		}
		r.counted = now
	}
	if drained {
		r.corr.Advance(before)
	} else {
		r.corr.Advance(0) // older events are still to come: time is what they say
	}
	if since := now.Sub(r.synced); since >= syncEvery || r.unknown && since >= syncAtMost {
		r.sync()
		r.synced, r.unknown = now, false
	}
	r.publish()
	return nil
}

// read takes records until the deadline, or until there were many. It reports
// whether it took all that was there.
func (r *runner) read(deadline time.Time) (drained bool, err error) {
	r.session.SetDeadline(deadline)
	for range recordsAtATime {
		record, err := r.session.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		r.take(record)
	}
	return false, nil
}

func (r *runner) take(record []byte) {
	e, err := r.decoder.Decode(record)
	if err != nil {
		r.undecodable++
		r.corr.Lost(r.newest, monotonic())
		return
	}
	if e.NetNS != r.known && e.NetNS != 0 {
		if ns, ok := r.names.NetNS(e.NetNS); ok && !ns.Gone {
			r.known = e.NetNS
		} else {
			r.unknown = true
		}
	}
	r.newest = max(r.newest, e.Time)
	if r.sink.Event != nil {
		r.sink.Event(e)
	}
	r.corr.Add(e)
}

// countLosses reads the kernel's counters; what they gained since the last
// time was lost between then and now.
func (r *runner) countLosses() error {
	now := monotonic()
	lost, err := r.session.Losses()
	if err != nil {
		return err
	}
	for name, n := range lost {
		// A return that was missed is a verdict that is missing at its hop.
		if n > r.lost[name] && name != "return" {
			r.corr.Lost(r.countedAt, now)
		}
	}
	r.lost, r.countedAt = lost, now
	return nil
}

// finish takes what was in the buffer when the trace ended, and closes all
// lookups. On a busy node there is always more: what is younger is not waited for.
func (r *runner) finish() error {
	end := monotonic()
	for drained := false; !drained && r.newest <= end; {
		var err error
		if drained, err = r.read(time.Now()); err != nil {
			return err
		}
	}
	if err := r.countLosses(); err != nil {
		return err
	}
	if r.rules != nil {
		r.rules.Drain()
	}
	r.corr.Advance(monotonic())
	r.corr.Flush()
	r.publish()
	return nil
}

func (r *runner) publish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Counters, r.stats.Undecodable, r.stats.Lost = r.corr.Counters(), r.undecodable, r.lost
}

// sync looks for namespaces and devices that came and went. What can't be
// observed is kept in Stats; it never ends a trace.
func (t *Tracer) sync() {
	err := t.names.Refresh()
	live := t.namespaces()
	err = errors.Join(err, t.session.SyncFunctions(), t.session.SyncNetfilter(live), t.session.SyncTCX(live, t.opts.TC))
	if t.rules != nil {
		err = errors.Join(err, t.rules.Sync(live))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Namespaces, t.stats.Err = len(live), err
}

// namespaces returns those that are there and observed.
func (t *Tracer) namespaces() []kernel.Namespace {
	wanted := map[uint32]bool{}
	for _, inode := range t.opts.NetNS {
		wanted[inode] = true
	}
	var live []kernel.Namespace
	for _, ns := range t.names.All() {
		if t.opts.NetNS == nil || wanted[ns.Inode] {
			live = append(live, kernel.Namespace{Inode: ns.Inode, Path: ns.Path})
		}
	}
	return live
}

// monotonic is the clock of bpf_ktime_get_ns.
func monotonic() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}

// clockOffset measures CLOCK_REALTIME less CLOCK_MONOTONIC, in ns.
func clockOffset() (int64, error) {
	var wall unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &wall); err != nil {
		return 0, fmt.Errorf("read wall clock: %w", err)
	}
	return wall.Nano() - int64(monotonic()), nil
}
