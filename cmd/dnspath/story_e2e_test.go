//go:build e2e

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// told says how lookups belong together: a line for each, with who asked what, and
// what it is to others. Numbers count the lookups; stories are lettered.
func (x export) told() (lines []string) {
	number, letter := map[string]int{}, map[string]rune{"": '-'}
	for i, r := range x.lookups {
		number[r.ID] = i + 1
		if _, ok := letter[r.Story]; !ok {
			letter[r.Story] = 'a' + rune(len(letter)) - 1
		}
	}
	for i, r := range x.lookups {
		line := fmt.Sprintf("%d %c %s %s %s", i+1, letter[r.Story], r.Client.NetNSName, r.Name, r.QType)
		for _, link := range r.Links {
			line += fmt.Sprintf(", %s %d", link.Kind, number[link.ID])
		}
		lines = append(lines, line)
	}
	return lines
}

// checkTold compares how lookups belong together.
func checkTold(t *testing.T, x export, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, x.told()); diff != "" {
		t.Errorf("lookups (-want +got):\n%s", diff)
	}
}

// What the C library makes of one name: a walk through the search domains, A and
// AAAA from one socket each time, and what cluster DNS asks on for the last.
func TestStories(t *testing.T) {
	sameEverywhere(t, "other clients")
	l := raiseBare(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	mustStart(t)(lab.StartUnbound(t.Context(), l.DNSA, lab.DaemonOptions{}))
	mustStart(t)(lab.StartCoreDNS(t.Context(), l.DNSB, lab.DaemonOptions{Upstream: netip.AddrPortFrom(l.DNSA.Addr, 53), NoCache: true}))
	getent := func() {
		cmd, err := l.Client.CommandWith(t.Context(), lab.ResolvConf{
			Server: lab.Service().Addr(), Search: []string{"default.svc.cluster.test", "svc.cluster.test"}, Options: "ndots:5",
		}, "getent", "ahosts", "www.example.test")
		if err != nil {
			t.Fatal(err)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("getent: %v: %s", err, out)
		}
	}
	o := observe(t, labOnly(l)...)
	getent()
	x := end(t, o)
	var top, caused []string
	for _, r := range x.lookups {
		line := r.Name + " " + r.QType
		if r.Client.NetNSName == lab.Client {
			top = append(top, line)
		} else {
			caused = append(caused, line)
		}
		if r.Story == "" || r.Story != x.lookups[0].ID {
			t.Errorf("%s of %s is of the story %q, want %q", line, r.Client.NetNSName, r.Story, x.lookups[0].ID)
		}
	}
	slices.Sort(caused)
	want := []string{
		"www.example.test.default.svc.cluster.test. A", "www.example.test.default.svc.cluster.test. AAAA",
		"www.example.test.svc.cluster.test. A", "www.example.test.svc.cluster.test. AAAA", "www.example.test. A", "www.example.test. AAAA",
	}
	if diff := cmp.Diff(want, top); diff != "" {
		t.Errorf("the client's lookups (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[4:], caused); diff != "" {
		t.Errorf("lookups that they caused (-want +got):\n%s", diff)
	}
	if t.Failed() {
		t.Log(strings.Join(x.told(), "\n"))
	}

	const headline = "8 lookups for www.example.test, 4 of them NXDOMAIN from search domains, 2 of them by servers that asked on\n"
	file := filepath.Join(t.TempDir(), "export.json")
	if err := os.WriteFile(file, o.Stdout(), 0o600); err != nil {
		t.Fatal(err)
	}
	if res := runTool(t, bin, 0, "analyze", file); !strings.HasPrefix(res.stdout, headline) || strings.Count(res.stdout, "\n      caused by the lookup of ") != 2 {
		t.Errorf("analyze does not have the story, with the line\n%s\n%s", headline, res.stdout)
	}

	o, err := lab.Observe(t.Context(), bin, append([]string{"trace", "--timeout", toolTimeout()}, labOnly(l)...)...)
	if err != nil {
		t.Fatal(err)
	}
	getent()
	if err := o.Stop(); err != nil {
		t.Fatal(err)
	}
	text := string(o.Stdout())
	if !strings.HasPrefix(text, headline) || strings.Count(text, " lookups for ") != 1 || strings.Count(text, "\n    caused by the lookup of ") != 0 {
		t.Errorf("text does not have one story, with the line\n%s\n%s", headline, text)
	}
	if n := strings.Count(text, "\n      caused by the lookup of "); n != 2 {
		t.Errorf("%d lookups are caused by others, want 2:\n%s", n, text)
	}
}

// A cache on the node that asks the cluster's DNS server, which asks another one.
func TestParents(t *testing.T) {
	sameEverywhere(t, "other servers")
	l := raiseBare(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	mustStart(t)(lab.StartUnbound(t.Context(), l.DNSA, lab.DaemonOptions{}))
	mustStart(t)(lab.StartCoreDNS(t.Context(), l.DNSB, lab.DaemonOptions{Upstream: netip.AddrPortFrom(l.DNSA.Addr, 53), NoCache: true}))
	mustStart(t)(lab.StartNodeLocal(t.Context(), l.NodeA, lab.DaemonOptions{}))
	o := observe(t, labOnly(l)...)
	dig(t, l.Client, lab.NodeLocal(), "www.example.test")
	checkTold(t, end(t, o),
		"1 a client www.example.test. A, child 2",
		"2 a node-a www.example.test. A, parent 1, child 3",
		"3 a dns-b www.example.test. A, parent 2",
	)
}

// Questions that one client asks twice: over TCP since the answer was truncated,
// and from another port since there was none. Its next question is none of these.
func TestAskedAgain(t *testing.T) {
	sameEverywhere(t, "retries are told apart in user space")
	l := raise(t, lab.Config{})
	server := addrPort(l.DNSB)
	o := observe(t, labOnly(l)...)
	ask(t, l.Client, server, "warm.example.test.", nil)
	out, err := l.Client.Command(t.Context(), "dig", "@"+server.Addr().String(), "+noedns", "+tries=1", "+short", "big1500.example.test", "TXT").CombinedOutput()
	if err != nil {
		t.Fatalf("dig: %v: %s", err, out)
	}
	for range 2 {
		_, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: server, Name: "silent.example.test.", Timeout: lab.Patience(300 * time.Millisecond)})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("lookup of silent.example.test: %v, want %v", err, os.ErrDeadlineExceeded)
		}
	}
	ask(t, l.Client, server, "last.example.test.", nil)
	x := end(t, o)
	slices.SortStableFunc(x.lookups, func(a, b *render.Record) int { return a.Time.Compare(b.Time) })
	checkTold(t, x,
		"1 - client warm.example.test. A",
		"2 a client big1500.example.test. TXT, over-tcp 3",
		"3 a client big1500.example.test. TXT, truncation-of 2",
		"4 - client silent.example.test. A",
		"5 - client silent.example.test. A, retry-of 4",
		"6 - client last.example.test. A",
	)
	if !x.lookups[1].Truncated || x.lookups[2].Truncated || x.lookups[2].Transport != "tcp" {
		t.Errorf("big1500: truncated %v, then %v over %s", x.lookups[1].Truncated, x.lookups[2].Truncated, x.lookups[2].Transport)
	}
}
