package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DaemonOptions shape a real DNS server. The zero value is one that knows Zone.
type DaemonOptions struct {
	// Addr is where it listens, on port 53, by UDP and TCP; none means the
	// namespace's Addr.
	Addr netip.Addr
	// Upstream is asked for all that it does not know, which is then all but
	// CoreDNS's ClusterZone. None means that it answers for Zone, all of whose
	// names have Answer and Answer6.
	Upstream netip.AddrPort
	// Alone is CoreDNS that knows no names outside of ClusterZone, and has nobody
	// to ask.
	Alone bool
	// UpstreamTCP asks upstream over TCP.
	UpstreamTCP bool
	// NoCache asks upstream each time. CoreDNS and dnsmasq obey; Unbound is a
	// cache in any case.
	NoCache bool
	// Cgroup is the descriptor of a cgroup (version 2) to start it in; 0 means
	// this process's.
	Cgroup int
}

// complete fills in defaults.
func (opts DaemonOptions) complete(ns *NS) DaemonOptions {
	if !opts.Addr.IsValid() {
		opts.Addr = ns.Addr
	}
	return opts
}

// Daemon is a real DNS server that runs in a process of its own.
type Daemon struct {
	cmd    *Cmd
	output bytes.Buffer // read after the process's end
	close  sync.Once
	err    error // of the first Close
}

// readyName is a name that each daemon answers by itself.
const readyName = "ready." + Zone

// startDaemon starts a program that answers DNS queries, and returns when it
// does. ctx bounds the start alone. The lab's Close ends it too.
func startDaemon(ctx context.Context, ns *NS, opts DaemonOptions, name string, args ...string) (*Daemon, error) {
	d := &Daemon{cmd: ns.Command(context.WithoutCancel(ctx), name, args...)}
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	if opts.Cgroup != 0 {
		d.cmd.SysProcAttr.UseCgroupFD, d.cmd.SysProcAttr.CgroupFD = true, opts.Cgroup
	}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := awaitDNS(ctx, ns, netip.AddrPortFrom(opts.Addr, dnsPort)); err != nil {
		closed := d.Close()
		return nil, errors.Join(fmt.Errorf("start %s: %w: %s", name, err, strings.TrimSpace(d.output.String())), closed)
	}
	if ns.lab != nil {
		ns.lab.onClose(d.Close)
	}
	return d, nil
}

// writeFile writes a file for a program of the namespace and returns its path. The
// lab's Close removes it; it is in the lab's own /run, which goes with the process.
func (ns *NS) writeFile(name, text string) (string, error) {
	dir, err := os.MkdirTemp(runDir, name+"-")
	if err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	if ns.lab != nil {
		ns.lab.onClose(func() error { return os.RemoveAll(dir) })
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o444); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return path, nil
}

// awaitDNS asks until an answer comes. A port that nobody listens on refuses at
// once, hence the ticker.
func awaitDNS(ctx context.Context, ns *NS, server netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout())
	defer cancel()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := ns.Lookup(ctx, LookupOptions{Server: server, Name: readyName, Timeout: readyTimeout()})
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for answers of %s: %w", server, err)
		case <-again.C:
		}
	}
}

// PID returns the process id.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Close kills the server and waits for its end. Closing twice is no error.
func (d *Daemon) Close() error {
	d.close.Do(func() { d.err = d.cmd.Stop() })
	return d.err
}
