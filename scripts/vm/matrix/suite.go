package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// folders are those whose tests need a kernel, quickest first.
var folders = []string{"internal/kernel", "internal/lab", "cmd/dnspath"}

// suite is the compiled tests of one package.
type suite struct {
	name   string // folder in the module, as in cmd/dnspath
	dir    string // the same, absolute
	binary string
	tests  []string // "cmd/dnspath TestProbes"
}

// command is a program to run, here or in a guest.
type command struct {
	args    []string
	env     []string // added to the environment
	dir     string
	timeout time.Duration
}

// runner runs a command to its end, with all its output to out. A status other
// than 0 is an exitError.
type runner func(ctx context.Context, out io.Writer, c command) error

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
		s := suite{name: name, dir: filepath.Join(root, name), binary: filepath.Join(root, folder, path.Base(name)+".test")}
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
	if len(suites) == 0 {
		return nil, fmt.Errorf("no test matches %q", set.run)
	}
	return suites, nil
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

// run runs the suite's tests and returns their results, even with an error.
func (s suite) run(ctx context.Context, log io.Writer, set settings, start runner) (results, error) {
	c := command{
		args: []string{s.binary, "-test.v=test2json", "-test.count=1", "-test.timeout=" + set.timeout.String(), "-test.run=" + set.run, "-test.skip=" + set.skip},
		env:  []string{"DNSPATH_BIN=" + os.Getenv("DNSPATH_BIN")},
		dir:  s.dir,
		// The tests' own limit tells which test hangs: it comes first.
		timeout: set.timeout + time.Minute,
	}
	var text bytes.Buffer
	err := start(ctx, io.MultiWriter(&text, unmarked{log}), c)
	res, parseErr := parse(ctx, s.name, &text)
	return res, errors.Join(err, parseErr)
}

// unmarked writes a test's output without the marks that are for test2json.
type unmarked struct{ w io.Writer }

func (u unmarked) Write(p []byte) (int, error) {
	_, err := u.w.Write(bytes.ReplaceAll(p, []byte{0x16}, nil))
	return len(p), err
}

// directly is the runner for this machine's own kernel.
func directly(ctx context.Context, out io.Writer, c command) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = append(os.Environ(), c.env...), c.dir, out, out
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return &exitError{exit.ExitCode()}
	}
	return err
}
