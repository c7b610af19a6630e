package lab

import (
	"context"
	"net/netip"
	"syscall"
)

// serverFaults are those of DNS servers, and of who asks them.
func serverFaults() []Fault {
	return []Fault{
		{
			ID:    "no-listener",
			Title: "The DNS pod runs, and no DNS server in it.",
			Lab:   serviceOnB, NoDNS: true,
			Mend: startDNSB,
		},
		{
			ID:    "no-listener/loopback",
			Title: "The DNS server listens on 127.0.0.1 alone.",
			Lab:   serviceOnB, NoDNS: true,
			Break: func(_ context.Context, l *Lab) error {
				_, err := StartDNS(l.DNSB, DNSOptions{Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}})
				return err
			},
			Mend: startDNSB,
		},
		{
			ID:    "no-listener/tcp",
			Title: "No DNS server runs in the DNS pod, and it is asked over TCP.",
			Lab:   serviceOnB, NoDNS: true,
			Ask:  AskServiceTCP,
			Mend: startDNSB,
		},
		silent("server-silent", AskService),
		silent("server-silent/tcp", AskServiceTCP),
	}
}

// silent is a server that stands still.
func silent(id string, ask func(context.Context, *Lab, string) error) Fault {
	var server *Daemon
	return Fault{
		ID:    id,
		Title: "The DNS server stands still: it reads no query.",
		Lab:   serviceOnB, NoDNS: true,
		Break: func(ctx context.Context, l *Lab) (err error) {
			if server, err = StartDnsmasq(ctx, l.DNSB, DaemonOptions{}); err != nil {
				return err
			}
			return syscall.Kill(server.PID(), syscall.SIGSTOP)
		},
		Ask:  ask,
		Mend: func(context.Context, *Lab) error { return syscall.Kill(server.PID(), syscall.SIGCONT) },
	}
}

// serviceOnB is a lab whose service has one endpoint, across the tunnel.
var serviceOnB = Config{Service: ServiceIPTables, Endpoints: []string{DNSB}}

func startDNSB(_ context.Context, l *Lab) error {
	_, err := StartDNS(l.DNSB, DNSOptions{})
	return err
}
