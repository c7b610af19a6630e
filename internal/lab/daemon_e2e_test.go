//go:build e2e

package lab

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dig looks a name up with dig and returns what +short prints.
func dig(t *testing.T, ns *NS, server netip.Addr, args ...string) string {
	t.Helper()
	args = append([]string{"@" + server.String(), "+short", "+tries=1", "+time=" + digTime()}, args...)
	out, err := ns.Command(t.Context(), "dig", args...).Output()
	if err != nil {
		t.Errorf("dig %s: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func digTime() string { return strings.TrimSuffix(Patience(2e9).String(), "s") }

// TestForwarders has each daemon answer by itself, and ask another.
func TestForwarders(t *testing.T) {
	sameEverywhere(t, "servers and clients in user space")
	type start func(context.Context, *NS, DaemonOptions) (*Daemon, error)
	starts := map[string]start{"dnsmasq": StartDnsmasq, "unbound": StartUnbound, "coredns": StartCoreDNS}
	for name, start := range starts {
		t.Run(name, func(t *testing.T) {
			l := raiseBare(t, Config{})
			if _, err := start(t.Context(), l.DNSB, DaemonOptions{}); err != nil {
				t.Fatal(err)
			}
			upstream := netip.AddrPortFrom(l.DNSB.Addr, dnsPort)
			counts := count(t, l.DNSB, "ip saddr 10.244.1.53 udp dport 53", "ip saddr 10.244.1.53 "+toServer)
			for i, tcp := range []bool{false, true} {
				if tcp && name == "dnsmasq" {
					continue // it asks as it is asked
				}
				d, err := start(t.Context(), l.DNSA, DaemonOptions{Upstream: upstream, UpstreamTCP: tcp})
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // the second time from its cache
					if got := dig(t, l.Client, l.DNSA.Addr, "www.example.test"); got != Answer().String() {
						t.Errorf("upstream by TCP %v: dig printed %q, want %s", tcp, got, Answer())
					}
				}
				want := []string{"1", "0"}
				if i > 0 {
					want = []string{"1", "1"}
				}
				if diff := cmp.Diff(want, counts()); diff != "" {
					t.Errorf("queries to upstream by UDP, by TCP (-want +got):\n%s", diff)
				}
				for range 2 {
					if err := d.Close(); err != nil {
						t.Errorf("close: %v", err)
					}
				}
			}
		})
	}
}

// TestNodeLocal asks a node's cache, which asks the service. Conntrack sees the
// one and not the other.
func TestNodeLocal(t *testing.T) {
	for name, tcp := range map[string]bool{"udp": false, "tcp": true} {
		t.Run(name, func(t *testing.T) {
			l := raiseBare(t, Config{Service: ServiceIPTables, Endpoints: []string{DNSB}, BridgeNF: true})
			if _, err := StartCoreDNS(t.Context(), l.DNSB, DaemonOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := StartNodeLocal(t.Context(), l.NodeA, DaemonOptions{UpstreamTCP: tcp}); err != nil {
				t.Fatal(err)
			}
			err := l.NodeA.NFT(t.Context(), `table inet tracked { chain in { type filter hook input priority 0
				ip daddr 169.254.20.10 ct state untracked counter
				ip daddr 169.254.20.10 ct state != untracked counter
				}
			}`)
			if err != nil {
				t.Fatal(err)
			}
			for _, how := range []string{"+notcp", "+tcp"} {
				if got := dig(t, l.Client, NodeLocal(), how, "web.default.svc.cluster.test"); got != Answer().String() {
					t.Errorf("%s: dig printed %q, want %s", how, got, Answer())
				}
			}
			out, err := l.NodeA.Command(t.Context(), "nft", "list", "table", "inet", "tracked").Output()
			if err != nil || strings.Contains(string(out), "== untracked counter packets 0") || !strings.Contains(string(out), "!= untracked counter packets 0") {
				t.Errorf("not all untracked (%v):\n%s", err, out)
			}
		})
	}
}

// TestResolvers has the resolvers of C and of Go ask as pods do.
func TestResolvers(t *testing.T) {
	sameEverywhere(t, "servers and clients in user space")
	l := raiseBare(t, Config{})
	if _, err := StartUnbound(t.Context(), l.DNSB, DaemonOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := StartCoreDNS(t.Context(), l.DNSA, DaemonOptions{Upstream: netip.AddrPortFrom(l.DNSB.Addr, dnsPort)}); err != nil {
		t.Fatal(err)
	}
	counts := count(t, l.DNSA, "ip saddr 10.244.1.10 udp dport 53")
	want := []string{Answer().String(), Answer6().String()}
	conf := ResolvConf{
		Server: l.DNSA.Addr, Search: []string{"default.svc.cluster.test", "svc.cluster.test", "cluster.test"}, Options: "ndots:5",
	}
	for i, c := range []struct {
		name    string
		queries string // in all
	}{
		{"www.example.test", "8"}, // 4 names, A and AAAA
		{"www.example.test.", "10"},
		{"web", "12"},
	} {
		cmd, err := l.Client.CommandWith(t.Context(), conf, "getent", "ahosts", c.name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.CombinedOutput()
		var got []string
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) > 1 && f[1] == "STREAM" {
				got = append(got, f[0])
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("getent ahosts %s (-want +got), %v:\n%s%s", c.name, err, diff, out)
		}
		if got := counts()[0]; got != c.queries {
			t.Errorf("%d: %s queries after %s, want %s", i, got, c.name, c.queries)
		}
	}
	got, err := l.Client.Resolver(netip.AddrPortFrom(l.DNSA.Addr, dnsPort)).LookupHost(t.Context(), "www.example.test.")
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Go's resolver (-want +got), %v:\n%s", err, diff)
	}
	if got := counts()[0]; got != "14" {
		t.Errorf("%s queries after Go's resolver, want 14", got)
	}
}
