//go:build e2e

package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// by returns the lookups for a name from a namespace, in their order.
func (x export) by(netns, name string) (found []*render.Record) {
	for _, r := range x.lookups {
		if r.Name == name && r.Client.NetNSName == netns {
			found = append(found, r)
		}
	}
	return found
}

// one is by where there is to be one.
func (x export) one(t *testing.T, netns, name string) *render.Record {
	t.Helper()
	found := x.by(netns, name)
	if len(found) != 1 {
		for _, r := range x.lookups {
			t.Logf("lookup: %+v", r)
		}
		t.Fatalf("%d lookups for %s from %s, want 1", len(found), name, netns)
	}
	return found[0]
}

// checkTied checks that two lookups of one story say of each other what they are.
func checkTied(t *testing.T, r *render.Record, kind string, other *render.Record, back string) {
	t.Helper()
	has := func(r *render.Record, kind string, other *render.Record) bool {
		return slices.ContainsFunc(r.Links, func(l render.Link) bool { return l.Kind == kind && l.ID == other.ID })
	}
	if !has(r, kind, other) || !has(other, back, r) {
		t.Errorf("%s %s from %s has links %+v, %s %s from %s has %+v; want %s and %s",
			r.QType, r.Name, r.Client.NetNSName, r.Links, other.QType, other.Name, other.Client.NetNSName, other.Links, kind, back)
	}
	if r.Story == "" || r.Story != other.Story {
		t.Errorf("%s %s is in story %q, %s %s in %q", r.QType, r.Name, r.Story, other.QType, other.Name, other.Story)
	}
}

// checkAlone checks that a lookup is tied to no other.
func checkAlone(t *testing.T, r *render.Record) {
	t.Helper()
	if r.Story != "" || len(r.Links) > 0 {
		t.Errorf("%s %s from %s is in story %q, with links %+v", r.QType, r.Name, r.Client.NetNSName, r.Story, r.Links)
	}
}

// dig looks a name up with dig and fails the test if it has no address.
func dig(t *testing.T, ns *lab.NS, server netip.Addr, args ...string) {
	t.Helper()
	args = append([]string{"@" + server.String(), "+short", "+tries=1", "+time=2"}, args...)
	out, err := ns.Command(t.Context(), "dig", args...).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != lab.Answer().String() {
		t.Fatalf("dig %s printed %q (%v), want %s", args, got, err, lab.Answer())
	}
}

func mustStart(t *testing.T) func(*lab.Daemon, error) *lab.Daemon {
	return func(d *lab.Daemon, err error) *lab.Daemon {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

// Cluster DNS forwards what is not of the cluster, and remembers the answer: the
// client asks twice, the server behind once.
func TestForwarders(t *testing.T) {
	sameEverywhere(t, "other servers")
	for _, upstream := range []string{"dnsmasq", "unbound"} {
		t.Run(upstream, func(t *testing.T) {
			l := raiseBare(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSA}, BridgeNF: true})
			start := lab.StartDnsmasq
			if upstream == "unbound" {
				start = lab.StartUnbound
			}
			mustStart(t)(start(t.Context(), l.DNSB, lab.DaemonOptions{}))
			core := mustStart(t)(lab.StartCoreDNS(t.Context(), l.DNSA, lab.DaemonOptions{Upstream: netip.AddrPortFrom(l.DNSB.Addr, 53)}))
			o := observe(t, labOnly(l)...)
			for range 2 {
				dig(t, l.Client, lab.Service().Addr(), "www.example.test")
			}
			dig(t, l.Client, lab.Service().Addr(), "web.default.svc.cluster.test")
			x := end(t, o)
			asked := x.by(lab.Client, "www.example.test.")
			if len(asked) != 2 || len(x.lookups) != 4 {
				t.Fatalf("%d lookups, %d of the client's for www; want 4 and 2", len(x.lookups), len(asked))
			}
			caused, known := x.one(t, lab.DNSA, "www.example.test."), x.one(t, lab.Client, "web.default.svc.cluster.test.")
			checkTied(t, caused, "parent", asked[0], "child")
			checkAlone(t, asked[1])
			checkAlone(t, known)
			for _, r := range append(asked, caused, known) {
				checkVerdict(t, r, "answered")
				if diff := cmp.Diff([]string{lab.Answer().String()}, r.Answers); diff != "" {
					t.Errorf("answers of %s (-want +got):\n%s", r.Client, diff)
				}
			}
			if caused.Server.String() != "10.244.2.53:53" || caused.Client.Process != "" && caused.Client.PID != uint32(core.PID()) {
				t.Errorf("coredns[%d] asked %s as %s[%d]; want 10.244.2.53:53", core.PID(), caused.Server, caused.Client.Process, caused.Client.PID)
			}
			if caused.Time.Before(asked[0].Time) || caused.LatencyNS >= asked[0].LatencyNS {
				t.Errorf("the lookup that it caused began at %s and took %d ns; the client's at %s, %d", caused.Time, caused.LatencyNS, asked[0].Time, asked[0].LatencyNS)
			}
		})
	}
}

// A node's own cache has an address that conntrack leaves alone, and asks the
// service in its turn.
func TestNodeLocalCache(t *testing.T) {
	sameEverywhere(t, "rules that all kernels have")
	l := raiseBare(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	mustStart(t)(lab.StartCoreDNS(t.Context(), l.DNSB, lab.DaemonOptions{}))
	mustStart(t)(lab.StartNodeLocal(t.Context(), l.NodeA, lab.DaemonOptions{}))
	o := observe(t, labOnly(l)...)
	dig(t, l.Client, lab.NodeLocal(), "www.example.test")
	x := end(t, o)
	if len(x.lookups) != 2 {
		t.Errorf("%d lookups, want 2", len(x.lookups))
	}
	r, caused := x.one(t, lab.Client, "www.example.test."), x.one(t, lab.NodeA, "www.example.test.")
	checkVerdict(t, r, "answered")
	checkVerdict(t, caused, "answered")
	checkTied(t, caused, "parent", r, "child")
	checkRewrites(t, r, nil, nil)
	if r.Server.String() != "169.254.20.10:53" || r.Backend != nil {
		t.Errorf("server %v, backend %v", r.Server, r.Backend)
	}
	if caused.Server.String() != "10.96.0.10:53" || caused.Backend == nil || caused.Backend.String() != "10.244.2.53:53" {
		t.Errorf("the cache asked %v, backend %v", caused.Server, caused.Backend)
	}
}

// A cache on the client's own host, as systemd-resolved is: it asks from another
// address than that on which it was asked.
func TestLocalCache(t *testing.T) {
	sameEverywhere(t, "who asked is told in user space")
	l := raise(t, lab.Config{})
	if err := l.Client.IP(t.Context(), "link", "set", "lo", "up"); err != nil {
		t.Fatal(err)
	}
	stub, upstream := netip.MustParseAddr("127.0.0.53"), netip.AddrPortFrom(l.DNSB.Addr, 53)
	mustStart(t)(lab.StartDnsmasq(t.Context(), l.Client, lab.DaemonOptions{Addr: stub, Upstream: upstream}))
	o := observe(t, labOnly(l)...)
	dig(t, l.Client, stub, "www.example.test")
	x := end(t, o)
	found := x.by(lab.Client, "www.example.test.")
	if len(found) != 2 {
		t.Fatalf("%d lookups, want 2", len(found))
	}
	if found[1].Server.Addr != upstream.Addr() {
		found[0], found[1] = found[1], found[0]
	}
	checkVerdict(t, found[0], "answered")
	checkVerdict(t, found[1], "answered")
	checkTied(t, found[1], "parent", found[0], "child")
}

// The C library asks A and AAAA at once from one socket, and walks the search
// domains; Go asks each from a socket of its own.
func TestResolvers(t *testing.T) {
	sameEverywhere(t, "other clients")
	l := raiseBare(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	mustStart(t)(lab.StartUnbound(t.Context(), l.DNSA, lab.DaemonOptions{}))
	mustStart(t)(lab.StartCoreDNS(t.Context(), l.DNSB, lab.DaemonOptions{Upstream: netip.AddrPortFrom(l.DNSA.Addr, 53), NoCache: true}))
	search := []string{"default.svc.cluster.test", "svc.cluster.test", "cluster.test"}
	getent, err := l.Client.CommandWith(t.Context(), lab.ResolvConf{
		Server: lab.Service().Addr(), Search: search, Options: "ndots:5",
	}, "getent", "ahosts", "www.example.test")
	if err != nil {
		t.Fatal(err)
	}
	o := observe(t, labOnly(l)...)
	if out, err := getent.CombinedOutput(); err != nil || !strings.Contains(string(out), lab.Answer6().String()) {
		t.Fatalf("getent: %v: %s", err, out)
	}
	if _, err := l.Client.Resolver(lab.Service()).LookupHost(t.Context(), "go.example.test."); err != nil {
		t.Fatal(err)
	}
	x := end(t, o)
	names := []string{"www.example.test.default.svc.cluster.test.", "www.example.test.svc.cluster.test.", "www.example.test.cluster.test.", "www.example.test."}
	if want := 2*len(names) + 2 + 4; len(x.lookups) != want {
		t.Errorf("%d lookups, want %d", len(x.lookups), want)
	}
	pair := func(name string) []*render.Record {
		found := x.by(lab.Client, name)
		if len(found) != 2 || found[0].QType+found[1].QType != "AAAAA" {
			t.Fatalf("%d lookups for %s from the client, want A and AAAA", len(found), name)
		}
		for _, r := range found {
			checkVerdict(t, r, "answered")
			if r.Attempts != 1 || len(r.Legs) != 2 {
				t.Errorf("%s %s: %d attempts, %d legs; want 1 and 2", r.QType, name, r.Attempts, len(r.Legs))
			}
		}
		return found
	}
	var before []*render.Record
	for i, name := range names {
		rcode := "NXDOMAIN"
		if i == len(names)-1 {
			rcode = "NOERROR"
		}
		found := pair(name)
		if found[0].Client.Port != found[1].Client.Port || found[0].Rcode != rcode || found[1].Rcode != rcode {
			t.Errorf("%s: %s from %s, %s from %s; want %s from one socket", name,
				found[0].Rcode, found[0].Client, found[1].Rcode, found[1].Client, rcode)
		}
		checkTied(t, found[0], "sibling", found[1], "sibling")
		if i > 0 {
			checkTied(t, found[0], "search-of", before[0], "search-next")
		}
		before = found
	}
	for _, caused := range x.by(lab.DNSB, "www.example.test.") {
		i := slices.IndexFunc(before, func(r *render.Record) bool { return r.QType == caused.QType })
		checkTied(t, caused, "parent", before[i], "child")
	}
	found := pair("go.example.test.")
	if found[0].Client.Port == found[1].Client.Port {
		t.Errorf("Go asked both from %s", found[0].Client)
	}
	checkTied(t, found[0], "sibling", found[1], "sibling")
	if found[0].Story == before[0].Story {
		t.Errorf("two programs' lookups are one story")
	}
}
