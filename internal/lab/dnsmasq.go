package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Dnsmasq is a running dnsmasq.
type Dnsmasq struct {
	cmd    *Cmd
	stderr bytes.Buffer // read after the process's end
	close  sync.Once
	err    error // of the first Close
}

// StartDnsmasq runs the real dnsmasq in the namespace, on port 53 of addr, and
// returns when it answers. Names in Zone have Answer and Answer6. It reads no
// file of the machine's. The lab's Close ends it too.
func StartDnsmasq(ctx context.Context, ns *NS, addr netip.Addr) (*Dnsmasq, error) {
	zone := strings.TrimSuffix(Zone, ".")
	// The debug mode of --no-daemon forks no children and changes no identity;
	// either would shed the death signal. Not ctx: it bounds the start alone.
	d := &Dnsmasq{cmd: ns.Command(context.WithoutCancel(ctx), "dnsmasq",
		"--no-daemon", "--conf-file=/dev/null", "--pid-file=", "--user=root",
		"--no-resolv", "--no-hosts",
		"--bind-interfaces", "--listen-address="+addr.String(),
		"--address=/"+zone+"/"+Answer().String(), "--address=/"+zone+"/"+Answer6().String(),
	)}
	d.cmd.Stderr = &d.stderr
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start dnsmasq: %w", err)
	}
	if err := awaitDNS(ctx, ns, netip.AddrPortFrom(addr, dnsPort)); err != nil {
		closed := d.Close()
		return nil, errors.Join(fmt.Errorf("start dnsmasq: %w: %s", err, strings.TrimSpace(d.stderr.String())), closed)
	}
	if ns.lab != nil {
		ns.lab.onClose(d.Close)
	}
	return d, nil
}

// awaitDNS asks until an answer comes. A port that nobody listens on refuses at
// once, hence the ticker.
func awaitDNS(ctx context.Context, ns *NS, server netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout())
	defer cancel()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := ns.Lookup(ctx, LookupOptions{Server: server, Name: "ready." + Zone, Timeout: readyTimeout()})
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
func (d *Dnsmasq) PID() int { return d.cmd.Process.Pid }

// Close kills the server and waits for its end. Closing twice is no error.
func (d *Dnsmasq) Close() error {
	d.close.Do(func() { d.err = d.cmd.Stop() })
	return d.err
}
