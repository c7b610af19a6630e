package main

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
)

const noiseHelp = `Make lookups that are nobody's fault, in every lab that this kernel can raise:
answered ones, NXDOMAIN, SERVFAIL of servers and of their upstreams, slow
servers, clients that ask again or give up early, and packets that are lost
between the nodes. Have dnspath watch, both nodes or one, and compare its
findings with what is true. Packets are lost by a wire between the nodes which
nobody sees, or, where the kernel has it, by netem on both nodes; in every third
lab none are.
The exit status is 1 if a finding is wrong, or a lookup failed and has none.

Usage:
  dnslab noise [flags] [-- FLAG-OF-DNSPATH...]

Example:
  dnslab noise --count 5000 --only 'nftables'
`

// noiseFlags are the flags of "dnslab noise".
type noiseFlags struct {
	run    lab.NoiseRun
	ring   string
	only   string
	most   int
	export string
}

func runNoise(ctx context.Context, e env, args []string) error {
	var f noiseFlags
	fs := newFlags(e, "noise", noiseHelp)
	tool := toolFlag(fs)
	fs.IntVar(&f.run.Count, "count", 100000, "lookups in all")
	fs.IntVar(&f.run.Rate, "rate", 600, "lookups a second")
	fs.Uint64Var(&f.run.Seed, "seed", 1, "the same seed plans the same lookups")
	fs.Float64Var(&f.run.Part, "loss", 0.01, "part of the packets between the nodes that is lost, 0 to 1")
	fs.DurationVar(&f.run.ToolTimeout, "timeout", 2*time.Second, "that of dnspath; clients wait for three quarters of it")
	fs.StringVar(&f.ring, "ring-size", "32M", "that of dnspath")
	fs.IntVar(&f.most, "labs", 60, "labs at most: the first have all that there is, in few combinations")
	fs.StringVar(&f.only, "only", "", "only labs whose name matches this regular expression")
	fs.StringVar(&f.export, "export", "", "write what dnspath exports to this file too: some 10 KiB a lookup")
	if done, err := parse(fs, args); done || err != nil {
		return err
	}
	f.run.Args = append([]string{"--ring-size", f.ring}, fs.Args()...)
	only, err := regexp.Compile(f.only)
	if err != nil {
		return fmt.Errorf("%w: --only: %w", errUsage, err)
	}
	if f.run.Bin, err = findTool(*tool); err != nil {
		return err
	}
	status, err := lab.Isolate(func() int { return exitStatus(e, noise(ctx, e, f, only)) })
	if err != nil {
		return err
	}
	if status != 0 {
		return exitError(status)
	}
	return nil
}

// noise raises one lab after the other, in the isolated process.
func noise(ctx context.Context, e env, f noiseFlags, only *regexp.Regexp) error {
	list, err := healthyLabs(ctx, e, f.most, only)
	if err != nil {
		return err
	}
	if t := lab.Forwarding(); only.MatchString(t.String()) {
		list = append(list, t)
	}
	losses, lacks, err := lab.Losses(ctx)
	if err != nil {
		return err
	}
	for _, what := range lacks {
		fmt.Fprintf(e.stdout, "not on this kernel: %s\n", what)
	}
	losses = append(losses, lab.LossNone)
	run := f.run
	export, done, err := createExport(f.export)
	if err != nil {
		return err
	}
	defer done()
	run.Export = export
	begin := time.Now()
	total, left := lab.NewBlame(), run.Count
	for i, t := range list {
		run.Count = left / (len(list) - i)
		left -= run.Count
		run.Seed++
		run.Loss, run.OneNode = losses[i%len(losses)], i/len(losses)%2 == 1
		res, err := lab.Noise(ctx, t, run)
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		if err := res.Write(e.stdout); err != nil {
			return err
		}
		total.Add(res.Blame)
	}
	fmt.Fprintf(e.stdout, "\n%d labs in %s\n", len(list), time.Since(begin).Round(time.Second))
	if err := total.Write(e.stdout); err != nil {
		return err
	}
	if !total.Good() {
		return exitError(1)
	}
	return nil
}
