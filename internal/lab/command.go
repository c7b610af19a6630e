package lab

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"sync"
	"syscall"
)

// Cmd is an [exec.Cmd] that runs in a namespace. Its Start, Run, Output,
// CombinedOutput and Wait replace those of exec.Cmd; a Cmd that was started
// needs a Wait.
type Cmd struct {
	*exec.Cmd

	ns       *NS
	waited   sync.Once
	released chan struct{}
}

// Command prepares a program to run in the namespace. It gets SIGKILL when this
// process dies or ctx ends, and sees the same /run/netns.
func (ns *NS) Command(ctx context.Context, name string, args ...string) *Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return &Cmd{Cmd: cmd, ns: ns, released: make(chan struct{})}
}

// Start starts the program in its namespace. The thread that forks stays with
// it until Wait returns, since its end would send the death signal.
func (c *Cmd) Start() error {
	started := make(chan error, 1)
	go func() {
		err := c.ns.Do(func() error {
			if err := c.Cmd.Start(); err != nil {
				return err
			}
			started <- nil
			<-c.released
			return nil
		})
		started <- err // buffered: not read after a start that went well
	}()
	return <-started
}

// Wait waits for the program's end, as exec.Cmd.Wait does.
func (c *Cmd) Wait() error {
	err := c.Cmd.Wait()
	c.waited.Do(func() { close(c.released) })
	return err
}

// Run starts the program and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns what it wrote to its standard output.
func (c *Cmd) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput runs the program and returns all that it wrote.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// Stop kills the program and waits for its end. It is for one that does not end
// by itself, so its exit status is no error.
func (c *Cmd) Stop() error {
	if c.Process == nil {
		return nil
	}
	_ = c.Process.Kill() // an error means that it has ended
	err := c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) || c.ProcessState != nil {
		return nil
	}
	return err
}
