// Matrix runs the end-to-end tests on this machine and in guests with Debian's
// kernels, and prints what became of each test on each kernel.
//
//	matrix -kernels "6.1 6.12" -run 'TestPod'    tests
//	matrix -kernels 6.1 bin/dnspath probes       one command in a guest
//
// It runs in the module's folder and needs root. A test fails the run if it
// fails anywhere, or if no kernel ran it and passed it.
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
	"slices"
	"strings"
	"syscall"
	"time"
)

// folder is where the built tests and the logs go.
const folder = "bin/vm"

// host is the name of this machine's own kernel in the table.
const host = "host"

// errTests is returned when the tests ran and not all is well.
var errTests = errors.New("not all is well")

// settings are the command line.
type settings struct {
	kernels []string // Debian's series, as in 6.12
	run     string   // regular expressions for tests, as of go test
	skip    string
	timeout time.Duration
	command []string // instead of tests
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
	kernels := flags.String("kernels", "5.10 6.1 6.12 6.18 7.2", "`series` of Debian's kernels")
	flags.StringVar(&s.run, "run", "", "run only tests that match `regexp`")
	flags.StringVar(&s.skip, "skip", "", "do not run tests that match `regexp`")
	flags.DurationVar(&s.timeout, "timeout", 40*time.Minute, "for one package's tests in a guest")
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

// runTests runs all tests on all kernels, this machine's first.
func runTests(ctx context.Context, out io.Writer, s settings) error {
	suites, err := buildSuites(ctx, s)
	if err != nil {
		return err
	}
	m := &matrix{suites: suites, results: make(map[string]results)}
	m.run(ctx, out, host, s, directly)
	if err := findQEMU(ctx); err != nil {
		fmt.Fprintf(out, "%v: %s not run\n", err, strings.Join(s.kernels, ", "))
		m.without = s.kernels
		s.kernels = nil
	}
	for _, series := range s.kernels {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g, err := newGuest(ctx, series)
		if err != nil {
			fmt.Fprintf(out, "%s: %v\n", series, err)
			m.broken = append(m.broken, series)
			m.kernels = append(m.kernels, series)
			continue
		}
		m.run(ctx, out, series, s, g.run)
	}
	m.print(out)
	if !m.ok() {
		return errTests
	}
	return nil
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

// matrix is what came of all tests on all kernels.
type matrix struct {
	suites  []suite
	kernels []string           // in the order of the table
	broken  []string           // kernels that could not be had or started, or whose tests died
	without []string           // kernels not run for want of QEMU
	results map[string]results // by kernel
}

// run runs all suites on one kernel, writes its log and tells how it went.
func (m *matrix) run(ctx context.Context, out io.Writer, kernel string, s settings, start runner) {
	m.kernels, m.results[kernel] = append(m.kernels, kernel), make(results)
	log, err := os.Create(logFile(kernel))
	if err != nil {
		fmt.Fprintf(out, "%s: %v\n", kernel, err)
		m.broken = append(m.broken, kernel)
		return
	}
	defer log.Close()
	for _, suite := range m.suites {
		begin := time.Now()
		res, err := suite.run(ctx, log, s, start)
		m.results[kernel].add(res)
		fmt.Fprintf(out, "%-5s %-16s %s, %s\n", kernel, suite.name, res.count(), time.Since(begin).Round(time.Second))
		if exit := (*exitError)(nil); err != nil && (!errors.As(err, &exit) || !res.any(fail)) {
			fmt.Fprintf(out, "%s: %s: %v\n", kernel, suite.name, err)
			m.broken = append(m.broken, kernel)
		}
	}
}

func logFile(kernel string) string {
	return filepath.Join(folder, "log", kernel+".log")
}

// ok says whether every test passed somewhere and failed nowhere.
func (m *matrix) ok() bool {
	failed := slices.ContainsFunc(m.kernels, func(k string) bool { return m.results[k].any(fail) })
	return !failed && len(m.broken) == 0 && len(m.neverPassed()) == 0
}

// neverPassed returns the tests, and their subtests, that no kernel passed.
func (m *matrix) neverPassed() []string {
	passed := make(map[string]bool)
	for _, s := range m.suites {
		for _, t := range s.tests {
			passed[t] = false
		}
	}
	for _, res := range m.results {
		for name, r := range res {
			passed[name] = passed[name] || r.outcome == pass
		}
	}
	var never []string
	for name, ok := range passed {
		if !ok {
			never = append(never, name)
		}
	}
	slices.Sort(never)
	return never
}
