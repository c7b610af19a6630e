package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/internal/capture"
	"github.com/dnspath/dnspath/internal/render"
)

const analyzeUsage = `Read exports of one or several nodes (dnspath -o json), put together what they
saw of the same lookup, and print each lookup once, with its way from node to
node. The nodes' clocks need not agree: their offset is estimated.

Usage:
  dnspath analyze [flags] FILE...

A FILE that is - is standard input. The exit status is 3 if a lookup failed.

Examples:
  dnspath analyze worker-0.json worker-1.json
  dnspath analyze --failed *.json
  dnspath analyze --name example.test --type A -o json a.json b.json
  ssh worker-1 cat trace.json | dnspath analyze worker-0.json -
`

// analyzeFlags are the flags of analyze.
type analyzeFlags struct {
	output  string
	names   []string
	types   []string
	clients []string
	servers []string
	pick    pickFlags
	files   []string
}

func parseAnalyze(e *env, args []string) (*analyzeFlags, capture.Selection, error) {
	f := &analyzeFlags{}
	var sel capture.Selection
	fs := flags(e, "analyze", analyzeUsage)
	fs.StringArrayVar(&f.names, "name", nil, "lookups for this `name` and all below it; with * or ? a pattern for the whole name; repeatable")
	fs.StringSliceVar(&f.types, "type", nil, "lookups of this query `type`, such as A or AAAA; repeatable")
	fs.StringSliceVar(&f.clients, "client", nil, "lookups of clients with this `address` or prefix; repeatable")
	fs.StringSliceVar(&f.servers, "server", nil, "lookups that asked this `address` or prefix, or were translated to it; repeatable")
	f.pick.register(fs)
	fs.StringVarP(&f.output, "output", "o", "text", "`format`: text or json, a record a line")
	var err error
	if f.files, err = parseWithFiles(fs, args); err != nil {
		return nil, sel, err
	}
	if err := checkOutput(f.output); err != nil {
		return nil, sel, err
	}
	if err := f.pick.check(fs); err != nil {
		return nil, sel, err
	}
	if len(f.files) == 0 {
		return nil, sel, usagef("analyze: no file given")
	}
	for i, name := range f.files {
		if name == "-" && slices.Contains(f.files[:i], name) {
			return nil, sel, usagef("analyze: standard input is given twice")
		}
	}
	filter := traceFlags{names: f.names, types: f.types, clients: f.clients, servers: f.servers}
	sel.Pick = f.pick.Pick
	sel.Filter, err = filter.filter()
	return f, sel, err
}

func runAnalyze(ctx context.Context, e *env, args []string) (err error) {
	f, sel, err := parseAnalyze(e, args)
	if err != nil {
		return err
	}
	var sources []capture.Source
	for _, name := range f.files {
		file, err := openExport(e, name)
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return fmt.Errorf("open export: %w", err)
		}
		if name == "-" {
			name = "standard input"
		}
		sources = append(sources, capture.Source{Name: name, Data: file, Size: info.Size()})
	}
	c, err := capture.Read(sources)
	if err != nil {
		return err
	}
	a := &analysis{env: e, flags: f, sel: sel, capture: c, joined: c.Join(), outcomes: map[string]uint64{}}
	return a.write(ctx)
}

// openExport opens a file that can be read twice: what can't (standard input, a
// pipe) is copied to a file without a name.
func openExport(e *env, name string) (*os.File, error) {
	var stream io.Reader = e.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("open export: %w", err)
		}
		info, err := file.Stat()
		if err != nil || info.Mode().IsRegular() {
			return file, err
		}
		defer file.Close()
		if info.IsDir() {
			return nil, fmt.Errorf("open export: %s is a folder", name)
		}
		stream = file
	}
	spool, err := os.CreateTemp("", "dnspath-analyze-")
	if err != nil {
		return nil, fmt.Errorf("open export: %w", err)
	}
	if err := os.Remove(spool.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("open export: %w", err), spool.Close())
	}
	if _, err := io.Copy(spool, stream); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", name, err), spool.Close())
	}
	return spool, nil
}

// analysis writes what the exports tell together.
type analysis struct {
	env     *env
	flags   *analyzeFlags
	sel     capture.Selection
	capture *capture.Capture
	joined  *capture.Joined

	said     int // warnings
	shown    int
	failed   int
	outcomes map[string]uint64
}

func (a *analysis) write(ctx context.Context) error {
	a.warn()
	color, width := terminal(a.env)
	text := render.Text{Color: color, Width: width}
	w := bufio.NewWriterSize(a.env.stdout, 1<<16)
	err := a.joined.Each(a.sel, func(r *render.Record) error {
		a.shown++
		a.outcomes[r.Outcome]++
		if capture.Failed(r) {
			a.failed++
		}
		if a.flags.output == "json" {
			return errors.Join(ctx.Err(), render.WriteJSON(w, r))
		}
		capture.Clean(r)
		return errors.Join(ctx.Err(), text.Write(w, r))
	})
	if err == nil && a.flags.output == "json" {
		sum := a.joined.Analysis()
		sum.Outcomes = a.outcomes
		err = render.WriteJSON(w, sum)
	}
	if err = errors.Join(err, w.Flush()); err != nil {
		return err
	}
	a.warn()
	a.summarize()
	if a.failed > 0 {
		return errLookupFailed
	}
	return nil
}

// warn says what has not been said yet.
func (a *analysis) warn() {
	warnings := a.capture.Warnings()
	for _, warning := range warnings[a.said:] {
		fmt.Fprintf(a.env.stderr, "dnspath: %s\n", render.Printable(warning))
	}
	a.said = len(warnings)
}

// summarize says on stderr what was put together.
func (a *analysis) summarize() {
	sum := a.joined.Analysis()
	var parts []string
	for _, outcome := range slices.Sorted(maps.Keys(a.outcomes)) {
		parts = append(parts, fmt.Sprintf("%s %d", render.Printable(outcome), a.outcomes[outcome]))
	}
	shown := ""
	if a.shown < a.joined.Lookups() {
		shown = fmt.Sprintf(", %d of them shown", a.shown)
	}
	if len(parts) > 0 {
		shown += ": " + strings.Join(parts, ", ")
	}
	nodes := "1 node"
	if n := len(sum.Nodes); n > 1 {
		nodes = fmt.Sprintf("%d nodes", n)
	}
	fmt.Fprintf(a.env.stderr, "dnspath: %d records of %s, %d lookups, %d seen on several nodes%s\n", sum.Records, nodes, sum.Lookups, sum.Joined, shown)
	for _, n := range sum.Nodes[min(1, len(sum.Nodes)):] {
		if n.OffsetNS != nil {
			fmt.Fprintf(a.env.stderr, "dnspath: clock of %s: %s (± %s) against that of %s\n", render.Printable(n.Node),
				render.Offset(*n.OffsetNS), render.Duration(*n.ErrorNS), render.Printable(sum.Nodes[0].Node))
		}
	}
}
