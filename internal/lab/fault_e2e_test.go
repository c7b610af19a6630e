//go:build e2e

package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Fragments of an answer of 3000 bytes: IPv4 has them cross a router as they are
// unless it tracks connections, which is what a service asks for.
func TestFragments(t *testing.T) {
	const first, later = "ip frag-off & 0x3fff == 0x2000", "ip frag-off & 0x1fff != 0"
	for _, mode := range []ServiceMode{ServiceNone, ServiceIPTables} {
		t.Run(string(mode), func(t *testing.T) {
			l := raise(t, Config{Service: mode, Endpoints: []string{DNSB}})
			server := netip.AddrPortFrom(l.DNSB.Addr, dnsPort)
			if mode != ServiceNone {
				server = Service()
			}
			counts := count(t, l.NodeA, first, later)
			ask := LookupOptions{Server: server, Name: "big3000." + Zone, Type: dns.TypeTXT, EDNSSize: 4096, Timeout: Patience(200 * time.Millisecond)}
			res, err := l.Client.Lookup(t.Context(), ask)
			if err != nil || len(res.Answers) != 12 {
				t.Fatalf("%d answers, error %v; want 12 and none", len(res.Answers), err)
			}
			if got := strings.Join(counts(), " "); got != "1 2" {
				t.Errorf("first and later fragments: %s, want 1 2", got)
			}
			// before conntrack puts them together (NF_IP_PRI_CONNTRACK_DEFRAG, -400)
			err = l.NodeB.NFT(t.Context(), "table inet fence { chain fence { type filter hook prerouting priority -450; "+later+" drop; }\n}")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Client.Lookup(t.Context(), ask); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("without later fragments: error %v, want a timeout", err)
			}
		})
	}
}

// TestTruncated has dig learn that an answer is too long for UDP.
func TestTruncated(t *testing.T) {
	sameEverywhere(t, "dig decides")
	l := raise(t, Config{})
	counts := count(t, l.DNSB, synToDNS)
	dig := func(args ...string) (string, error) {
		args = append([]string{"@" + l.DNSB.Addr.String(), "+tries=1", "+time=1", "+bufsize=512", "+short", "big1500." + Zone, "TXT"}, args...)
		out, err := l.Client.Command(t.Context(), "dig", args...).Output()
		return string(out), err
	}
	out, err := dig()
	if err != nil || strings.Count(out, "x") != 1500 || counts()[0] != "1" {
		t.Errorf("%d bytes, %s SYN, error %v; want 1500, 1 and none", strings.Count(out, "x"), counts()[0], err)
	}
	err = l.NodeB.NFT(t.Context(), "table inet fence { chain fence { type filter hook forward priority 0; tcp dport 53 drop; }\n}")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := dig(); err == nil || !strings.Contains(out, "timed out") {
		t.Errorf("TCP is blocked: dig printed %q, error %v", out, err)
	}
}

// TestICMP has each kind of error come to who sent the packet that it is about.
func TestICMP(t *testing.T) {
	sameEverywhere(t, "the end-to-end tests raise each")
	for _, c := range []struct {
		name   string
		inject func(ctx context.Context, l *Lab) error
		from   string // namespace of who asks
		server string
		opts   LookupOptions
		err    error
		to     string // namespace that the ICMP error comes to
		match  string // of the ICMP error
	}{
		{
			"nobody listens", nil, DNSB, "10.244.1.10", LookupOptions{}, syscall.ECONNREFUSED,
			DNSB, "icmp type destination-unreachable icmp code port-unreachable ip saddr 10.244.1.10",
		},
		{
			"a router without a way", func(ctx context.Context, l *Lab) error {
				return l.NodeB.IP(ctx, "route", "add", "unreachable", "10.244.2.99")
			}, Client, "10.244.2.99", LookupOptions{}, os.ErrDeadlineExceeded, // UDP sockets bear with it: it may pass
			Client, "icmp type destination-unreachable icmp code host-unreachable",
		},
		{
			"last hop of the TTL", nil, Client, "10.244.2.53", LookupOptions{TTL: 1}, os.ErrDeadlineExceeded,
			Client, "icmp type time-exceeded icmp code 0 ip saddr 10.244.1.1",
		},
		{
			"routing loop", func(ctx context.Context, l *Lab) error {
				return errors.Join(l.NodeA.IP(ctx, "route", "add", "198.51.100.0/24", "via", "192.0.2.2"),
					l.NodeB.IP(ctx, "route", "add", "198.51.100.0/24", "via", "192.0.2.1"))
			}, Client, "198.51.100.53", LookupOptions{TTL: 6}, os.ErrDeadlineExceeded,
			Client, "icmp type time-exceeded icmp code 0",
		},
		{
			// The pods' MTU is more than that of the tunnel on the way back: the reply, which has DF set, is told so.
			"a reply that is too big", func(ctx context.Context, l *Lab) error {
				return l.NodeB.IP(ctx, "link", "set", VXLANDev, "mtu", "1280")
			}, Client, "10.244.2.53", LookupOptions{Name: "big1300." + Zone, Type: dns.TypeTXT, EDNSSize: 4096}, os.ErrDeadlineExceeded,
			DNSB, "icmp type destination-unreachable icmp code frag-needed icmp mtu 1280",
		},
		{
			"a reply that is too big, IPv6", func(ctx context.Context, l *Lab) error {
				return l.NodeB.IP(ctx, "link", "set", VXLANDev, "mtu", "1280")
			}, Client, "fd00:10:244:2::53", LookupOptions{Name: "big1300." + Zone, Type: dns.TypeTXT, EDNSSize: 4096}, os.ErrDeadlineExceeded,
			DNSB, "icmpv6 type packet-too-big icmpv6 mtu 1280",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := raise(t, Config{})
			if c.inject != nil {
				if err := c.inject(t.Context(), l); err != nil {
					t.Fatal(err)
				}
			}
			counts := count(t, l.NS(c.to), c.match)
			c.opts.Server = netip.AddrPortFrom(netip.MustParseAddr(c.server), dnsPort)
			c.opts.Timeout = Patience(100 * time.Millisecond)
			if c.opts.Name == "" {
				c.opts.Name = "a." + Zone
			}
			if _, err := l.NS(c.from).Lookup(t.Context(), c.opts); !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			if got := counts()[0]; got != "1" {
				t.Errorf("%s ICMP errors came to %s, want 1", got, c.to)
			}
			if c.opts.EDNSSize != 0 { // what the server has learnt lets it fragment
				if _, err := l.NS(c.from).Lookup(t.Context(), c.opts); err != nil {
					t.Errorf("the second time: %v", err)
				}
			}
		})
	}
}
