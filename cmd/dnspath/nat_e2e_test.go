//go:build e2e

package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// rewrites lists where and how NAT rewrote the packet of a leg.
func rewrites(r *render.Record, leg int) (lines []string) {
	for _, h := range r.Legs[leg].Hops {
		if h.Change == nil {
			continue
		}
		for _, c := range append([]render.Change{*h.Change}, h.Changes...) {
			if c.From != "" {
				lines = append(lines, fmt.Sprintf("%s %s %s>%s", h.NetNSName, c.Kind, port(c.From, r), port(c.To, r)))
			}
		}
	}
	return lines
}

// checkRewrites compares the rewrites of both ways.
func checkRewrites(t *testing.T, r *render.Record, query, reply []string) {
	t.Helper()
	if len(r.Legs) != 2 {
		t.Fatalf("%d legs, want 2", len(r.Legs))
	}
	for leg, want := range [][]string{query, reply} {
		if diff := cmp.Diff(want, rewrites(r, leg)); diff != "" {
			t.Errorf("rewrites of the %s (-want +got):\n%s%q", r.Legs[leg].Direction, diff, way(r, leg))
		}
	}
}

// A pod asks a server outside the cluster: its node gives its own address.
func TestMasquerade(t *testing.T) {
	sameEverywhere(t, "TestHostNetworkClient goes the same way")
	for _, c := range []struct {
		name, rule, addr string
	}{
		{"masquerade", "MASQUERADE", "192.0.2.1"},
		{"snat", "SNAT --to-source 192.0.2.101", "192.0.2.101"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := raise(t, lab.Config{})
			outside := netip.AddrPortFrom(l.NodeB.Addr, 53)
			if _, err := lab.StartDNS(l.NodeB, lab.DNSOptions{Addrs: []netip.AddrPort{outside}}); err != nil {
				t.Fatal(err)
			}
			if err := l.NodeA.IP(t.Context(), "addr", "add", "192.0.2.101/24", "dev", lab.WireDev); err != nil {
				t.Fatal(err)
			}
			rule := append(strings.Fields("-t nat -A POSTROUTING -s 10.244.0.0/16 -o eth0 -j"), strings.Fields(c.rule)...)
			if err := l.NodeA.IPTables(t.Context(), rule...); err != nil {
				t.Fatal(err)
			}
			o := observe(t, labOnly(l)...)
			res := ask(t, l.Client, outside, "a.example.test.", nil)
			r := end(t, o).only(t, "a.example.test.")
			checkAnswered(t, r, res)
			checkRewrites(t, r,
				[]string{"node-a snat 10.244.1.10:client>" + c.addr + ":client"},
				[]string{"node-a un-snat " + c.addr + ":client>10.244.1.10:client"})
			if r.Backend != nil {
				t.Errorf("backend %v, but nobody redirected it", r.Backend)
			}
		})
	}
}

// A DNS pod asks its own service, and is given itself. What makes that work is
// that its node hides from it who asks.
func TestHairpin(t *testing.T) {
	sameEverywhere(t, "TestHostNetworkClient is translated alike")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSA}, BridgeNF: true})
	o := observe(t, labOnly(l)...)
	res := ask(t, l.DNSA, lab.Service(), "hairpin.example.test.", nil)
	if err := l.NodeA.IPTables(t.Context(), "-t", "nat", "-F", "KUBE-POSTROUTING"); err != nil {
		t.Fatal(err)
	}
	askShort(t, l.DNSA, lab.Service(), "martian.example.test.", os.ErrDeadlineExceeded)
	x := end(t, o)

	r := x.only(t, "hairpin.example.test.")
	checkAnswered(t, r, res)
	masq := "10.244.1.1:client" // kube-proxy's --random-fully: another port
	for _, h := range r.Legs[0].Hops {
		if strings.HasPrefix(h.Src, "10.244.1.1:") {
			masq = h.Src
		}
	}
	checkRewrites(t, r,
		[]string{"node-a dnat 10.96.0.10:53>10.244.1.53:53", "node-a snat 10.244.1.53:client>" + masq},
		[]string{"node-a un-snat " + masq + ">10.244.1.53:client", "node-a un-dnat 10.244.1.53:53>10.96.0.10:53"})

	r = x.only(t, "martian.example.test.")
	h := lastHop(t, r, "query")
	if h.Hop != "drop" || h.NetNSName != lab.DNSA || !strings.HasPrefix(h.Src, "10.244.1.53:") {
		t.Errorf("last hop %q in %q from %s; want a drop in dns-a of what comes from its own address", h.Hop, h.NetNSName, h.Src)
	}
	checkVerdict(t, r, "dropped", "the query")
}

// NAT by BPF programs on the pod's device, with no hook of netfilter between.
func TestProgramTranslates(t *testing.T) {
	sameEverywhere(t, "programs are listed in user space")
	for _, c := range []struct {
		name string
		tcx  bool
	}{{"tcx", true}, {"clsact", false}} {
		t.Run(c.name, func(t *testing.T) {
			l := raise(t, lab.Config{})
			service, backend := lab.Service().Addr(), l.DNSB.Addr
			atIngress(t, l.NodeA, "veth-client", schedCLS(t, "to_backend", redirectTo(service, backend)), c.tcx)
			atEgress(t, l.NodeA, "veth-client", schedCLS(t, "from_service", pretend(backend, service)), c.tcx)
			o := observe(t, labOnly(l)...)
			res := ask(t, l.Client, lab.Service(), "a.example.test.", nil)
			r := end(t, o).only(t, "a.example.test.")
			checkAnswered(t, r, res)
			checkRewrites(t, r,
				[]string{"node-a dnat 10.96.0.10:53>10.244.2.53:53"}, []string{"node-a un-dnat 10.244.2.53:53>10.96.0.10:53"})
			for leg, want := range []string{"dnat tc BPF program to_backend on veth-client", "un-dnat tc BPF program from_service on veth-client"} {
				if diff := cmp.Diff([]string{want + " | inferred"}, changesOf(r, leg)); diff != "" {
					t.Errorf("by (-want +got):\n%s", diff)
				}
			}
			if r.Backend == nil || r.Backend.String() != "10.244.2.53:53" || r.Server.String() != "10.96.0.10:53" {
				t.Errorf("server %v, backend %v", r.Server, r.Backend)
			}
		})
	}
}

// The service is rewritten when the client connects, or sends, as Cilium does: no
// packet ever bears its address, so the lookup is one to the backend.
func TestConnectTimeRewrite(t *testing.T) {
	sameEverywhere(t, "no packet shows it")
	l := raise(t, lab.Config{})
	group := rewriteAtConnect(t, lab.Service().Addr(), l.DNSB.Addr)
	// dnsmasq does not connect its sockets, and takes answers from whom it has asked alone.
	d := mustStart(t)(lab.StartDnsmasq(t.Context(), l.Client, lab.DaemonOptions{Upstream: lab.Service(), NoCache: true, Cgroup: group}))
	defer d.Close() // before the cgroup, which the lab outlives
	o := observe(t, labOnly(l)...)
	for how, flag := range map[string]string{"udp": "+notcp", "tcp": "+tcp"} {
		cmd := l.Client.Command(t.Context(), "dig", how+".example.test", "@"+lab.Service().Addr().String(), "+short", "+tries=1", "+time=2", flag)
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, group
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != lab.Answer().String() {
			t.Fatalf("dig printed %q (%v), want %s", got, err, lab.Answer())
		}
	}
	dig(t, l.Client, l.Client.Addr, "sent.example.test")
	x := end(t, o)
	backend := func(r *render.Record) bool { return r.Server.String() == "10.244.2.53:53" }
	sent := x.by(lab.Client, "sent.example.test.")
	if len(sent) != 2 {
		t.Fatalf("%d lookups for sent.example.test., want one of dig's and one of dnsmasq's", len(sent))
	}
	if !backend(sent[1]) {
		sent[0], sent[1] = sent[1], sent[0]
	}
	for _, r := range []*render.Record{x.only(t, "udp.example.test."), x.only(t, "tcp.example.test."), sent[1]} {
		checkVerdict(t, r, "answered")
		for leg := range r.Legs {
			if diff := cmp.Diff([]string(nil), rewrites(r, leg)); diff != "" {
				t.Errorf("%s: rewrites (-want +got):\n%s", r.Name, diff)
			}
		}
		if !backend(r) || r.Backend != nil || r.Client.NetNSName != lab.Client {
			t.Errorf("%s: server %v, backend %v, client in %q", r.Name, r.Server, r.Backend, r.Client.NetNSName)
		}
	}
}

// IPVS gives a node's own lookups the address of its tunnel for a source.
func TestIPVSMasquerade(t *testing.T) {
	l := raise(t, lab.Config{Service: lab.ServiceIPVS, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	o := observe(t, labOnly(l)...)
	res := ask(t, l.NodeA, lab.Service(), "host.example.test.", nil)
	r := end(t, o).only(t, "host.example.test.")
	checkAnswered(t, r, res)
	var kinds []string
	for leg := range r.Legs {
		for _, line := range rewrites(r, leg) {
			kinds = append(kinds, strings.Join(strings.Fields(line)[:2], " "))
		}
	}
	want := []string{"node-a dnat", "node-a snat", "node-a un-snat", "node-a un-dnat"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("rewrites (-want +got):\n%s", diff)
	}
}
