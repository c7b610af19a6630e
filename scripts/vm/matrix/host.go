package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// runHost runs all tests of the module on this machine and returns their
// results, even with an error.
func runHost(ctx context.Context, out, log io.Writer, set settings) (results, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-json", "-tags", "e2e", "-count=1",
		"-timeout="+set.timeout.String(), "-run="+set.run, "-skip="+set.skip, "./...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as for the guests: compiled once
	cmd.Stderr = out
	events, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start go test: %w", err)
	}
	res := make(results)
	readErr := res.read(events, log, func(name string, seconds float64) {
		if n := res.of(name); n.total() > 0 {
			fmt.Fprintf(out, "%-5s %-16s %s, %.0fs\n", host, name, n, seconds)
		}
	})
	_, _ = io.Copy(io.Discard, events) // or it would wait for a reader
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && res.failed() {
		err = nil // the failed tests say it
	}
	return res, errors.Join(readErr, err)
}
