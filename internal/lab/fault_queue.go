package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
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
			ID:    "backlog-full",
			Title: "A CPU may queue one received packet, and the reply comes in fragments.",
			Lab:   serviceOnB,
			With: func(ctx context.Context, l *Lab) error {
				if err := AskService(ctx, l, "warm."+Zone); err != nil { // neighbours know each other: a question to all of them needs the queue
					return err
				}
				usual, err := os.ReadFile(maxBacklog)
				if err != nil {
					return err
				}
				l.onClose(func() error { return os.WriteFile(maxBacklog, usual, 0o644) })
				return setMaxBacklog(0)
			},
			Ask: func(ctx context.Context, l *Lab, name string) error {
				return askOnce(ctx, l.Client, LookupOptions{Server: Service(), Name: "big3000." + name, Type: dns.TypeTXT, EDNSSize: 4096})
			},
			Mend: func(context.Context, *Lab) error { return setMaxBacklog(1000) }, WholeMachine: true,
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

// maxBacklog is how many packets wait for a CPU, of all namespaces.
const maxBacklog = "/proc/sys/net/core/netdev_max_backlog"

func setMaxBacklog(packets int) error {
	return os.WriteFile(maxBacklog, []byte(strconv.Itoa(packets)), 0o644)
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
