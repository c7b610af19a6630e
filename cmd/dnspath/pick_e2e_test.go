//go:build e2e

package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/lab"
)

// What --failed and --slower leave out is counted; what belongs to a lookup that
// is shown is shown with it: its retry, its sibling.
func TestPicked(t *testing.T) {
	sameEverywhere(t, "user space picks")
	l := raise(t, lab.Config{})
	server := addrPort(l.DNSB)
	cases := []struct {
		args []string
		want []string
	}{
		{[]string{"--failed"}, []string{"again. A", "again. A", "pair. A", "pair. AAAA", "servfail. A"}},
		{[]string{"--slower", "200ms"}, []string{"again. A", "again. A", "pair. A", "pair. AAAA", "slow250. A"}},
		{[]string{"--failed", "--slower", "200ms"}, []string{"again. A", "again. A", "pair. A", "pair. AAAA", "servfail. A", "slow250. A"}},
		{[]string{"--failed", "--name", "servfail.example.test"}, []string{"servfail. A"}},
		{[]string{"--failed=false"}, []string{"again. A", "again. A", "nx. A", "pair. A", "pair. AAAA", "servfail. A", "slow250. A", "well. A"}},
	}
	var tools []*lab.Observer
	for _, c := range cases {
		tools = append(tools, observe(t, append(labOnly(l), c.args...)...))
	}
	text, err := lab.Observe(t.Context(), bin, append([]string{"--failed", "--timeout", toolTimeout()}, labOnly(l)...)...)
	if err != nil {
		t.Fatal(err)
	}
	lookup := func(name string, qtype uint16) {
		t.Helper()
		if _, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: server, Name: name, Type: qtype}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"well.example.test.", "nx.example.test.", "servfail.example.test.", "slow250.example.test."} {
		lookup(name, dns.TypeA)
	}
	fall := fence(t, l.NodeB, nil, "type filter hook forward priority 0; udp dport 53 drop;")
	askShort(t, l.Client, server, "again.example.test.", os.ErrDeadlineExceeded)
	fall()
	lookup("again.example.test.", dns.TypeA)
	fall = fence(t, l.NodeB, nil, "type filter hook forward priority 0; udp dport 53 drop;")
	askShort(t, l.Client, server, "pair.example.test.", os.ErrDeadlineExceeded)
	fall()
	lookup("pair.example.test.", dns.TypeAAAA)
	for i, c := range cases {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			x := end(t, tools[i])
			var got []string
			for _, name := range x.names() {
				got = append(got, strings.Replace(name, "example.test. ", " ", 1))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("lookups (-want +got):\n%s", diff)
			}
			if slices.Contains(c.args, "--name") {
				return
			}
			if diff := cmp.Diff(map[string]uint64{"answered": 6, "dropped": 2}, x.stats.Outcomes); diff != "" {
				t.Errorf("outcomes counted (-want +got):\n%s", diff)
			}
		})
	}
	if err := text.Stop(); err != nil {
		t.Fatalf("tool: %v: %s", err, text.Stderr())
	}
	if s := string(text.Stdout()); strings.Contains(s, "well.example") || !strings.Contains(s, "servfail.example.test. A  answered SERVFAIL") {
		t.Errorf("--failed shows as text\n%s", s)
	}
	if s := string(text.Stderr()); !strings.Contains(s, "dnspath: 8 lookups in ") {
		t.Errorf("the summary does not count all lookups: %s", s)
	}
}
