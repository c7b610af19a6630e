//go:build e2e

package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// What the configuration of a lab would do to DNS is told without traffic, and
// what is broken has the finding that a lookup would have.
func TestCheck(t *testing.T) {
	sameEverywhere(t, "the configuration is read alike")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSA, lab.DNSB}, BridgeNF: true})
	check := func(status int, want ...string) {
		t.Helper()
		args := []string{"check", "-o", "json", "--netns", l.Client.Name, "--server", lab.Service().Addr().String()}
		res := runTool(t, bin, 0, args...)
		if res.status != status {
			t.Errorf("exit status %d, want %d: %s", res.status, status, res.stderr)
		}
		var r render.CheckRecord
		if err := json.Unmarshal([]byte(res.stdout), &r); err != nil {
			t.Fatal(err)
		}
		if r.Client != l.Client.Name || r.Router != l.NodeA.Name {
			t.Errorf("checked lookups of %q by way of %q", r.Client, r.Router)
		}
		var found []string
		for _, c := range r.Checks {
			if c.Status != "ok" && !slices.Contains(found, c.Status+" "+c.Finding) {
				found = append(found, c.Status+" "+c.Finding)
			}
		}
		if !slices.Equal(found, want) {
			t.Errorf("not well: %q, want %q\n%s", found, want, res.stdout)
		}
	}
	check(0)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(l.MasqueradeTunnel(t.Context()))
	do(l.NodeA.SetSysctl("net.ipv4.conf."+lab.BridgeDev+".rp_filter", "1"))
	check(0, "warn tunnel-checksum")
	do(l.NodeA.IP(t.Context(), "route", "add", l.Client.Addr.String()+"/32", "dev", lab.WireDev))
	check(3, "warn tunnel-checksum", "fail rp-filter-drop")
	do(l.NodeA.IP(t.Context(), "route", "del", l.Client.Addr.String()+"/32"))
	do(l.ExemptTunnel(t.Context()))
	check(0)
	do(l.NodeA.SetSysctl("net.bridge.bridge-nf-call-iptables", "0"))
	check(3, "fail reply-not-untranslated")
	for _, args := range [][]string{{"route", "del", "10.244.2.0/24"}, {"route", "del", "default"}} {
		if err := l.NodeA.IP(t.Context(), args...); err != nil {
			t.Logf("ip %q: %v", args, err)
		}
	}
	check(3, "fail reply-not-untranslated", "fail no-route-to-endpoint")
}

// Bad input gets an error that says what to do.
func TestCheckUsage(t *testing.T) {
	for _, args := range [][]string{{"--server", "10.96.0"}, {"--netns", "no-such-namespace"}, {"-o", "yaml"}, {"surplus"}} {
		res := runTool(t, bin, 0, append([]string{"check"}, args...)...)
		if res.status != 2 || res.stderr == "" || res.stdout != "" {
			t.Errorf("check %q: status %d, stdout %q, stderr %q", args, res.status, res.stdout, res.stderr)
		}
	}
}
