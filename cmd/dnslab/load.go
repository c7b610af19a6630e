package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/lab"
)

const loadHelp = `Send lookups with unique names at a steady rate from a lab's namespace, and
say how many were answered. Run it within "dnslab shell".

Usage:
  dnslab load [flags]

Example:
  dnslab shell -- dnslab load --rate 2000 --count 10000
`

func runLoad(ctx context.Context, e env, args []string) error {
	var opts lab.LoadOptions
	fs := newFlags(e, "load", loadHelp)
	from := fs.String("from", lab.Client, "namespace to send from")
	server := fs.String("server", lab.Service().String(), "DNS server, address and port")
	fs.IntVar(&opts.Count, "count", 2000, "lookups in all")
	fs.IntVar(&opts.Rate, "rate", 2000, "lookups a second")
	fs.IntVar(&opts.Sockets, "sockets", 64, "UDP sockets, used in turn")
	fs.DurationVar(&opts.Timeout, "timeout", time.Second, "wait for answers after the last query")
	if done, err := parse(fs, args); done || err != nil {
		return err
	}
	var err error
	if opts.Server, err = netip.ParseAddrPort(*server); err != nil {
		return fmt.Errorf("%w: --server: %w", errUsage, err)
	}
	ns, err := lab.Open(*from)
	if err != nil {
		return fmt.Errorf("is this within \"dnslab shell\"? %w", err)
	}
	defer ns.Close()
	res, err := lab.Load(ctx, ns, opts)
	var ru unix.Rusage
	err = errors.Join(err, unix.Getrusage(unix.RUSAGE_SELF, &ru))
	fmt.Fprintf(e.stdout, "sent %d at %.0f/s, answered %d, lost %d, errors %d, duplicates %d\n",
		res.Sent, res.Rate, res.Answered, res.Lost, res.Errors, res.Duplicates)
	fmt.Fprintf(e.stdout, "latency p50 %s, p99 %s, max %s\n", res.Quantile(0.5), res.Quantile(0.99), res.Quantile(1))
	fmt.Fprintf(e.stdout, "cpu of the sender %s user, %s system\n", time.Duration(ru.Utime.Nano()), time.Duration(ru.Stime.Nano()))
	return err
}
