//go:build e2e

package main

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// byLine is what did it, in one line: name, rule and how that is known.
func byLine(b render.By) string {
	if b.Rule == "" {
		return b.Name + " | " + b.How
	}
	return b.Name + " | " + b.Rule + " | " + b.How
}

// handles are numbers of the kernel's choice.
var handles = regexp.MustCompile(`handle \d+`)

// changesOf returns the rewrites of a leg with what made them.
func changesOf(r *render.Record, leg int) (lines []string) {
	for _, h := range r.Legs[leg].Hops {
		if h.Change == nil {
			continue
		}
		for _, c := range append([]render.Change{*h.Change}, h.Changes...) {
			if c.From != "" {
				lines = append(lines, c.Kind+" "+handles.ReplaceAllString(byLine(c.By), "handle N"))
			}
		}
	}
	return lines
}

// The names of kube-proxy's chains for the lab's service and its endpoints.
const (
	iptablesService = "iptables nat PREROUTING → KUBE-SERVICES → KUBE-SVC-TCOU7JCQXEZGVUNU → "
	nftablesService = "nftables ip kube-proxy nat-prerouting → services → service-FY5PMXPG-kube-system/kube-dns/udp/dns → "
)

func TestServiceRules(t *testing.T) {
	sameEverywhere(t, "rules are matched in user space")
	endpoint := map[lab.ServiceMode]map[string]string{
		lab.ServiceIPTables: {
			"10.244.1.53:53": iptablesService + `KUBE-SEP-YNCIU67N6VYVMDY3 | -p udp -m comment --comment "kube-system/kube-dns:dns" -m udp -j DNAT --to-destination 10.244.1.53:53 | inferred`,
			"10.244.2.53:53": iptablesService + `KUBE-SEP-DQR5UCEPJNQ24ZU5 | -p udp -m comment --comment "kube-system/kube-dns:dns" -m udp -j DNAT --to-destination 10.244.2.53:53 | inferred`,
		},
		lab.ServiceNFTables: {
			"10.244.1.53:53": nftablesService + "endpoint-CCUWP6ER-kube-system/kube-dns/udp/dns__10.244.1.53/53 handle N | meta l4proto udp dnat to 10.244.1.53:53 | inferred",
			"10.244.2.53:53": nftablesService + "endpoint-PLDZJAWC-kube-system/kube-dns/udp/dns__10.244.2.53/53 handle N | meta l4proto udp dnat to 10.244.2.53:53 | inferred",
		},
	}
	for _, mode := range []lab.ServiceMode{lab.ServiceIPTables, lab.ServiceNFTables} {
		t.Run(string(mode), func(t *testing.T) {
			l := raise(t, lab.Config{Service: mode, Endpoints: []string{lab.DNSA, lab.DNSB}, BridgeNF: true})
			o := observe(t)
			names := []string{"a.example.test.", "b.example.test.", "c.example.test.", "d.example.test."}
			for _, name := range names {
				ask(t, l.Client, lab.Service(), name, nil)
			}
			ask(t, l.Client, lab.Service6(), "six.example.test.", nil)
			x := end(t, o)
			for _, name := range names {
				r := x.only(t, name)
				want := []string{"dnat " + endpoint[mode][r.Backend.String()]}
				if diff := cmp.Diff(want, changesOf(r, 0)); diff != "" {
					t.Errorf("%s, rewrites of the query (-want +got):\n%s", name, diff)
				}
				if diff := cmp.Diff([]string{"un-dnat netfilter nat | seen"}, changesOf(r, 1)); diff != "" {
					t.Errorf("%s, rewrites of the reply (-want +got):\n%s", name, diff)
				}
			}
			got := strings.Join(changesOf(x.only(t, "six.example.test."), 0), "\n")
			want := map[lab.ServiceMode]string{lab.ServiceIPTables: "dnat ip6tables nat PREROUTING → KUBE-SERVICES → ", lab.ServiceNFTables: "dnat nftables ip6 kube-proxy nat-prerouting → services → "}
			if !strings.HasPrefix(got, want[mode]) || !strings.Contains(got, "dnat to [fd00:") && !strings.Contains(got, "--to-destination [fd00:") {
				t.Errorf("rewrites of the query over IPv6: %q, want %q and its rule", got, want[mode])
			}
		})
	}
}

func TestIPVSService(t *testing.T) {
	l := raise(t, lab.Config{Service: lab.ServiceIPVS, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	o := observe(t)
	ask(t, l.Client, lab.Service(), "a.example.test.", nil)
	r := end(t, o).only(t, "a.example.test.")
	want := []string{"dnat IPVS 10.96.0.10:53 → 10.244.2.53:53 rr | inferred"}
	if diff := cmp.Diff(want, changesOf(r, 0)); diff != "" {
		t.Errorf("rewrites of the query (-want +got):\n%s\n%q\n%s", diff, way(r, 0), o.Stderr())
	}
}

func TestMasqueradeRule(t *testing.T) {
	sameEverywhere(t, "rules are matched in user space")
	l := raise(t, lab.Config{})
	if err := l.NodeA.IPTables(t.Context(), "-t", "nat", "-A", "POSTROUTING", "-d", "10.244.2.53/32", "-p", "udp", "--dport", "53", "-j", "MASQUERADE"); err != nil {
		t.Fatal(err)
	}
	o := observe(t)
	ask(t, l.Client, netip.AddrPortFrom(l.DNSB.Addr, 53), "a.example.test.", nil)
	r := end(t, o).only(t, "a.example.test.")
	want := []string{"snat iptables nat POSTROUTING | -d 10.244.2.53/32 -p udp -m udp --dport 53 -j MASQUERADE | inferred"}
	if diff := cmp.Diff(want, changesOf(r, 0)); diff != "" {
		t.Errorf("rewrites of the query (-want +got):\n%s", diff)
	}
}

func TestRulesOff(t *testing.T) {
	sameEverywhere(t, "a flag")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	o := observe(t, "--rules", "off")
	ask(t, l.Client, lab.Service(), "a.example.test.", nil)
	r := end(t, o).only(t, "a.example.test.")
	if diff := cmp.Diff([]string{"dnat netfilter nat | seen"}, changesOf(r, 0)); diff != "" {
		t.Errorf("rewrites of the query (-want +got):\n%s", diff)
	}
}

// needHooks skips where nothing tells in which hook a packet was dropped.
func needHooks(t *testing.T) {
	t.Helper()
	if !seesHooks(t) {
		t.Skip("neither links nor function probes tell of netfilter's hooks here")
	}
}

// dropBy traces one lookup that is dropped, and returns it with its last hop.
func dropBy(t *testing.T, l *lab.Lab, name string) (*render.Record, render.Hop) {
	t.Helper()
	o := observe(t, "--count", "1", "--name", name)
	askShort(t, l.Client, lab.Service(), name, os.ErrDeadlineExceeded)
	r := wait(t, o).only(t, name)
	t.Logf("tool: %s", o.Stderr())
	return r, lastHop(t, r, "query")
}

func TestDropRules(t *testing.T) {
	sameEverywhere(t, "rules are matched in user space")
	needHooks(t)
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	type commands [][]string // of iptables, each with what takes it back
	for _, c := range []struct {
		name     string
		iptables commands
		undo     commands
		chain    string // of nftables
		want     string
	}{
		{
			"iptables",
			commands{{"-I", "FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP"}},
			commands{{"-D", "FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP"}}, "",
			"iptables filter FORWARD | -p udp -m udp --dport 53 -j DROP | inferred",
		},
		{
			"iptables, in a chain",
			commands{{"-N", "DNS"}, {"-A", "DNS", "-p", "tcp", "-j", "RETURN"}, {"-A", "DNS", "-j", "REJECT"}, {"-I", "FORWARD", "-p", "udp", "--dport", "5353", "-j", "DROP"}, {"-I", "DNS", "-p", "udp", "--dport", "53", "-j", "DROP"}, {"-I", "FORWARD", "-d", "10.244.0.0/16", "-j", "DNS"}},
			commands{{"-F", "DNS"}, {"-D", "FORWARD", "-d", "10.244.0.0/16", "-j", "DNS"}, {"-X", "DNS"}, {"-D", "FORWARD", "-p", "udp", "--dport", "5353", "-j", "DROP"}}, "",
			"iptables filter FORWARD → DNS | -p udp -m udp --dport 53 -j DROP | inferred",
		},
		{
			"iptables' policy",
			commands{{"-P", "FORWARD", "DROP"}}, commands{{"-P", "FORWARD", "ACCEPT"}}, "",
			"iptables filter FORWARD | policy drop | inferred",
		},
		{
			"iptables, of two the one that was ever used",
			commands{{"-A", "FORWARD", "-m", "statistic", "--mode", "random", "--probability", "0", "-j", "DROP"}, {"-A", "FORWARD", "-p", "udp", "-j", "DROP"}},
			commands{{"-D", "FORWARD", "-m", "statistic", "--mode", "random", "--probability", "0", "-j", "DROP"}, {"-D", "FORWARD", "-p", "udp", "-j", "DROP"}}, "",
			"iptables filter FORWARD | -p udp -j DROP | inferred",
		},
		{
			"iptables, in the tunnel",
			commands{{"-I", "INPUT", "-p", "udp", "--dport", "4789", "-j", "DROP"}},
			commands{{"-D", "INPUT", "-p", "udp", "--dport", "4789", "-j", "DROP"}}, "",
			"iptables filter INPUT | -p udp -m udp --dport 4789 -j DROP | inferred",
		},
		{
			"nftables", nil, nil, `type filter hook forward priority 7; tcp dport 53 drop; ip daddr { 10.244.2.53, 10.244.2.54 } udp dport 53 counter drop comment "no DNS";`,
			`nftables inet fence fence handle N | ip daddr { 10.244.2.53, 10.244.2.54 } udp dport 53 counter drop comment "no DNS" | inferred`,
		},
		{
			"nftables' policy", nil, nil, "type filter hook forward priority 7; policy drop; ip6 version 6 accept; tcp dport 53 accept;",
			"nftables inet fence fence | policy drop | inferred",
		},
		{
			"nftables, one of two", nil, nil, "type filter hook forward priority 7; udp dport 53 limit rate 100/second drop; udp dport 53 drop;",
			"one of 2 rules of nftables inet fence fence | inferred",
		},
		{
			"nftables before iptables",
			commands{{"-I", "FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP"}},
			commands{{"-D", "FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP"}},
			"type filter hook forward priority -7; meta l4proto udp drop;",
			"nftables inet fence fence handle N | meta l4proto udp drop | inferred",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, rule := range c.iptables {
				if err := l.NodeB.IPTables(t.Context(), rule...); err != nil {
					t.Fatal(err)
				}
			}
			if c.chain != "" {
				t.Cleanup(fence(t, l.NodeB, nil, c.chain))
			}
			t.Cleanup(func() {
				for _, rule := range c.undo {
					if err := l.NodeB.IPTables(context.WithoutCancel(t.Context()), rule...); err != nil {
						t.Error(err)
					}
				}
			})
			r, h := dropBy(t, l, "drop.example.test.")
			if h.Drop == nil {
				t.Fatalf("the query's last hop is %q, want a drop", h.Hop)
			}
			if diff := cmp.Diff(c.want, handles.ReplaceAllString(byLine(h.Drop.By), "handle N")); diff != "" {
				t.Errorf("dropped by (-want +got):\n%s", diff)
			}
			checkVerdict(t, r, "dropped", "the query: NETFILTER_DROP", " by "+h.Drop.By.Name, h.Drop.Rule+" (inferred), in node-b")
		})
	}
}

// The rules are those of when the packet died, not of when the lookup is shown.
func TestRulesOfThen(t *testing.T) {
	sameEverywhere(t, "rules are matched in user space")
	needHooks(t)
	const iptables = "-p udp -m udp --dport 53 -j DROP"
	for _, c := range []struct {
		name string
		rule []string
		then string
		want string
	}{
		{"iptables", []string{"FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP"}, "", "iptables filter FORWARD | " + iptables + " | inferred"},
		{"nftables", nil, "type filter hook forward priority 7; udp dport 53 drop;", "nftables inet fence fence handle N | udp dport 53 drop | inferred"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
			remove := fence(t, l.NodeB, c.rule, c.then)
			o, err := lab.Observe(t.Context(), bin, "trace", "-o", "json", "--count", "1", "--timeout", lab.Patience(4*time.Second).String())
			if err != nil {
				t.Fatal(err)
			}
			opts := lab.LookupOptions{Server: lab.Service(), Name: "then.example.test.", Timeout: lab.Patience(time.Second)}
			if _, err := l.Client.Lookup(t.Context(), opts); err == nil {
				t.Error("the lookup was answered")
			}
			remove()
			if err := l.NodeB.IPTables(t.Context(), "-P", "FORWARD", "DROP"); err != nil { // another rule that could have been it
				t.Fatal(err)
			}
			h := lastHop(t, wait(t, o).only(t, "then.example.test."), "query")
			if h.Drop == nil {
				t.Fatalf("the query's last hop is %q, want a drop", h.Hop)
			}
			if diff := cmp.Diff(c.want, handles.ReplaceAllString(byLine(h.Drop.By), "handle N")); diff != "" {
				t.Errorf("dropped by (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLegacyDropRule(t *testing.T) {
	sameEverywhere(t, "rules are matched in user space")
	needHooks(t)
	l := raise(t, lab.Config{Service: lab.ServiceNFTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	rule := []string{"-A", "FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP"}
	if out, err := l.NodeB.Command(t.Context(), "iptables-legacy", rule...).CombinedOutput(); err != nil {
		t.Skipf("no iptables-legacy here: %v: %s", err, out)
	}
	_, h := dropBy(t, l, "drop.example.test.")
	if diff := cmp.Diff("iptables-legacy filter FORWARD | -p udp -m udp --dport 53 -j DROP | inferred", byLine(h.Drop.By)); diff != "" {
		t.Errorf("dropped by (-want +got):\n%s", diff)
	}
}

func TestRejectRules(t *testing.T) {
	sameEverywhere(t, "rules are matched in user space")
	needHooks(t)
	for mode, want := range map[lab.ServiceMode]string{
		lab.ServiceIPTables: "iptables filter FORWARD → KUBE-SERVICES: ",
		lab.ServiceNFTables: "nftables ip kube-proxy filter-forward → service-endpoints-check → reject-chain handle ",
	} {
		t.Run(string(mode), func(t *testing.T) {
			l := raise(t, lab.Config{Service: mode, BridgeNF: true}) // a service without endpoints
			o := observe(t)
			_, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: lab.Service(), Name: "a.example.test.", Type: dns.TypeA})
			if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("error %v, want an ICMP error", err)
			}
			r := end(t, o).only(t, "a.example.test.")
			if attached(t, "icmp_send") {
				checkVerdict(t, r, "rejected", "ICMP port unreachable by "+want, "(inferred), in node-a")
			}
		})
	}
}
