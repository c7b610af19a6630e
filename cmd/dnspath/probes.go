package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dnspath/dnspath/internal/kernel"
	"github.com/dnspath/dnspath/internal/render"
	"github.com/dnspath/dnspath/tracer"
)

const probesUsage = `Show what this kernel lets dnspath see, and how: each hop of a packet's way, the
probe that observes it, and why some can't. The probes are attached for a
moment, and detached again.

Usage:
  dnspath probes [flags]

Examples:
  dnspath probes
  dnspath probes --tc -o json
`

// probesRecord is what `probes -o json` writes.
type probesRecord struct {
	Type     string               `json:"type"` // "probes"
	Schema   int                  `json:"schema"`
	Node     string               `json:"node"`
	Kernel   string               `json:"kernel"`
	Probes   []render.ProbeRecord `json:"probes"`
	Took     kernel.Took          `json:"took"`
	Backends map[string]string    `json:"backends"` // to why the kernel does not allow it; empty if it does
}

func runProbes(_ context.Context, e *env, args []string) (err error) {
	fs := flags(e, "probes", probesUsage)
	var observe observeFlags
	observe.register(fs)
	output := fs.StringP("output", "o", "text", "`format`: text or json")
	if err := parse(fs, args); err != nil {
		return err
	}
	if err := checkOutput(*output); err != nil {
		return err
	}
	opts, err := observe.options()
	if err != nil {
		return err
	}
	node, release, err := identity()
	if err != nil {
		return err
	}
	t, err := tracer.Open(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	rec := probesRecord{
		Type: "probes", Schema: render.SchemaVersion, Node: node, Kernel: release,
		Probes: render.Probes(t.Probes()), Took: t.Took(), Backends: map[string]string{},
	}
	for _, b := range kernel.Backends {
		rec.Backends[string(b)] = b.Unavailable()
	}
	if *output == "json" {
		return render.WriteJSON(e.stdout, rec)
	}
	return writeProbes(e, &rec)
}

func writeProbes(e *env, rec *probesRecord) error {
	var b strings.Builder
	fmt.Fprintf(&b, "kernel %s\n\n", rec.Kernel)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOP\tLAYER\tPROBE\tKIND\tSEEN\tWHAT\tNOTE")
	for _, p := range rec.Probes {
		seen := "yes"
		if !p.Attached {
			seen = "no"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Hop, p.Layer, p.Probe, p.Kind, seen, p.Sees, p.Note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	b.WriteString("\nways to probe kernel functions (--backend), best first:\n")
	for _, backend := range kernel.Backends {
		why := rec.Backends[string(backend)]
		if why == "" {
			why = "allowed"
		}
		fmt.Fprintf(&b, "  %-13s %s\n", backend, why)
	}
	fmt.Fprintf(&b, "\nloaded in %v, attached in %v\n", rec.Took.Load.Round(time.Millisecond), rec.Took.Attach.Round(100*time.Microsecond))
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(e.stdout, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func checkOutput(format string) error {
	if format != "text" && format != "json" {
		return usagef("--output: %q is none of text, json", format)
	}
	return nil
}
