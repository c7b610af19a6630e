package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// readyWithin bounds how long an observer may take to attach itself.
func readyWithin() time.Duration { return Patience(20 * time.Second) }

// Observer is a running dnspath that watches the lab from this process's own
// namespace, as it would watch a node.
type Observer struct {
	cmd    *Cmd
	home   *NS
	dir    string
	done   chan error
	stdout bytes.Buffer
	stderr bytes.Buffer

	Startup time.Duration // from its start until it could see the first event
}

// Observe starts the dnspath at path bin with args, and returns when it is
// ready. The caller ends it with Stop or Wait.
func Observe(ctx context.Context, bin string, args ...string) (*Observer, error) {
	return ObserveTo(ctx, nil, bin, args...)
}

// ObserveTo is Observe for one whose standard output goes to out, not to Stdout.
func ObserveTo(ctx context.Context, out io.Writer, bin string, args ...string) (*Observer, error) {
	dir, err := os.MkdirTemp("", "dnspath-observer-")
	if err != nil {
		return nil, err
	}
	home, err := Home()
	if err != nil {
		return nil, err
	}
	ready := filepath.Join(dir, "ready")
	o := &Observer{home: home, dir: dir, done: make(chan error, 1)}
	o.cmd = home.Command(ctx, bin, append(args, "--ready-file", ready)...)
	o.cmd.Stdout, o.cmd.Stderr = &o.stdout, &o.stderr
	if out != nil {
		o.cmd.Stdout = out
	}
	start := time.Now()
	if err := o.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", bin, err)
	}
	go func() { o.done <- o.cmd.Wait() }()
	if err := o.awaitReady(ctx, ready); err != nil {
		return nil, err
	}
	o.Startup = time.Since(start)
	return o, nil
}

// awaitReady waits for the ready file, the end of the program, or too long.
func (o *Observer) awaitReady(ctx context.Context, ready string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin())
	defer cancel()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-o.done:
			o.clean()
			return fmt.Errorf("observer ended before it was ready: %w: %s", err, o.stderr.Bytes())
		case <-ctx.Done():
			o.Kill()
			return fmt.Errorf("observer is not ready after %s", readyWithin())
		case <-look.C:
			if _, err := os.Stat(ready); err == nil {
				return nil
			}
		}
	}
}

// ProcessState returns what the kernel counted of it; nil before its end.
func (o *Observer) ProcessState() *os.ProcessState { return o.cmd.ProcessState }

// PID returns the process id.
func (o *Observer) PID() int { return o.cmd.Process.Pid }

// Stop ends the observer as Ctrl-C does, and waits for it.
func (o *Observer) Stop() error {
	if err := o.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return o.Wait()
}

// Wait waits until the observer ends by itself.
func (o *Observer) Wait() error {
	err := <-o.done
	o.clean()
	return err
}

// Kill ends the observer with SIGKILL, and waits for it.
func (o *Observer) Kill() {
	_ = o.cmd.Process.Signal(syscall.SIGKILL) // it may have ended
	_ = o.Wait()                              // killed: its status says nothing
}

func (o *Observer) clean() {
	_ = os.RemoveAll(o.dir) // an empty file in a temporary folder
	_ = o.home.Close()      // a descriptor
}

// Stdout returns what it wrote; to be called after its end.
func (o *Observer) Stdout() []byte { return o.stdout.Bytes() }

// Stderr returns its diagnostics; to be called after its end.
func (o *Observer) Stderr() []byte { return o.stderr.Bytes() }

// PeakMemory reads the largest resident set that a process had, in bytes.
func PeakMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM for process %d", pid)
}
