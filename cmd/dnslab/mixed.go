package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
)

const mixedHelp = `Make lookups of every kind in the lab, have dnspath watch, and compare what it
tells of them with what their clients know: UDP and TCP, IPv4 and IPv6, retries,
pairs of A and AAAA on one socket, IDs and names that several clients share,
answers, silence, drops and rejections.
The exit status is 1 if a lookup was missed, split, merged or told wrong.

Usage:
  dnslab mixed [flags] [-- FLAG-OF-DNSPATH...]
  dnslab mixed --judge LOG EXPORT

Example:
  dnslab mixed --count 10000 --rate 500 --log log.json --export export.json
`

// mixedFlags are the flags of "dnslab mixed".
type mixedFlags struct {
	bin     string
	args    []string // more flags of dnspath
	opts    lab.MixedOptions
	timeout time.Duration
	ring    string
	log     string
	export  string
	judge   bool
}

func runMixed(ctx context.Context, e env, args []string) error {
	var f mixedFlags
	fs := newFlags(e, "mixed", mixedHelp)
	tool := toolFlag(fs)
	fs.IntVar(&f.opts.Count, "count", 100000, "lookups in all")
	fs.IntVar(&f.opts.Rate, "rate", 500, "lookups a second")
	fs.Float64Var(&f.opts.TCP, "tcp", 0.2, "part of the lookups by TCP, 0 to 1")
	fs.Uint64Var(&f.opts.Seed, "seed", 1, "the same seed plans the same lookups")
	fs.DurationVar(&f.timeout, "timeout", 5*time.Second, "that of dnspath; clients wait for three quarters of it")
	// A proof needs every event, and dnspath may lag behind on a machine that makes the load too.
	fs.StringVar(&f.ring, "ring-size", "32M", "that of dnspath")
	fs.StringVar(&f.log, "log", "", "write the generator's log to this file")
	fs.StringVar(&f.export, "export", "", "write what dnspath exports to this file too: some 10 KiB a lookup")
	fs.BoolVar(&f.judge, "judge", false, "make no lookups: compare the LOG and the EXPORT of a run")
	if done, err := parse(fs, args); done || err != nil {
		return err
	}
	if f.judge {
		return judgeFiles(e, fs.Args())
	}
	f.opts.Timeout = f.timeout * 3 / 4
	f.args = append([]string{"--ring-size", f.ring}, fs.Args()...)
	var err error
	if f.bin, err = findTool(*tool); err != nil {
		return err
	}
	status, err := lab.Isolate(func() int { return exitStatus(e, mixed(ctx, e, f)) })
	if err != nil {
		return err
	}
	if status != 0 {
		return exitError(status)
	}
	return nil
}

// mixed raises the lab and makes the lookups, in the isolated process.
func mixed(ctx context.Context, e env, f mixedFlags) (err error) {
	l, err := lab.New(ctx, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := lab.PrepareMixed(ctx, l); err != nil {
		return err
	}
	run := lab.MixedRun{Lookups: f.opts, Bin: f.bin, Args: f.args, ToolTimeout: f.timeout}
	export, done, err := createExport(f.export)
	if err != nil {
		return err
	}
	defer done()
	run.Export = export
	begin := time.Now()
	res, err := lab.ObserveMixed(ctx, l, run)
	if err != nil {
		return err
	}
	if err := writeMixedLog(f.log, res.Log); err != nil {
		return err
	}
	took := time.Since(begin)
	cpu := res.State.UserTime() + res.State.SystemTime()
	fmt.Fprintf(e.stdout, "run                       %d lookups in %s, %.0f/s, seed %d\n",
		len(res.Log), took.Round(time.Second), float64(len(res.Log))/res.Elapsed.Seconds(), f.opts.Seed)
	fmt.Fprintf(e.stdout, "processor time            %s, %s a lookup\n", cpu.Round(time.Millisecond), (cpu / time.Duration(len(res.Log))).Round(time.Microsecond))
	fmt.Fprintf(e.stdout, "peak resident memory      %.1f MiB\n", float64(res.PeakMemory)/(1<<20))
	return tell(e, lab.JudgeMixed(res.Log, res.Export))
}

// writeMixedLog writes the generator's log, if a file was named.
func writeMixedLog(path string, log []*lab.MixedLookup) error {
	if path == "" {
		return nil
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(lab.WriteMixedLog(file, log), file.Close())
}

// judgeFiles compares the files of an earlier run.
func judgeFiles(e env, paths []string) error {
	if len(paths) != 2 {
		return fmt.Errorf("%w: --judge needs a log and an export", errUsage)
	}
	var log []*lab.MixedLookup
	export := &lab.MixedExport{}
	for i, read := range []func(io.Reader) error{
		func(r io.Reader) (err error) { log, err = lab.ReadMixedLog(r); return err },
		export.Read,
	} {
		file, err := os.Open(paths[i])
		if err != nil {
			return err
		}
		err = read(file)
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", paths[i], err)
		}
	}
	return tell(e, lab.JudgeMixed(log, export))
}

// tell prints the verdict, which gives the exit status.
func tell(e env, v *lab.MixedVerdict) error {
	if err := v.Write(e.stdout); err != nil {
		return err
	}
	if !v.Good() {
		return exitError(1)
	}
	return nil
}
