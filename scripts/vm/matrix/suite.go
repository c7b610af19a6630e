package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// module is the prefix of the packages' names.
const module = "github.com/dnspath/dnspath/"

// slowness is what guests are told of themselves, and tests take from
// lab.Slowness: time limits are that much longer, loads that much smaller.
const slowness = 10

// folders are those whose tests need a kernel, quickest first.
var folders = []string{"internal/kernel", "internal/lab", "internal/nodestate", "cmd/dnspath"}

// suite is the compiled tests of one package.
type suite struct {
	name   string // folder in the module, as in cmd/dnspath
	dir    string // the same, absolute
	binary string
	run    string   // regular expression for tests
	tests  []string // "cmd/dnspath TestProbes"
}

// command is a program to run in a guest.
type command struct {
	args    []string
	env     []string // added to the environment
	dir     string
	timeout time.Duration
}

// exitError is the status of a command that ended by itself.
type exitError struct{ status int }

func (e *exitError) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// buildSuites compiles the tests and lists those that are selected.
func buildSuites(ctx context.Context, set settings) ([]suite, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	top, _, _ := strings.Cut(set.run, "/") // what is beyond it selects subtests
	if top == "" {
		top = "." // an empty list is one that was not asked for
	}
	skip := regexp.MustCompile("^$") // matches no test's name
	if set.skip != "" && !strings.Contains(set.skip, "/") {
		if skip, err = regexp.Compile(set.skip); err != nil {
			return nil, fmt.Errorf("tests to skip: %w", err)
		}
	}
	var suites []suite
	for _, name := range folders {
		s := suite{name: name, dir: filepath.Join(root, name), binary: filepath.Join(root, folder, path.Base(name)+".test"), run: set.run}
		if err := build(ctx, "test", "-c", "-tags", "e2e", "-o", s.binary, "./"+name); err != nil {
			return nil, err
		}
		list := exec.CommandContext(ctx, s.binary, "-test.list="+top)
		list.Dir = s.dir
		text, err := list.Output()
		if err != nil {
			return nil, fmt.Errorf("list the tests of %s: %w", name, err)
		}
		for _, test := range strings.Fields(string(text)) {
			if strings.HasPrefix(test, "Test") && !skip.MatchString(test) {
				s.tests = append(s.tests, name+" "+test)
			}
		}
		if len(s.tests) > 0 {
			suites = append(suites, s)
		}
	}
	if len(suites) == 0 && !set.host { // else it may be one that needs no kernel
		return nil, fmt.Errorf("no test matches %q", set.run)
	}
	return suites, nil
}

// only returns the suites with some of their tests alone.
func only(suites []suite, tests map[string]bool) (some []suite) {
	for _, s := range suites {
		s.tests = slices.DeleteFunc(slices.Clone(s.tests), func(test string) bool { return !tests[test] })
		if len(s.tests) > 0 {
			s.run = "^(" + strings.ReplaceAll(strings.Join(s.tests, "|"), s.name+" ", "") + ")$"
			some = append(some, s)
		}
	}
	return some
}

// build runs the go command for a static program.
func build(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w: %s", args[0], err, text)
	}
	return nil
}

// endMark begins the line that follows a suite's output; its name and status
// come behind it.
const endMark = "MATRIX-SUITE-END"

// script is a shell's script that runs the suites one after the other: a boot
// costs more than most suites' start.
func script(suites []suite, set settings) string {
	var b strings.Builder
	for _, s := range suites {
		fmt.Fprintf(&b, "cd %s && %s", quote(s.dir), quote(s.binary))
		for _, arg := range []string{"v=test2json", "count=1", "timeout=" + set.timeout.String(), "run=" + s.run, "skip=" + set.skip} {
			fmt.Fprintf(&b, " %s", quote("-test."+arg))
		}
		fmt.Fprintf(&b, "\nprintf '\\n%s %%s %%d\\n' %s $?\n", endMark, quote(s.name))
	}
	return b.String()
}

// quote quotes a word for the shell.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// mayFail is how many of a guest's tests may fail and be run once more.
const mayFail = 3

// runTwice runs all suites in one guest, and in another those of their tests that
// failed, if they are few: two guests, and what else this machine does, share its
// processors, and what came late there may be in time alone. What they said first is
// kept. It returns the results even with an error.
func runTwice(ctx context.Context, log io.Writer, g guest, suites []suite, set settings) (results, error) {
	res, err := runSuites(ctx, log, g, suites, set)
	failed := res.failures()
	if err != nil || len(failed) == 0 || len(failed) > mayFail || strings.Contains(set.run, "/") {
		return res, err
	}
	again, err := runSuites(ctx, log, g, only(suites, failed), set)
	res.addSecond(again)
	return res, err
}

// runSuites runs all suites in one guest and returns their results, even with
// an error.
func runSuites(ctx context.Context, log io.Writer, g guest, suites []suite, set settings) (results, error) {
	tool, err := filepath.Abs(cmp.Or(os.Getenv("DNSPATH_BIN"), "bin/dnspath"))
	if err != nil {
		return nil, err
	}
	coreDNS, err := exec.CommandContext(ctx, "scripts/coredns").Output() // guests have no network to build it with
	if err != nil {
		return nil, fmt.Errorf("build coredns: %w", err)
	}
	env := []string{"DNSPATH_BIN=" + tool, "DNSPATH_COREDNS=" + strings.TrimSpace(string(coreDNS)), fmt.Sprintf("DNSPATH_SLOW=%d", slowness), "DNSPATH_ALL=" + os.Getenv("DNSPATH_ALL")}
	if !set.update { // or there is nothing to compare with
		env = append(env, "DNSPATH_KERNEL="+g.series)
	}
	var text bytes.Buffer
	err = g.run(ctx, io.MultiWriter(&text, unmarked{log}), command{
		args: []string{"/bin/sh", "-c", script(suites, set)}, env: env, dir: "/",
		// The tests' own limit tells which test hangs: it comes first.
		timeout: set.timeout + time.Minute,
	})
	res := make(results)
	errs := []error{err}
	rest := text.Bytes()
	for _, s := range suites {
		var status int
		out, after, ended := bytes.Cut(rest, []byte("\n"+endMark+" "+s.name+" "))
		if ended {
			_, scanErr := fmt.Fscanln(bytes.NewReader(after), &status)
			errs = append(errs, scanErr)
		} else if err == nil {
			errs = append(errs, fmt.Errorf("%s did not end", s.name))
		}
		rest = after
		one, parseErr := parse(ctx, s.name, bytes.NewReader(out))
		errs = append(errs, parseErr)
		if status != 0 && !one.failed() {
			errs = append(errs, fmt.Errorf("%s: exit status %d, though no test failed", s.name, status))
		}
		res.add(one)
	}
	return res, errors.Join(errs...)
}

// unmarked writes a test's output without the marks that are for test2json.
type unmarked struct{ w io.Writer }

func (u unmarked) Write(p []byte) (int, error) {
	_, err := u.w.Write(bytes.ReplaceAll(p, []byte{0x16}, nil))
	return len(p), err
}
