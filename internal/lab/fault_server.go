package lab

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
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
		{
			ID:    "server-refused",
			Title: "CoreDNS does not know where to ask for names that are not the cluster's.",
			Lab:   serviceOnB, NoDNS: true,
			Break: func(ctx context.Context, l *Lab) error {
				_, err := StartCoreDNS(ctx, l.DNSB, DaemonOptions{Alone: true})
				return err
			},
		},
		searchStorm(),
		{
			ID:    "truncated-no-tcp",
			Title: "The answer is too large for UDP, and a rule lets UDP pass alone.",
			Lab:   serviceOnB,
			Cause: "policy-drop",
			Break: func(ctx context.Context, l *Lab) error {
				return l.NodeA.IPTables(ctx, strings.Fields("-I FORWARD -p tcp --dport 53 -j DROP")...)
			},
			Ask: askBig,
			Mend: func(ctx context.Context, l *Lab) error {
				return l.NodeA.IPTables(ctx, strings.Fields("-D FORWARD -p tcp --dport 53 -j DROP")...)
			},
		},
		mismatched("spoofed-or-mismatched-reply", DNSOptions{WrongID: true}),
		mismatched("spoofed-or-mismatched-reply/question", DNSOptions{WrongName: true}),
		slow(),
		{
			ID:    "client-gone",
			Title: "The client closes its socket before the answer comes.",
			Lab:   serviceOnB, NoDNS: true,
			Break: func(_ context.Context, l *Lab) error {
				_, err := StartDNS(l.DNSB, DNSOptions{Delay: 60 * time.Millisecond})
				return err
			},
			Ask: func(ctx context.Context, l *Lab, name string) error {
				return errors.Join(askFor(ctx, l, name, Patience(7*time.Millisecond)), AskService(ctx, l, "later."+Zone))
			},
		},
		forwards("upstream-timeout", "server-silent", startStill),
		forwards("upstream-timeout/refused", "no-listener", func(context.Context, *Lab) (*Daemon, error) { return nil, nil }),
	}
}

// askBig asks for what is too large for UDP, and then over TCP, as resolvers do.
func askBig(ctx context.Context, l *Lab, name string) error {
	opts := LookupOptions{Server: Service(), Name: "big1500." + name, Type: dns.TypeTXT, Timeout: Patience(500 * time.Millisecond)}
	res, err := l.Client.Lookup(ctx, opts)
	if err != nil || !res.Response.Truncated {
		return err
	}
	opts.TCP = true
	_, err = l.Client.Lookup(ctx, opts)
	return err
}

// searchStorm is a client with the search list of a pod.
func searchStorm() Fault {
	ndots := "ndots:5"
	return Fault{
		ID:    "search-storm",
		Title: "The client asks for a name with each search domain first.",
		Lab:   serviceOnB, NoDNS: true, Answered: true,
		Break: func(ctx context.Context, l *Lab) error {
			_, err := StartCoreDNS(ctx, l.DNSB, DaemonOptions{})
			return err
		},
		Ask: func(ctx context.Context, l *Lab, name string) error {
			search := []string{"default.svc." + ClusterZone, "svc." + ClusterZone, ClusterZone}
			cmd, err := l.Client.CommandWith(ctx, ResolvConf{Server: Service().Addr(), Search: search, Options: ndots}, "getent", "ahosts", strings.TrimSuffix(name, "."))
			if err != nil {
				return err
			}
			return cmd.Run()
		},
		Mend: func(context.Context, *Lab) error {
			ndots = "ndots:1"
			return nil
		},
	}
}

// mismatched is a server whose answers nobody takes.
func mismatched(id string, opts DNSOptions) Fault {
	var server *DNSServer
	return Fault{
		ID:    id,
		Title: "The answers bear an ID, or a question, that nobody sent.",
		Lab:   serviceOnB, NoDNS: true,
		Break: func(_ context.Context, l *Lab) (err error) {
			server, err = StartDNS(l.DNSB, opts)
			return err
		},
		Ask: func(ctx context.Context, l *Lab, name string) error { // Lookup does not look at the question of an answer
			return l.Client.Command(ctx, "dig", "+tries=1", "+time=1", "@"+Service().Addr().String(), name).Run()
		},
		Mend: func(ctx context.Context, l *Lab) error { return errors.Join(server.Close(), startDNSB(ctx, l)) },
	}
}

// slow is a server that answers when its client has given up.
func slow() Fault {
	var server *DNSServer
	patience := Patience(280 * time.Millisecond)
	return Fault{
		ID:    "server-slow",
		Title: "The DNS server answers when its client has given up.",
		Lab:   serviceOnB, NoDNS: true,
		Break: func(_ context.Context, l *Lab) (err error) {
			server, err = StartDNS(l.DNSB, DNSOptions{Delay: patience + Patience(50*time.Millisecond)})
			return err
		},
		Ask: func(ctx context.Context, l *Lab, name string) error {
			err := askFor(ctx, l, name, patience)
			return errors.Join(err, AskService(ctx, l, "later."+Zone)) // its answer comes after that to the first
		},
		Mend: func(ctx context.Context, l *Lab) error { return errors.Join(server.Close(), startDNSB(ctx, l)) },
	}
}

// askFor is AskService that waits for so long.
func askFor(ctx context.Context, l *Lab, name string, timeout time.Duration) error {
	_, err := l.Client.Lookup(ctx, LookupOptions{Server: Service(), Name: name, Timeout: timeout})
	return err
}

// forwards is a server whose upstream fails.
func forwards(id, cause string, upstream func(context.Context, *Lab) (*Daemon, error)) Fault {
	var server *Daemon
	return Fault{
		ID:    id,
		Title: "The DNS server is well, and its upstream does not answer.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSA}, BridgeNF: true}, NoDNS: true,
		Cause: cause,
		Break: func(ctx context.Context, l *Lab) (err error) {
			if server, err = upstream(ctx, l); err != nil {
				return err
			}
			_, err = StartCoreDNS(ctx, l.DNSA, DaemonOptions{Upstream: netip.AddrPortFrom(l.DNSB.Addr, dnsPort), NoCache: true})
			return err
		},
		Mend: func(ctx context.Context, l *Lab) error {
			if server != nil {
				return syscall.Kill(server.PID(), syscall.SIGCONT)
			}
			return startDNSB(ctx, l)
		},
	}
}

// startStill starts a server in dns-b that stands still.
func startStill(ctx context.Context, l *Lab) (*Daemon, error) {
	server, err := StartDnsmasq(ctx, l.DNSB, DaemonOptions{})
	if err != nil {
		return nil, err
	}
	return server, syscall.Kill(server.PID(), syscall.SIGSTOP)
}

// silent is a server that stands still.
func silent(id string, ask func(context.Context, *Lab, string) error) Fault {
	var server *Daemon
	return Fault{
		ID:    id,
		Title: "The DNS server stands still: it reads no query.",
		Lab:   serviceOnB, NoDNS: true,
		Break: func(ctx context.Context, l *Lab) (err error) {
			server, err = startStill(ctx, l)
			return err
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
