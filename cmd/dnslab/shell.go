package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/dnspath/dnspath/internal/lab"
)

const shellHelp = `Raise the lab, run $SHELL or the command after "--" in it, and take it down.

DNS servers run in dns-a and dns-b and answer for example.test: nx.…, servfail.…,
refused.…, silent.…, slow250.…, big1500.… (TXT); all other names have an address.
The namespaces node-a, node-b, client, dns-a and dns-b are there for "ip netns";
the service is at 10.96.0.10 and fd00:10:96::10. Only this command's children
see them.

Usage:
  dnslab shell [flags] [-- COMMAND [ARGUMENT...]]

Example:
  dnslab shell --service nftables --endpoints dns-a,dns-b
  dnslab shell --in client -- dig @10.96.0.10 a.example.test
`

// shellFlags are the flags of "dnslab shell".
type shellFlags struct {
	lab     labFlags
	in      string
	dnsmasq bool
}

// labFlags are the flags that shape a lab, for every command that raises one.
type labFlags struct {
	cfg     lab.Config
	service string
	overlay string
}

func (f *labFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.service, "service", string(lab.ServiceIPTables), "translation of the service address: none, iptables, nftables or ipvs")
	fs.StringSliceVar(&f.cfg.Endpoints, "endpoints", []string{lab.DNSB}, "DNS pods behind the service: dns-a, dns-b or both")
	fs.BoolVar(&f.cfg.BridgeNF, "bridge-nf", true, "pass bridged packets to iptables (net.bridge.bridge-nf-call-iptables)")
	fs.StringVar(&f.overlay, "overlay", string(lab.OverlayVXLAN), "tunnel between the nodes: vxlan, ipip (IPv4 alone) or geneve")
	fs.IntVar(&f.cfg.VXLAN.VNI, "vni", 4096, "VXLAN network identifier")
	fs.IntVar(&f.cfg.VXLAN.Port, "vxlan-port", 4789, "VXLAN UDP port")
	fs.BoolVar(&f.cfg.VXLAN.ZeroChecksum, "vxlan-zero-checksum", false, "send VXLAN with an outer UDP checksum of 0")
}

func (f *labFlags) config() lab.Config {
	cfg := f.cfg
	cfg.Service, cfg.Overlay = lab.ServiceMode(f.service), lab.Overlay(f.overlay)
	return cfg
}

func runShell(ctx context.Context, e env, args []string) error {
	var f shellFlags
	fs := newFlags(e, "shell", shellHelp)
	f.lab.register(fs)
	fs.StringVar(&f.in, "in", "", "run in this namespace (default: the machine's own)")
	fs.BoolVar(&f.dnsmasq, "dnsmasq", false, "run the real dnsmasq (IPv4 alone) as DNS servers")
	if done, err := parse(fs, args); done || err != nil {
		return err
	}
	status, err := lab.Isolate(func() int { return exitStatus(e, shell(ctx, e, f, fs.Args())) })
	if err != nil {
		return err
	}
	if status != 0 {
		return exitError(status)
	}
	return nil
}

// shell raises the lab and runs the command, in the isolated process.
func shell(ctx context.Context, e env, f shellFlags, argv []string) (err error) {
	l, err := lab.New(ctx, f.lab.config())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := startServers(ctx, l, f.dnsmasq); err != nil {
		return err
	}
	if len(argv) == 0 {
		argv = []string{"/bin/sh"}
		if sh := e.getenv("SHELL"); sh != "" {
			argv[0] = sh
		}
		greet(e.stderr)
	}
	return runIn(ctx, e, l, f.in, argv)
}

// startServers runs a DNS server in both DNS pods.
func startServers(ctx context.Context, l *lab.Lab, dnsmasq bool) error {
	for _, ns := range []*lab.NS{l.DNSA, l.DNSB} {
		var err error
		if dnsmasq {
			_, err = lab.StartDnsmasq(ctx, ns, lab.DaemonOptions{})
		} else {
			_, err = lab.StartDNS(ns, lab.DNSOptions{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func greet(w io.Writer) {
	fmt.Fprint(w, `The lab is up: node-a, node-b, client, dns-a, dns-b. Try
  ip netns exec client dig @10.96.0.10 a.example.test
It goes when this shell ends.
`)
}

// runIn runs a command in the named namespace, or in the machine's own, with
// the standard streams.
func runIn(ctx context.Context, e env, l *lab.Lab, in string, argv []string) error {
	home, err := lab.Home()
	if err != nil {
		return err
	}
	defer home.Close()
	ns := home
	if in != "" {
		if ns = l.NS(in); ns == nil {
			return fmt.Errorf("%w: no namespace %q in the lab", errUsage, in)
		}
	}
	cmd := ns.Command(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.stdin, e.stdout, e.stderr
	// A shell on a terminal takes no SIGTERM, so the end comes a second later.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return exitError(128 + int(ws.Signal()))
		}
		return exitError(exit.ExitCode())
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", argv[0], err)
	}
	return nil
}
