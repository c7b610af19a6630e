package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
)

const demoHelp = `Raise the lab, trace a healthy lookup to the DNS pod on the other node, then one
that a firewall on that node drops, and one that dies of a bug of Linux, show
them as a user sees them, and take the lab down.

With the ID of a finding, make its failure instead, and show what dnspath says,
and that what mends it does.

Usage:
  dnslab demo [flags] [ID]

Examples:
  dnslab demo
  dnslab demo tunnel-checksum
  dnslab demo list
`

// act is a part of the demo: what is done to the lab, and what is asked.
type act struct {
	title string
	spoil func(ctx context.Context, l *lab.Lab) error // may be nil
	name  string
}

var acts = []act{
	{
		title: "A pod asks the cluster's DNS service; the DNS pod is on the other node.",
		name:  "web.example.test.",
	},
	{
		title: "A firewall on the other node drops DNS: iptables -I FORWARD -p udp --dport 53 -j DROP",
		spoil: func(ctx context.Context, l *lab.Lab) error {
			return l.NodeB.IPTables(ctx, "-I", "FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP")
		},
		name: "db.example.test.",
	},
	{
		title: "The firewall is mended. Now the tunnel's own packets are masqueraded with --random-fully:\n" +
			"   Linux itself leaves their checksum wrong, on this very kernel; nothing is forged.",
		spoil: func(ctx context.Context, l *lab.Lab) error {
			if err := l.NodeB.IPTables(ctx, "-D", "FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP"); err != nil {
				return err
			}
			return lab.BreakTunnelChecksum(ctx, l)
		},
		name: "cache.example.test.",
	},
}

// demoTimeout is how long a lookup of the demo may stay without an answer.
const demoTimeout = time.Second

func runDemo(ctx context.Context, e env, args []string) error {
	fs := newFlags(e, "demo", demoHelp)
	tool := toolFlag(fs)
	if done, err := parse(fs, args); done || err != nil {
		return err
	}
	ids := fs.Args()
	if slices.Equal(ids, []string{"list"}) {
		return listFaults(e)
	}
	faults, err := findFaults(ids)
	if err != nil {
		return err
	}
	bin, err := findTool(*tool)
	if err != nil {
		return err
	}
	status, err := lab.Isolate(func() int {
		if len(faults) > 0 {
			return exitStatus(e, demoFaults(ctx, e, bin, faults))
		}
		return exitStatus(e, demo(ctx, e, bin))
	})
	if err != nil {
		return err
	}
	if status != 0 {
		return exitError(status)
	}
	return nil
}

// demo plays all acts in one lab, in the isolated process.
func demo(ctx context.Context, e env, bin string) (err error) {
	l, err := lab.New(ctx, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := startServers(ctx, l, false); err != nil {
		return err
	}
	for i, a := range acts {
		fmt.Fprintf(e.stdout, "── %d. %s\n\n", i+1, a.title)
		err := play(ctx, e, l, bin, a)
		if ctx.Err() != nil {
			return exitError(130) // as a shell has it of what Ctrl-C ended
		}
		if err != nil {
			return fmt.Errorf("act %d: %w", i+1, err)
		}
	}
	return nil
}

// play shows one lookup: what the client got, and what dnspath saw.
func play(ctx context.Context, e env, l *lab.Lab, bin string, a act) error {
	if a.spoil != nil {
		if err := a.spoil(ctx, l); err != nil {
			return err
		}
	}
	args := []string{"trace", "--name", a.name, "--count", "1", "--timeout", demoTimeout.String()}
	o, err := lab.ObserveTo(ctx, e.stdout, bin, args...)
	if err != nil {
		return err
	}
	dig := []string{"+short", "+tries=1", "+time=1", "@" + lab.Service().Addr().String(), a.name}
	fmt.Fprintf(e.stdout, "# dnspath --name %s\n", a.name)
	fmt.Fprintf(e.stdout, "client$ dig %s\n", strings.Join(dig, " "))
	answer, err := l.Client.Command(ctx, "dig", dig...).CombinedOutput()
	fmt.Fprintf(e.stdout, "%s\n", answer)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) { // a lookup that fails is what the act may be about
		o.Kill()
		return fmt.Errorf("run dig: %w", err)
	}
	return o.Wait()
}
