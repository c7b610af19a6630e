package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// outcome is what became of a test on a kernel.
type outcome string

const (
	notRun outcome = "-"
	pass   outcome = "pass"
	skip   outcome = "skip"
	fail   outcome = "FAIL"
)

// result is one test's.
type result struct {
	outcome outcome
	said    []string // what it wrote, a line each
	seconds float64  // that it took
	first   []string // what it wrote when it failed, and was run once more; nil: it was not
}

// results are by test, as in "cmd/dnspath TestProbes" and "cmd/dnspath TestTC/all".
type results map[string]*result

// parse reads what one package's tests wrote with -test.v=test2json. A test that
// began and did not end has failed.
func parse(ctx context.Context, suite string, text io.Reader) (results, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-t", "-p", suite) // -t: how long each took
	cmd.Stdin = text
	events, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start test2json: %w", err)
	}
	res := make(results)
	readErr := res.read(events, io.Discard, func(string, float64) {})
	_, _ = io.Copy(io.Discard, events) // or it would wait for a reader
	if err := errors.Join(readErr, cmd.Wait()); err != nil {
		return res, fmt.Errorf("read the tests' output: %w", err)
	}
	return res, nil
}

// read takes the events of "go doc test2json", writes what was written to log,
// and calls ended for each package that ends.
func (res results) read(events io.Reader, log io.Writer, ended func(name string, seconds float64)) error {
	for d := json.NewDecoder(events); ; {
		var e struct {
			Action, Package, Test, Output string
			Elapsed                       float64 // seconds
		}
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := io.WriteString(log, e.Output); err != nil {
			return err
		}
		name := strings.TrimPrefix(e.Package, module)
		switch {
		case e.Test != "":
			res.event(name+" "+e.Test, e.Action, e.Output, e.Elapsed)
		case e.Action == "pass" || e.Action == "fail":
			ended(name, e.Elapsed)
		}
	}
}

func (res results) event(name, action, output string, seconds float64) {
	r := res[name]
	if r == nil {
		r = &result{outcome: fail}
		res[name] = r
	}
	switch action {
	case "output":
		line := strings.TrimSpace(output)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			r.said = append(r.said, line)
		}
	case "pass", "skip", "fail":
		r.outcome, r.seconds = map[string]outcome{"pass": pass, "skip": skip, "fail": fail}[action], seconds
	}
}

// message is the beginning of what a test logs.
var message = regexp.MustCompile(`^\w+\.go:\d+: `)

// why returns the last message of a test, the first line of it.
func (r *result) why() string {
	for _, line := range slices.Backward(r.said) {
		if message.MatchString(line) {
			return line
		}
	}
	return ""
}

func (res results) add(more results) {
	for name, r := range more {
		res[name] = r
	}
}

// addSecond adds the results of tests that had failed.
func (res results) addSecond(again results) {
	for name, r := range again {
		if before := res[name]; before != nil && before.outcome == fail {
			r.first = append([]string{}, before.said...)
		}
	}
	res.add(again)
}

// failures returns the tests that failed, without subtests.
func (res results) failures() map[string]bool {
	failed := make(map[string]bool)
	for name, r := range res {
		if r.outcome == fail && isTop(name) {
			failed[name] = true
		}
	}
	return failed
}

// failed says whether any test failed.
func (res results) failed() bool {
	for _, r := range res {
		if r.outcome == fail {
			return true
		}
	}
	return false
}

// count is how many tests ended how.
type count map[outcome]int

// of counts a package's tests, without subtests.
func (res results) of(suite string) count {
	n := make(count)
	for name, r := range res {
		if strings.HasPrefix(name, suite+" ") && isTop(name) {
			n[r.outcome]++
		}
	}
	return n
}

func (n count) total() int { return n[pass] + n[fail] + n[skip] }

func (n count) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", n[pass], n[fail], n[skip])
}

// isTop says whether a name is a test's and not a subtest's.
func isTop(name string) bool {
	_, test, _ := strings.Cut(name, " ")
	return !strings.Contains(test, "/")
}

// outcome returns what became of a test.
func (res results) outcome(name string) outcome {
	if r := res[name]; r != nil {
		return r.outcome
	}
	return notRun
}
