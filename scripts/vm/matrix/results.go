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
	said    []string // what it logged, a line each
	why     string   // the last of it, for a skip or a failure
}

// results are by test, as in "cmd/dnspath TestProbes" and "cmd/dnspath TestTC/all".
type results map[string]*result

// parse reads what tests wrote with -test.v=test2json. A test that began and
// did not end has failed.
func parse(ctx context.Context, suite string, text io.Reader) (results, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json")
	cmd.Stdin = text
	events, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start test2json: %w", err)
	}
	res := make(results)
	readErr := res.read(suite, events)
	_, _ = io.Copy(io.Discard, events) // or it would wait for a reader
	if err := errors.Join(readErr, cmd.Wait()); err != nil {
		return res, fmt.Errorf("read the tests' output: %w", err)
	}
	return res, nil
}

func (res results) read(suite string, events io.Reader) error {
	for d := json.NewDecoder(events); ; {
		var e struct{ Action, Test, Output string } // of go doc test2json
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if e.Test == "" {
			continue
		}
		name := suite + " " + e.Test
		r := res[name]
		if r == nil {
			r = &result{outcome: fail, why: "did not end"}
			res[name] = r
		}
		r.event(e.Action, e.Output)
	}
}

func (r *result) event(action, output string) {
	switch action {
	case "output":
		line := strings.TrimSpace(output)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			r.said = append(r.said, line)
		}
	case "pass", "skip", "fail":
		r.outcome = map[string]outcome{"pass": pass, "skip": skip, "fail": fail}[action]
		r.why = r.lastSaid()
	}
}

// lastSaid returns the last message of a test, the first line of it.
func (r *result) lastSaid() string {
	message := regexp.MustCompile(`^\w+\.go:\d+: `)
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

func (res results) any(o outcome) bool {
	for _, r := range res {
		if r.outcome == o {
			return true
		}
	}
	return false
}

// count says how many tests, without subtests, ended how.
func (res results) count() string {
	n := make(map[outcome]int)
	for name, r := range res {
		if isTop(name) {
			n[r.outcome]++
		}
	}
	return fmt.Sprintf("%d passed, %d failed, %d skipped", n[pass], n[fail], n[skip])
}

// isTop says whether a name is a test's and not a subtest's.
func isTop(name string) bool {
	_, test, _ := strings.Cut(name, " ")
	return !strings.Contains(test, "/")
}

// of returns a test's outcome.
func (res results) of(name string) outcome {
	if r := res[name]; r != nil {
		return r.outcome
	}
	return notRun
}
