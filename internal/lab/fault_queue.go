package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/miekg/dns"
)

// queueFaults are those of queues that are full.
func queueFaults() []Fault {
	var server *Daemon
	return []Fault{
		{
			ID:    "server-buffer-full",
			Title: "The DNS server does not read, and its socket is full.",
			Lab:   serviceOnB, NoDNS: true,
			Break: func(ctx context.Context, l *Lab) (err error) {
				if server, err = startStill(ctx, l); err != nil {
					return err
				}
				return flood(l.NodeB, netip.AddrPortFrom(l.DNSB.Addr, dnsPort))
			},
			Mend: func(ctx context.Context, l *Lab) error {
				err := syscall.Kill(server.PID(), syscall.SIGCONT)
				for range 20 { // it reads what waits first
					if err != nil || AskService(ctx, l, "again."+Zone) == nil {
						break
					}
				}
				return err
			},
		},
		{
			ID:    "qdisc-drop",
			Title: "The queue of node-a's wire has no room.",
			Lab:   serviceOnB,
			Break: func(ctx context.Context, l *Lab) error {
				if err := AskService(ctx, l, "warm."+Zone); err != nil { // neighbours know each other
					return err
				}
				return tc(ctx, l.NodeA, "replace", "bfifo limit 1")
			},
			Mend: func(ctx context.Context, l *Lab) error { return tc(ctx, l.NodeA, "del", "") },
		},
	}
}

// tc sets the queue of a node's wire.
func tc(ctx context.Context, ns *NS, verb, qdisc string) error {
	args := append([]string{"qdisc", verb, "dev", WireDev, "root"}, strings.Fields(qdisc)...)
	if out, err := ns.Command(ctx, "tc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("tc %s %s: %w: %s", verb, qdisc, err, out)
	}
	return nil
}

// flood sends more queries than a socket's buffer takes.
func flood(from *NS, server netip.AddrPort) (err error) {
	conn, err := from.DialUDP(0, server)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	query, err := new(dns.Msg).SetQuestion("flood."+Zone, dns.TypeA).Pack()
	if err != nil {
		return err
	}
	for range 1000 {
		if _, err := conn.Write(query); err != nil {
			return err
		}
	}
	return nil
}
