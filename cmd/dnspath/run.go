package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

// env is what the command uses of the process around it.
type env struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	now    func() time.Time
}

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitLookup = 3
)

// errLookupFailed says that all went well but for a lookup.
var errLookupFailed = errors.New("a lookup failed")

// usageError is a fault in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// command is a verb.
type command struct {
	name  string
	short string
	run   func(ctx context.Context, e *env, args []string) error
}

func commands() []command {
	return []command{
		{"trace", "show DNS lookups live, hop by hop (the default)", runTrace},
		{"check", "what this node's configuration would do to DNS, without traffic", runCheck},
		{"analyze", "join what several nodes exported", runAnalyze},
		{"probes", "show what this kernel lets us see, and how", runProbes},
		{"version", "print the version", runVersion},
	}
}

// run executes the command line and returns the exit status.
func run(ctx context.Context, e *env, args []string) int {
	err := dispatch(ctx, e, args)
	var usage usageError
	switch {
	case err == nil, errors.Is(err, pflag.ErrHelp), errors.Is(err, syscall.EPIPE):
		return exitOK
	case errors.Is(err, errLookupFailed):
		return exitLookup
	case errors.As(err, &usage):
		fmt.Fprintf(e.stderr, "dnspath: %s; see dnspath --help\n", oneLine(err))
		return exitUsage
	default:
		fmt.Fprintf(e.stderr, "dnspath: %s\n", oneLine(err))
		return exitFailed
	}
}

// oneLine keeps an error's text on one line, verifier logs and joined errors too.
func oneLine(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

// dispatch finds the verb; without one it is trace.
func dispatch(ctx context.Context, e *env, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") && args[0] != "-h" && args[0] != "--help" && args[0] != "--version" {
		return runTrace(ctx, e, args)
	}
	switch args[0] {
	case "-h", "--help", "help":
		help(e)
		return nil
	case "--version":
		return runVersion(ctx, e, nil)
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, e, args[1:])
		}
	}
	return usagef("unknown command %q", args[0])
}

func help(e *env) {
	fmt.Fprint(e.stdout, `dnspath follows DNS lookups through this node, packet by packet: where each
went, what rewrote it, and where it died.

Usage:
  dnspath [command] [flags]

Commands:
`)
	for _, c := range commands() {
		fmt.Fprintf(e.stdout, "  %-9s %s\n", c.name, c.short)
	}
	fmt.Fprint(e.stdout, `
Examples:
  dnspath                                   all lookups of this node, live
  dnspath --name example.test --type AAAA   those for one domain and type
  dnspath -o json > trace.json              keep them for later
  dnspath analyze a.json b.json             what two nodes saw, put together
  dnspath probes                            what can be seen here

dnspath COMMAND --help tells more.
`)
}

// flags makes a flag set whose help is usage followed by the flags.
func flags(e *env, name, usage string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.SetOutput(io.Discard) // errors are printed once, by run
	fs.Usage = func() { fmt.Fprintf(e.stdout, "%s\nFlags:\n%s", usage, fs.FlagUsages()) }
	return fs
}

// parse parses args; a flag that holds one value may be given once.
func parse(fs *pflag.FlagSet, args []string) error {
	files, err := parseWithFiles(fs, args)
	if err == nil && len(files) > 0 {
		return usagef("unexpected argument %q", files[0])
	}
	return err
}

// parseWithFiles is parse for a verb that takes arguments, and returns them.
func parseWithFiles(fs *pflag.FlagSet, args []string) ([]string, error) {
	given := map[string]bool{}
	err := fs.ParseAll(args, func(f *pflag.Flag, value string) error {
		_, many := f.Value.(pflag.SliceValue)
		if given[f.Name] && !many {
			return fmt.Errorf("--%s is given twice", f.Name)
		}
		if value == "" {
			return fmt.Errorf("--%s has no value", f.Name)
		}
		given[f.Name] = true
		return fs.Set(f.Name, value)
	})
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return nil, err
	case err != nil:
		return nil, usageError{err}
	}
	return fs.Args(), nil
}
