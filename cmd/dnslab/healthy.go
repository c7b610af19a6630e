package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
)

const healthyHelp = `Make lookups that are all answered, by UDP and TCP, IPv4 and IPv6, small and
large, in every lab that this kernel can raise, with what devices do of checksums
and segments switched on and off, have dnspath watch, and count its verdicts on
checksums.
The exit status is 1 if it says of one that it is wrong, or misses a lookup.

Usage:
  dnslab healthy [flags] [-- FLAG-OF-DNSPATH...]

Example:
  dnslab healthy --count 5000 --only 'vxlan in'
`

// healthyFlags are the flags of "dnslab healthy".
type healthyFlags struct {
	run    lab.HealthyRun
	ring   string
	only   string
	most   int
	export string
}

func runHealthy(ctx context.Context, e env, args []string) error {
	var f healthyFlags
	fs := newFlags(e, "healthy", healthyHelp)
	tool := toolFlag(fs)
	fs.IntVar(&f.run.Count, "count", 100000, "lookups in all")
	fs.IntVar(&f.run.Rate, "rate", 500, "lookups a second")
	fs.Uint64Var(&f.run.Seed, "seed", 1, "the same seed plans the same lookups")
	fs.DurationVar(&f.run.ToolTimeout, "timeout", 3*time.Second, "that of dnspath; clients wait for three quarters of it")
	fs.StringVar(&f.ring, "ring-size", "32M", "that of dnspath")
	fs.IntVar(&f.most, "labs", 60, "labs at most: the first have all that there is, in few combinations")
	fs.StringVar(&f.only, "only", "", "only labs whose name matches this regular expression")
	fs.StringVar(&f.export, "export", "", "write what dnspath exports to this file too: some 10 KiB a lookup")
	if done, err := parse(fs, args); done || err != nil {
		return err
	}
	f.run.Args = append([]string{"--ring-size", f.ring}, fs.Args()...)
	f.run.Settings = lab.EachOffload()
	only, err := regexp.Compile(f.only)
	if err != nil {
		return fmt.Errorf("%w: --only: %w", errUsage, err)
	}
	if f.run.Bin, err = findTool(*tool); err != nil {
		return err
	}
	status, err := lab.Isolate(func() int { return exitStatus(e, healthy(ctx, e, f, only)) })
	if err != nil {
		return err
	}
	if status != 0 {
		return exitError(status)
	}
	return nil
}

// healthy raises one lab after the other, in the isolated process.
func healthy(ctx context.Context, e env, f healthyFlags, only *regexp.Regexp) error {
	list, err := healthyLabs(ctx, e, f.most, only)
	if err != nil {
		return err
	}
	run := f.run
	export, done, err := createExport(f.export)
	if err != nil {
		return err
	}
	defer done()
	run.Export = export
	fmt.Fprintf(e.stdout, "\n  %s\n", lab.HealthyColumns())
	begin := time.Now()
	total, made, good := &lab.SumTally{}, 0, true
	left := run.Count
	for i, t := range list {
		run.Count = left / (len(list) - i)
		left -= run.Count
		run.Seed++
		res, err := lab.Healthy(ctx, t, run)
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		if err := res.Write(e.stdout); err != nil {
			return err
		}
		good = good && res.Good()
		total.Add(res.Sums())
		for _, p := range res.Parts {
			made += p.Made
		}
	}
	fmt.Fprintf(e.stdout, "\n%d labs in %s\n  %s\n  %s\n", len(list), time.Since(begin).Round(time.Second), lab.HealthyColumns(), total.Row("all", made))
	fmt.Fprint(e.stdout, total.Summary())
	if !good {
		return exitError(1)
	}
	return nil
}

// healthyLabs returns the labs to raise, and tells what this kernel lacks.
func healthyLabs(ctx context.Context, e env, most int, only *regexp.Regexp) ([]lab.Topology, error) {
	all, lacks, err := lab.Topologies(ctx)
	if err != nil {
		return nil, err
	}
	for _, what := range lacks {
		fmt.Fprintf(e.stdout, "not on this kernel: %s\n", what)
	}
	if most < 1 {
		return nil, fmt.Errorf("%w: --labs %d", errUsage, most)
	}
	list := all
	if len(all) > most { // with the last, which is another kind
		list = append(all[:most-1:most-1], all[len(all)-1])
	}
	fmt.Fprintf(e.stdout, "%d of %d labs that this kernel can raise\n", len(list), len(all))
	list = slices.DeleteFunc(list, func(t lab.Topology) bool { return !only.MatchString(t.String()) })
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: --only matches none of them", errUsage)
	}
	return list, nil
}
