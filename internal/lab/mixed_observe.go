package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// MixedRun is a run of mixed lookups with dnspath watching.
type MixedRun struct {
	Lookups     MixedOptions
	Bin         string        // of dnspath
	Args        []string      // more flags of it
	ToolTimeout time.Duration // after which it takes a lookup for lost
	Export      io.Writer     // gets what it exports, too; may be nil
	CountSums   bool          // as of MixedExport
	Watched     []*NS         // by dnspath; none: all of the lab
	Others      bool          // there will be records of others' lookups
}

// MixedResult is what a run gave.
type MixedResult struct {
	Log        []*MixedLookup
	Export     *MixedExport
	Elapsed    time.Duration    // of the lookups
	State      *os.ProcessState // of dnspath
	PeakMemory int64            // of dnspath, resident bytes
	Stderr     []byte           // of dnspath
}

// ObserveMixed starts dnspath, makes mixed lookups, waits until dnspath has told
// of them all or their time is long up, and ends it.
func ObserveMixed(ctx context.Context, l *Lab, run MixedRun) (*MixedResult, error) {
	reader, writer := io.Pipe()
	res := &MixedResult{Export: &MixedExport{CountSums: run.CountSums, Others: run.Others}}
	read := make(chan error, 1)
	go func() {
		var r io.Reader = reader
		if run.Export != nil {
			r = io.TeeReader(reader, run.Export)
		}
		err := res.Export.Read(r)
		reader.CloseWithError(err) // dnspath must not wait for one who reads no more
		read <- err
	}()
	if run.Watched == nil {
		run.Watched = l.Namespaces()
	}
	args := append([]string{"trace", "-o", "json", "--timeout", run.ToolTimeout.String()}, MixedArgs(run.Watched)...)
	o, err := ObserveTo(ctx, writer, run.Bin, append(args, run.Args...)...)
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	begin := time.Now()
	res.Log, err = Mixed(ctx, l, run.Lookups)
	res.Elapsed = time.Since(begin)
	if err == nil {
		err = res.awaitAll(ctx, run)
	}
	var memErr error
	res.PeakMemory, memErr = PeakMemory(o.PID())
	err = errors.Join(err, memErr, o.Stop(), writer.Close(), <-read)
	if err != nil {
		return nil, fmt.Errorf("observe mixed lookups: %w: %s", err, o.Stderr())
	}
	res.State, res.Stderr = o.ProcessState(), o.Stderr()
	return res, nil
}

// awaitAll waits until there is a record for each lookup, at most until the last
// one's time is up, and that of what dnspath does beyond it.
func (r *MixedResult) awaitAll(ctx context.Context, run MixedRun) error {
	late := time.NewTimer(run.ToolTimeout*5/4 + Patience(time.Second))
	defer late.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	made := 0
	for _, l := range r.Log {
		if !l.Sent.IsZero() {
			made++
		}
	}
	for run.Others || r.Export.Seen() < made {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late.C:
			return nil // the judge tells what is missing
		case <-look.C:
		}
	}
	return nil
}
