package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/kernel"
	"github.com/dnspath/dnspath/internal/render"
	"github.com/dnspath/dnspath/tracer"
)

const traceUsage = `Show DNS lookups live: a block for each when it has ended, with every hop of its
query and its reply, what rewrote it, and where it died. What --failed and --slower
leave out is counted in the summary and in the export's stats all the same.

Usage:
  dnspath [trace] [flags]

Examples:
  dnspath                                   all lookups of this node
  dnspath --name example.test --type A      A lookups for this name and all below it
  dnspath --name '*.svc.cluster.local.'     a pattern for the whole name
  dnspath --client 10.244.1.10 --count 5    the next five of one pod
  dnspath --netns node-a --netns pod-1      only what happens in these namespaces
  dnspath --port 53 --port 1053             DNS on other ports too
  dnspath --failed --slower 100ms           what is wrong alone: may stay on for days
  dnspath -o json --events > trace.json     everything, for later
  dnspath -o json --node worker-1 > b.json  one node's part, for dnspath analyze
`

// traceFlags are the flags of trace.
type traceFlags struct {
	observe   observeFlags
	output    string
	names     []string
	types     []string
	clients   []string
	servers   []string
	pick      pickFlags
	timeout   time.Duration
	duration  time.Duration
	count     int
	open      int
	readyFile string
	events    bool
	rules     string
	allLegs   bool
	node      string
	selection []string // the flags given that leave lookups out
	ports     []uint16 // of DNS; nil: 53
}

func parseTrace(e *env, args []string) (*traceFlags, error) {
	f := &traceFlags{}
	fs := flags(e, "trace", traceUsage)
	fs.StringArrayVar(&f.names, "name", nil, "lookups for this `name` and all below it; with * or ? a pattern for the whole name; repeatable")
	fs.StringSliceVar(&f.types, "type", nil, "lookups of this query `type`, such as A or AAAA; repeatable")
	fs.StringSliceVar(&f.clients, "client", nil, "lookups of clients with this `address` or prefix; repeatable")
	fs.StringSliceVar(&f.servers, "server", nil, "lookups that asked this `address` or prefix, or were translated to it; repeatable")
	f.pick.register(fs)
	fs.StringVarP(&f.output, "output", "o", "text", "`format`: text or json, a record a line")
	fs.DurationVar(&f.timeout, "timeout", 5*time.Second, "a lookup without an answer for this `duration` is lost")
	fs.DurationVar(&f.duration, "duration", 0, "end after this `duration` (default: until interrupted)")
	fs.IntVar(&f.count, "count", 0, "end after `n` lookups (default: no end)")
	fs.IntVar(&f.open, "max-lookups", tracer.DefaultMaxLookups, "keep at most `n` lookups under way, at some 2 KB each and 400 bytes a hop; what is beyond is shown early, as incomplete")
	fs.StringVar(&f.readyFile, "ready-file", "", "make this `file` when everything is attached")
	fs.BoolVar(&f.events, "events", false, "with -o json: write every single observation too")
	fs.StringVar(&f.rules, "rules", rulesInferred, "name the rule that rewrote or dropped a packet, by `mode`: inferred, from the rules as they were then; exact, as nftables tells, by a table of its own in each namespace; or off")
	fs.BoolVar(&f.allLegs, "all-legs", false, "show each segment of TCP, those too that open and close a connection as they should")
	fs.StringVar(&f.node, "node", "", "`name` of this node in exports (default: the host's name)")
	f.observe.register(fs)
	if err := parse(fs, args); err != nil {
		return nil, err
	}
	if err := checkOutput(f.output); err != nil {
		return nil, err
	}
	f.selection = selection(fs)
	errs := []error{positive("timeout", f.timeout), positive("max-lookups", f.open), f.checkRules(), f.pick.check(fs), f.checkSlower()}
	if fs.Changed("duration") {
		errs = append(errs, positive("duration", f.duration))
	}
	if fs.Changed("count") {
		errs = append(errs, positive("count", f.count))
	}
	if f.events && f.output != "json" {
		errs = append(errs, usagef("--events needs -o json"))
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

// checkSlower refuses a time that no answer is waited for.
func (f *traceFlags) checkSlower() error {
	if f.pick.Slower >= f.timeout {
		return usagef("--slower: %v is not less than --timeout, %v: a lookup is lost then", f.pick.Slower, f.timeout)
	}
	return nil
}

// selection returns the flags given that leave lookups out of an export. A
// reader must know: what is not in the file may have been seen all the same.
func selection(fs *pflag.FlagSet) []string {
	given := []string{}
	for _, name := range []string{"name", "type", "client", "server", "netns", "port", "failed", "slower", "count"} {
		switch f := fs.Lookup(name); {
		case !f.Changed || f.Value.String() == "false":
		case f.Value.Type() == "bool":
			given = append(given, "--"+name)
		default:
			given = append(given, fmt.Sprintf("--%s %s", name, strings.Trim(f.Value.String(), "[]")))
		}
	}
	return given
}

// filter makes the filter that the flags describe.
func (f *traceFlags) filter() (*tracer.Filter, error) {
	opts := tracer.FilterOptions{Names: f.names, Types: f.types}
	var err error
	if opts.Clients, err = parsePrefixes("--client", f.clients); err != nil {
		return nil, err
	}
	if opts.Servers, err = parsePrefixes("--server", f.servers); err != nil {
		return nil, err
	}
	filter, err := tracer.NewFilter(opts)
	if err != nil {
		return nil, usageError{err}
	}
	return filter, nil
}

func runTrace(ctx context.Context, e *env, args []string) (err error) {
	f, err := parseTrace(e, args)
	if err != nil {
		return err
	}
	filter, err := f.filter()
	if err != nil {
		return err
	}
	opts, err := f.observe.options()
	if err != nil {
		return err
	}
	f.ports = opts.Ports
	opts.Timeout, opts.MaxLookups, opts.ExactRules = f.timeout, f.open, f.rules == rulesExact
	node, release, err := identity()
	if err != nil {
		return err
	}
	node = cmp.Or(f.node, node)
	t, err := tracer.Open(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	defer runtime.KeepAlive(steadyHeap())

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if f.duration > 0 {
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	out := newOutput(e, f, node, t)
	out.stop = cancel
	out.filter = filter
	if err := out.start(release); err != nil {
		return err
	}
	announce(e, t)
	stopSummaries := out.summarizeOn(ctx)
	if hears(e) {
		go obey(e.stdin.(*os.File), map[string]func(){"s": out.sumUp, "q": cancel})
	}
	sink := tracer.Sink{Lookup: out.lookup, Event: out.event, Ready: func() error { return makeReady(f.readyFile) }}
	err = t.Run(ctx, sink)
	cancel()
	stopSummaries()
	return errors.Join(err, out.finish())
}

// announce says on stderr what is observed, and what can't be.
func announce(e *env, t *tracer.Tracer) {
	attached := 0
	for _, p := range t.Probes() {
		if p.Attached {
			attached++
		}
	}
	how := "SIGUSR1 sums up"
	if hears(e) {
		how = "s and Enter sums up"
	}
	fmt.Fprintf(e.stderr, "dnspath: observing with %d probes, in %d network namespaces; Ctrl-C ends, %s\n", attached, t.Stats().Namespaces, how)
	if blind := blindSpots(t.Probes()); blind != "" {
		fmt.Fprintf(e.stderr, "dnspath: can't see: %s; dnspath probes tells why\n", blind)
	}
	if err := t.Stats().Err; err != nil {
		fmt.Fprintf(e.stderr, "dnspath: not all can be observed: %s\n", oneLine(err))
	}
}

// blindSpots names the hops that nothing observes, though it was asked for. Where
// no function can be probed that is one blind spot, not thirty.
func blindSpots(probes []tracer.ProbeStatus) string {
	seen := map[string]bool{}
	for _, p := range probes {
		if p.Attached || strings.HasPrefix(p.Why, "not asked for") {
			seen[p.Name] = true
		}
	}
	var blind []string
	for _, p := range probes {
		name := p.Name
		if p.Kind == kernel.KindFunction {
			name = "calls of kernel functions"
		}
		if !seen[p.Name] && !slices.Contains(blind, name) {
			blind = append(blind, name)
		}
	}
	return strings.Join(blind, ", ")
}

func makeReady(path string) error {
	if path == "" {
		return nil
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return fmt.Errorf("make ready file: %w", err)
	}
	return nil
}

// identity returns the names of the node and of its kernel.
func identity() (node, release string, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", "", fmt.Errorf("ask for the kernel's name: %w", err)
	}
	return unix.ByteSliceToString(u.Nodename[:]), unix.ByteSliceToString(u.Release[:]), nil
}

// view is the context in which lookups are shown.
func view(node string, t *tracer.Tracer) *render.Context {
	return &render.Context{
		Node: node,
		Wall: t.Wall,
		NetNS: func(inode uint32) (name, pod string) {
			if inode == 0 {
				return "", ""
			}
			ns, _ := t.Names().NetNS(inode)
			return ns.Name, ns.Pod
		},
	}
}
