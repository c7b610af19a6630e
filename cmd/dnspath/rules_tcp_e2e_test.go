//go:build e2e

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// Over TCP it is the SYN that rules translate and drop. What follows it is
// conntrack's doing, and rules for UDP have no part in any of it.
func TestRulesTCP(t *testing.T) {
	sameEverywhere(t, "rules are matched in user space")
	needHooks(t)
	for _, c := range []struct {
		how  string
		mode lab.ServiceMode
		dnat string // its end: which endpoint's chain, with the rule
		seen string // how the drop's rule is known
	}{
		{
			"inferred", lab.ServiceIPTables,
			"KUBE-SEP-Y3RAZOJUWDIGDXJ7 | -p tcp -m comment --comment \"kube-system/kube-dns:dns-tcp\" -m tcp -j DNAT --to-destination 10.244.2.53:53 | inferred",
			"inferred",
		},
		{
			"exact", lab.ServiceNFTables,
			"handle N | meta l4proto tcp dnat to 10.244.2.53:53 | seen",
			"seen",
		},
	} {
		t.Run(c.how, func(t *testing.T) {
			l := raise(t, lab.Config{Service: c.mode, Endpoints: []string{lab.DNSB}, BridgeNF: true})
			o := observe(t, append(labOnly(l), "--rules", c.how)...)
			if _, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: lab.Service(), Name: "a.example.test.", TCP: true}); err != nil {
				t.Fatal(err)
			}
			remove := fence(t, l.NodeB, nil, "type filter hook forward priority 7; udp dport 53 drop; tcp dport 53 tcp flags & (fin | syn | rst | ack) == syn drop;")
			_, rule := handleOf(t, l.NodeB, "inet", "fence", "fence", "tcp dport") // versions of nft spell flags differently
			stream(t, l.Client, lab.StreamOptions{Server: lab.Service(), Names: []string{"dropped.example.test."}, Timeout: noAnswer()}, os.ErrDeadlineExceeded)
			x := end(t, o)
			remove()

			r := x.only(t, "a.example.test.")
			checkVerdict(t, r, "answered")
			if got := changesOf(r, 0); len(got) != 1 || !strings.HasPrefix(got[0], "dnat ") || !strings.HasSuffix(got[0], c.dnat) {
				t.Errorf("rewrites of the SYN: %q, want one by %q", got, c.dnat)
			}
			for leg, want := range map[int]string{1: "un-dnat", 2: "dnat", 3: "un-dnat"} {
				if diff := cmp.Diff([]string{want + " netfilter nat | seen"}, changesOf(r, leg)); diff != "" {
					t.Errorf("rewrites of the %s %s (-want +got):\n%s", r.Legs[leg].Direction, r.Legs[leg].Segment, diff)
				}
			}
			checkSYNDropped(t, x, render.By{Name: "nftables inet fence fence handle N", Rule: rule, How: c.seen})
		})
	}
}

// checkSYNDropped checks which rule dropped the SYN of a lookup that never came
// to have a name.
func checkSYNDropped(t *testing.T, x export, want render.By) {
	t.Helper()
	var dropped []*render.Record
	for _, r := range x.lookups {
		if r.Transport == "tcp" && r.Name == "" {
			dropped = append(dropped, r)
		}
	}
	if len(dropped) != 1 {
		t.Fatalf("%d lookups over TCP without a name, want 1", len(dropped))
	}
	r := dropped[0]
	h := lastHop(t, r, "query")
	if h.Drop == nil || h.NetNSName != lab.NodeB {
		t.Fatalf("last hop %+v, want a drop in node-b", h)
	}
	if got := handles.ReplaceAllString(byLine(h.Drop.By), "handle N"); got != byLine(want) {
		t.Errorf("dropped by %q, want %q", got, byLine(want))
	}
	if r.Outcome != "dropped" || !strings.HasPrefix(r.Detail, "the SYN: ") || !strings.Contains(r.Detail, want.Rule) {
		t.Errorf("outcome %s, %q; want dropped, the SYN, by %q", r.Outcome, r.Detail, want.Rule)
	}
}
