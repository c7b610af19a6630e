// Matrix runs the module's tests on this machine, those that depend on the
// kernel in guests with Debian's kernels too, and prints what became of each
// test on each kernel.
//
//	matrix -kernels "6.1 6.12" -run 'TestPod'         tests
//	matrix -host=false -update -run TestVerifierCost  the verifier's costs anew
//	matrix -host=false -update -run TestFindings      which finding is named where
//	matrix -kernels 6.1 bin/dnspath probes            one command in a guest
//
// It runs in the module's folder and needs root. A test fails the run if it
// fails anywhere, or if no kernel at all ran it and passed it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// folder is where the built tests and the logs go.
const folder = "bin/vm"

// host is the name of this machine's own kernel in the table.
const host = "host"

// allKernels are those that a whole run has.
const allKernels = "5.10 6.1 6.12 6.18 7.2"

// errTests is returned when the tests ran and not all is well.
var errTests = errors.New("not all is well")

// settings are the command line.
type settings struct {
	kernels []string // Debian's series, as in 6.12
	host    bool     // run on this machine too
	guests  int      // at one time
	run     string   // regular expressions for tests, as of go test
	skip    string
	update  bool // write what is kept in docs/
	timeout time.Duration
	command []string // instead of tests
}

// whole says whether nothing was left out.
func (s settings) whole() bool {
	return s.host && s.run == "" && s.skip == "" && strings.Join(s.kernels, " ") == allKernels
}

//nolint:forbidigo // the process's own
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if exit := (*exitError)(nil); errors.As(err, &exit) {
		os.Exit(exit.status)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	var s settings
	flags := flag.NewFlagSet("matrix", flag.ContinueOnError)
	kernels := flags.String("kernels", allKernels, "`series` of Debian's kernels")
	flags.BoolVar(&s.host, "host", true, "run on this machine too")
	flags.IntVar(&s.guests, "guests", min(2, runtime.NumCPU()), "`number` of guests at one time")
	flags.StringVar(&s.run, "run", "", "run only tests that match `regexp`")
	flags.StringVar(&s.skip, "skip", "", "do not run tests that match `regexp`")
	flags.BoolVar(&s.update, "update", false, "write what TestVerifierCost and TestFindings measured to docs/")
	flags.DurationVar(&s.timeout, "timeout", 25*time.Minute, "for the tests of one kernel")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s.kernels, s.command = strings.Fields(*kernels), flags.Args()
	if err := os.MkdirAll(filepath.Join(folder, "log"), 0o755); err != nil {
		return err
	}
	if len(s.command) > 0 {
		return runCommand(ctx, out, s)
	}
	return runTests(ctx, out, s)
}

// runCommand runs one command in each guest, in this folder.
func runCommand(ctx context.Context, out io.Writer, s settings) error {
	if err := findQEMU(ctx); err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	var failed error
	for _, series := range s.kernels {
		g, err := newGuest(ctx, series)
		if err != nil {
			return err
		}
		if err := g.run(ctx, out, command{args: s.command, dir: dir, timeout: s.timeout}); err != nil {
			failed = err
		}
	}
	return failed
}

// runTests runs the tests: all of them here, and then those that depend on the
// kernel in guests.
func runTests(ctx context.Context, out io.Writer, s settings) error {
	m := &matrix{whole: s.whole(), results: make(map[string]results), why: make(map[string]error), logs: make(map[string][]string)}
	if s.host {
		m.run(out, host, host, func(log io.Writer) (results, error) { return runHost(ctx, out, log, s) })
	}
	var err error
	if m.suites, err = buildSuites(ctx, s); err != nil {
		return err
	}
	guests := m.findGuests(ctx, out, s)
	m.runGuests(ctx, out, guests, s)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.print(out)
	m.printFindings(out)
	if s.update {
		if err := m.keep(); err != nil {
			return err
		}
	}
	if !m.ok() {
		return errTests
	}
	return nil
}

// findGuests gets the kernels. One that can't be had is told and counts as not
// run; where nothing runs on this machine either, it counts as a failure.
func (m *matrix) findGuests(ctx context.Context, out io.Writer, s settings) (guests []guest) {
	if len(s.kernels) == 0 || len(m.suites) == 0 {
		return nil
	}
	if err := findQEMU(ctx); err != nil {
		m.leaveOut(out, s, err, s.kernels...)
		return nil
	}
	for _, series := range s.kernels {
		g, err := newGuest(ctx, series)
		if err != nil {
			m.leaveOut(out, s, err, series)
			continue
		}
		guests = append(guests, g)
	}
	return guests
}

// leaveOut tells that kernels can't be had.
func (m *matrix) leaveOut(out io.Writer, s settings, err error, kernels ...string) {
	why, _, _ := strings.Cut(err.Error(), "\n") // of what apt-get said, the step is enough
	fmt.Fprintf(out, "%s not run: %s\n", strings.Join(kernels, ", "), why)
	if s.host {
		m.without = append(m.without, kernels...)
		return
	}
	for _, k := range kernels {
		m.kernels = append(m.kernels, k)
		m.why[k] = err
	}
}

// findQEMU gets what guests need, or says why they can't be had.
func findQEMU(ctx context.Context) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("no guests: their kernels are amd64, this machine is %s", runtime.GOARCH)
	}
	if text, err := exec.CommandContext(ctx, "scripts/install-deps", "vm").CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return fmt.Errorf("no guests: %s", lines[len(lines)-1])
	}
	return nil
}
