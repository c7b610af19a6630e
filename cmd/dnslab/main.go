// Command dnslab raises a lab of network namespaces that looks like two
// Kubernetes nodes with a DNS service. It needs root and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

// env is what a command has from the outside.
type env struct {
	stdin          *os.File // a file, since a shell wants its terminal
	stdout, stderr io.Writer
	getenv         func(string) string
}

// command is one verb. Its run gets the arguments after the verb.
type command struct {
	name, summary string
	run           func(ctx context.Context, e env, args []string) error
}

// commands lists the verbs, one file each.
func commands() []command {
	return []command{
		{"shell", "raise the lab and run a shell or a command in it", runShell},
		{"demo", "trace a healthy lookup and one that a firewall drops", runDemo},

		{"bench", "measure what dnspath costs, and how much it keeps up with", runBench},
		{"mixed", "compare what dnspath tells of lookups with what their clients know", runMixed},
		{"healthy", "prove that dnspath calls no checksum wrong that is right", runHealthy},
		{"noise", "prove that dnspath blames nobody for what is nobody's fault", runNoise},
		{"load", "send lookups at a steady rate, from within a lab's shell", runLoad},
	}
}

// exitError carries an exit status without a message: the command that was run
// has told its own.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// errUsage marks errors in the arguments.
var errUsage = errors.New("usage error")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	e := env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	status := exitStatus(e, run(ctx, e, os.Args[1:]))
	stop()
	os.Exit(status)
}

// exitStatus tells the error, if it is one of ours, and returns 0 all well,
// 1 failed, 2 usage, or the status of the command that was run.
func exitStatus(e env, err error) int {
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	fmt.Fprintln(e.stderr, "dnslab:", err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

func run(ctx context.Context, e env, args []string) error {
	if len(args) == 0 {
		usage(e.stderr)
		return fmt.Errorf("%w: a command is needed", errUsage)
	}
	switch args[0] {
	case "-h", "--help", "help":
		usage(e.stdout)
		return nil
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, e, args[1:])
		}
	}
	return fmt.Errorf("%w: unknown command %q, see dnslab --help", errUsage, args[0])
}

func usage(w io.Writer) {
	fmt.Fprint(w, `dnslab raises a lab that looks like two Kubernetes nodes with cluster DNS.

Usage:
  dnslab COMMAND [flags]

Commands:
`)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, `
Example:
  dnslab shell --service iptables -- ip netns exec client dig @10.96.0.10 a.example.test
`)
}

// newFlags returns a flag set whose --help prints the text and the flags.
func newFlags(e env, name, help string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.SetInterspersed(false) // what follows belongs to the command to run
	fs.SetOutput(e.stdout)
	fs.Usage = func() { fmt.Fprintf(e.stdout, "%s\nFlags:\n%s", help, fs.FlagUsages()) }
	return fs
}

// parse parses the arguments; done means that help was asked for and given.
func parse(fs *pflag.FlagSet, args []string) (done bool, err error) {
	err = fs.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", errUsage, err)
	}
	return false, nil
}
