package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"
)

// MixedOptions shape a run of mixed lookups. Count and Rate are needed.
type MixedOptions struct {
	Count   int           // lookups in all
	Rate    int           // lookups a second
	TCP     float64       // part of them by TCP, 0 to 1
	Seed    uint64        // the same seed plans the same lookups
	Timeout time.Duration // to wait for an answer after the last transmission; 0 means Patience(1500 ms)

	Healthy bool             // all are answered, with NOERROR or NXDOMAIN, by small messages and large ones
	Noise   bool             // of those that are Healthy: servers that refuse or are slow, clients that ask again or give up
	Servers []netip.AddrPort // that are asked; none: the service and both DNS pods, over both IP versions
	Without string           // a namespace in which nobody asks
	// Parts are called before as many equal parts of the lookups, when those of the
	// part before have ended.
	Parts []func() error
}

// MixedLookup is one lookup as its client meant it, and what came of it. An
// address and port of a client belong to one socket alone.
type MixedLookup struct {
	N         int            `json:"n"`
	Transport string         `json:"transport"` // udp, tcp
	Client    netip.AddrPort `json:"client"`
	Server    netip.AddrPort `json:"server"`
	ID        uint16         `json:"id"`
	Name      string         `json:"name"`
	Type      string         `json:"type"`
	Plan      string         `json:"plan"` // the rcode to come, or slow (NOERROR), gone, silent, drop-query, drop-reply, reject, close, reset
	Part      int            `json:"part,omitempty"`

	Transmissions int       `json:"transmissions"`
	Resent        int       `json:"resent,omitempty"`   // of TCP: segments that the kernel sent again on this connection
	Unasked       bool      `json:"unasked,omitempty"`  // no connection: the query was never sent
	Doubtful      bool      `json:"doubtful,omitempty"` // unasked: the SYN may not have been sent, or the connection may have been made too late
	Came          string    `json:"came"`               // an rcode, or timeout, gone, refused, closed, reset; empty: never started
	Sent          time.Time `json:"sent"`               // just before the first packet; zero if there was none
	Ended         time.Time `json:"ended"`
	Err           string    `json:"err,omitempty"` // why it was not made as planned
}

// What came of a mixed lookup that has no rcode.
const (
	cameTimeout = "timeout"
	cameGone    = "gone" // the client gave up early
	cameRefused = "refused"
	cameClosed  = "closed"
	cameReset   = "reset"
)

// Mixed makes the lookups of a plan, each act at its time whether answers come or
// not (open loop), and returns the log when all have ended. The lab must have
// been prepared by PrepareMixed. When ctx ends early, it returns what it has and
// the cause.
func Mixed(ctx context.Context, l *Lab, opts MixedOptions) ([]*MixedLookup, error) {
	if opts.Timeout == 0 {
		opts.Timeout = Patience(1500 * time.Millisecond)
	}
	if opts.Count < 1 || opts.Rate < 1 || opts.TCP < 0 || opts.TCP > 1 {
		return nil, fmt.Errorf("make mixed lookups: %d at %d/s, %.2f by TCP: out of range", opts.Count, opts.Rate, opts.TCP)
	}
	plan := planMixed(opts)
	m := &mixer{ctx: ctx, lab: l, timeout: opts.Timeout}
	err := m.run(plan.acts, opts.Parts)
	if err != nil {
		err = fmt.Errorf("make mixed lookups: %w", err)
	}
	return plan.log, err
}

// mixedLate is by how much acts may be late before all that follow are put off.
const mixedLate = 50 * time.Millisecond

// mixer makes the lookups of one run.
type mixer struct {
	ctx     context.Context //nolint:containedctx // of the run, which one call of Mixed is
	lab     *Lab
	timeout time.Duration
	running sync.WaitGroup
}

// run starts each act at its time and waits for the last one's end.
func (m *mixer) run(acts []*mixedAct, parts []func() error) error {
	defer m.running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	begin := time.Now()
	begun := 0 // parts
	for _, act := range acts {
		for begun < len(parts) && begun <= act.part {
			m.running.Wait()
			if err := parts[begun](); err != nil {
				return err
			}
			begun++
		}
		// a process that was stopped does not make up for it in one burst
		begin = begin.Add(max(time.Since(begin)-act.at-mixedLate, 0))
		timer.Reset(act.at - time.Since(begin))
		select {
		case <-m.ctx.Done():
			return context.Cause(m.ctx)
		case <-timer.C:
		}
		m.running.Go(func() { m.act(act) })
	}
	return nil
}

// act starts an act's flows. Those by UDP send their first queries back to back,
// so that all are in flight together.
func (m *mixer) act(act *mixedAct) {
	var opened []*udpFlow
	for _, f := range act.flows {
		if f.tcp {
			m.running.Go(func() { m.tcp(f) })
			continue
		}
		if u := m.openUDP(f); u != nil {
			opened = append(opened, u)
		}
	}
	for _, u := range opened {
		u.send(u.rounds[0])
	}
	for _, u := range opened {
		m.running.Go(u.follow)
	}
}

// fail logs that what is left of a flow was not made.
func (f *mixedFlow) fail(err error) {
	for _, round := range f.rounds {
		for _, q := range round {
			if q.log.Came == "" {
				q.log.Err = err.Error()
			}
		}
	}
}

// pauseBetween waits between two rounds; false means that the run is over.
func (m *mixer) pauseBetween(f *mixedFlow) bool {
	timer := time.NewTimer(f.pause)
	defer timer.Stop()
	select {
	case <-m.ctx.Done():
		f.fail(context.Cause(m.ctx))
		return false
	case <-timer.C:
		return true
	}
}

// end logs what came of a lookup.
func (q *mixedQuery) end(came string) { q.log.Came, q.log.Ended = came, time.Now() }

// WriteMixedLog writes a log, a lookup a line.
func WriteMixedLog(w io.Writer, log []*MixedLookup) error {
	enc := json.NewEncoder(w)
	for _, l := range log {
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

// ReadMixedLog reads what WriteMixedLog wrote.
func ReadMixedLog(r io.Reader) ([]*MixedLookup, error) {
	var log []*MixedLookup
	for dec := json.NewDecoder(r); ; {
		l := &MixedLookup{}
		if err := dec.Decode(l); errors.Is(err, io.EOF) {
			return log, nil
		} else if err != nil {
			return nil, fmt.Errorf("read log of mixed lookups: %w", err)
		}
		log = append(log, l)
	}
}
