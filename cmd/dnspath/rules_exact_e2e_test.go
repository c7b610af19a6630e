//go:build e2e

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// tables returns the tables of nftables in all namespaces of the lab.
func tables(t *testing.T, l *lab.Lab) []string {
	t.Helper()
	var list []string
	for _, ns := range l.Namespaces() {
		out, err := ns.Command(context.WithoutCancel(t.Context()), "nft", "list", "tables").CombinedOutput()
		if err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			list = append(list, ns.Name+": "+strings.TrimSpace(line))
		}
	}
	return list
}

// ours returns those of the tables that a dnspath made.
func ours(tables []string) []string {
	return slices.DeleteFunc(slices.Clone(tables), func(s string) bool { return !strings.Contains(s, "dnspath") })
}

// changes returns the rewrites of a leg of one kind.
func changes(r *render.Record, leg int, kind string) []render.Change {
	var list []render.Change
	for _, h := range r.Legs[leg].Hops {
		all := slices.Clone(h.Changes)
		if h.Change != nil {
			all = append(all, *h.Change)
		}
		for _, c := range all {
			if c.Kind == kind {
				list = append(list, c)
			}
		}
	}
	return list
}

// handleOf asks nft for the handle and the text of the rule of a chain whose
// text has a phrase.
func handleOf(t *testing.T, ns *lab.NS, family, table, chain, phrase string) (handle, text string) {
	t.Helper()
	out, err := ns.Command(t.Context(), "nft", "-a", "-s", "list", "chain", family, table, chain).Output()
	if err != nil {
		t.Fatalf("nft: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		text, handle, ok := strings.Cut(strings.TrimSpace(line), " # handle ")
		if ok && strings.Contains(text, phrase) {
			return handle, text
		}
	}
	t.Fatalf("no rule with %q in %s", phrase, out)
	return "", ""
}

// With --rules exact it is seen which rule translated a packet.
func TestRulesExactNAT(t *testing.T) {
	onGuests(t, lab.SomeGuests)
	l := raise(t, lab.Config{Service: lab.ServiceNFTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	before := tables(t, l)
	o := observe(t, append(labOnly(l), "--rules", "exact")...)
	if n := len(ours(tables(t, l))); n != len(l.Namespaces()) {
		t.Errorf("%d tables of ours, want one in each of %d namespaces", n, len(l.Namespaces()))
	}
	ask(t, l.Client, lab.Service(), "translated.example.test.", nil)
	ask(t, l.Client, lab.Service6(), "translated6.example.test.", nil)
	x := end(t, o)
	for name, family := range map[string]string{"translated.example.test.": "ip", "translated6.example.test.": "ip6"} {
		t.Run(family, func(t *testing.T) {
			r := x.only(t, name)
			var chains []string
			for _, hop := range r.Legs[0].Hops {
				for _, rule := range hop.Rules {
					if rule.Base == "nat-prerouting" && !slices.Contains(chains, rule.Chain) {
						chains = append(chains, rule.Chain)
					}
				}
			}
			if len(chains) == 0 || !strings.HasPrefix(chains[len(chains)-1], "endpoint-") {
				t.Fatalf("no hop shows the chain of the endpoint: %+v", r.Legs[0].Hops)
			}
			handle, text := handleOf(t, l.NodeA, family, "kube-proxy", chains[len(chains)-1], "dnat")
			want := render.Change{
				Kind: "dnat", From: r.Server.String(), To: r.Backend.String(), Hook: "PREROUTING", How: "seen",
				By: render.By{
					Name: fmt.Sprintf("nftables %s kube-proxy %s handle %s", family, strings.Join(chains, " → "), handle),
					Rule: text, How: "seen",
				},
			}
			if !seesHooks(t) {
				want.How = "inferred"
			}
			if diff := cmp.Diff([]render.Change{want}, changes(r, 0, "dnat")); diff != "" {
				t.Errorf("rewrites (-want +got):\n%s", diff)
			}
		})
	}
	if r := x.stats.Rules; r == nil || r.Steps == 0 || r.Overflows+r.Undecodable+r.Unlisted != 0 || r.Namespaces != len(l.Namespaces()) {
		t.Errorf("stats of rules: %+v", r)
	}
	if diff := cmp.Diff(before, tables(t, l)); diff != "" {
		t.Errorf("tables (-before +after):\n%s", diff)
	}
}

// With --rules exact it is seen which rule, or policy, dropped a packet.
func TestRulesExactDrop(t *testing.T) {
	sameEverywhere(t, "TestRulesExactNAT has the same messages")
	l := raise(t, lab.Config{Service: lab.ServiceNFTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	for _, d := range []struct {
		name, hook, rule string
		ns               *lab.NS
		direction        string
	}{
		{"rule", "forward", "udp dport 53 drop", l.NodeB, "query"},
		{"policy", "forward", "", l.NodeB, "query"},
		{"rejecting rule", "forward", "udp dport 53 counter reject", l.NodeB, "query"},
		{"rule, before conntrack", "prerouting", `udp dport 53 drop comment "early"`, l.NodeA, "query"},
		{"rule, of the reply", "input", "udp sport 53 drop", l.Client, "reply"},
	} {
		t.Run(d.name, func(t *testing.T) {
			priority, policy := "7", ""
			if d.hook == "prerouting" {
				priority = "raw"
			}
			want := render.By{Name: "nftables inet fence fence", Rule: "policy drop", How: "seen"}
			if d.rule == "" {
				policy = "policy drop;"
			}
			o := observe(t, append(labOnly(l), "--rules", "exact")...)
			remove := fence(t, d.ns, nil, fmt.Sprintf("type filter hook %s priority %s; %s %s;", d.hook, priority, policy, d.rule))
			if d.rule != "" {
				handle, _ := handleOf(t, d.ns, "inet", "fence", "fence", d.rule)
				want.Name, want.Rule = want.Name+" handle "+handle, d.rule
			}
			_, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: lab.Service(), Name: "drop.example.test.", Timeout: 200 * time.Millisecond})
			if err == nil {
				t.Error("the lookup was answered")
			}
			x := end(t, o) // while the rule is there: nft lists it a moment after it was met
			remove()
			h := lastHop(t, x.only(t, "drop.example.test."), d.direction)
			if h.Drop == nil {
				t.Fatalf("last hop %+v, want a drop", h)
			}
			got := []string{h.NetNSName, strings.ToLower(h.Drop.Hook), byLine(h.Drop.By)}
			if diff := cmp.Diff([]string{d.ns.Name, d.hook, byLine(want)}, got); diff != "" {
				t.Errorf("where, hook, by (-want +got):\n%s", diff)
			}
		})
	}
}

// Rules of iptables-nft are nftables' too; what they say is in their comment.
func TestRulesExactIPTables(t *testing.T) {
	sameEverywhere(t, "rules are read in user space")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	o := observe(t, append(labOnly(l), "--rules", "exact")...)
	remove := fence(t, l.NodeB, []string{
		"FORWARD", "-p", "udp", "--dport", "53", "-m", "comment", "--comment", "no DNS today", "-j", "DROP",
	}, "")
	askShort(t, l.Client, lab.Service(), "dropped.example.test.", os.ErrDeadlineExceeded)
	r := end(t, o).only(t, "dropped.example.test.")
	remove()
	nat := changes(r, 0, "dnat")
	if len(nat) != 1 || !strings.HasPrefix(nat[0].Name, "iptables nat PREROUTING → KUBE-SERVICES → ") || !strings.Contains(nat[0].Name, "KUBE-SEP-") || nat[0].By.How != "seen" {
		t.Errorf("rewrites %+v, want one by a rule of KUBE-SEP", nat)
	}
	h := lastHop(t, r, "query")
	if h.Drop == nil || !strings.HasPrefix(h.Drop.Name, "iptables filter FORWARD handle ") || !strings.Contains(h.Drop.Rule, "drop") || h.Drop.How != "seen" {
		t.Fatalf("drop %+v, want one by a rule of FORWARD", h.Drop)
	}
	if !slices.ContainsFunc(r.Legs[0].Hops, func(h render.Hop) bool {
		return slices.ContainsFunc(h.Rules, func(r render.Rule) bool { return r.Comment == "no DNS today" && r.Verdict == "drop" })
	}) {
		t.Errorf("no hop shows the rule with its comment: %+v", r.Legs[0].Hops)
	}
}

// However the tool ends, its tables go with it; two tools don't disturb each other.
func TestRulesExactLeavesNothing(t *testing.T) {
	sameEverywhere(t, "who ends is the same")
	l := raise(t, lab.Config{Service: lab.ServiceNFTables, Endpoints: []string{lab.DNSB}})
	before := tables(t, l)
	owned := l.NodeA.NFT(t.Context(), "table inet owned { flags owner; }\n") == nil // gone with its owner
	for _, c := range []struct {
		name string
		end  func(*lab.Observer) error
	}{
		{"SIGKILL", func(o *lab.Observer) error { o.Kill(); return nil }},
		{"SIGINT", (*lab.Observer).Stop},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := observe(t, append(labOnly(l), "--rules", "exact")...)
			second := observe(t, append(labOnly(l), "--rules", "exact")...)
			if n := len(ours(tables(t, l))); n != 2*len(l.Namespaces()) {
				t.Errorf("%d tables of ours, want two in each namespace", n)
			}
			ask(t, l.Client, lab.Service(), strings.ToLower(c.name)+".example.test.", nil)
			if err := c.end(first); err != nil {
				t.Fatal(err)
			}
			r := end(t, second).only(t, strings.ToLower(c.name)+".example.test.")
			if nat := changes(r, 0, "dnat"); len(nat) != 1 || !strings.HasPrefix(nat[0].Name, "nftables ip kube-proxy ") || nat[0].By.How != "seen" {
				t.Errorf("rewrites %+v, want one by a rule of kube-proxy", nat)
			}
			if c.name == "SIGKILL" && !owned { // the next one finds what was left
				end(t, observe(t, append(labOnly(l), "--rules", "exact")...))
			}
			awaitNothing(t, "tables", func() []string { return ours(tables(t, l)) })
			if diff := cmp.Diff(before, tables(t, l)); diff != "" {
				t.Errorf("tables (-before +after):\n%s", diff)
			}
		})
	}
}

// A table that a tool left behind where the kernel knows no owners goes at the
// next start.
func TestRulesExactCleansUp(t *testing.T) {
	sameEverywhere(t, "TestRulesExactLeavesNothing goes the same way")
	l := raise(t, lab.Config{})
	stale := "inet dnspath-trace-4194305-1" // more than a process id can be
	if err := l.NodeA.NFT(t.Context(), "add table "+stale+"\n"); err != nil {
		t.Fatal(err)
	}
	o := observe(t, append(labOnly(l), "--rules", "exact")...)
	if list := tables(t, l); slices.Contains(list, lab.NodeA+": table "+stale) {
		t.Errorf("it is still there: %q", list)
	}
	end(t, o)
}
