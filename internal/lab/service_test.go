package lab

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestServiceRules holds the rules. The chain names' hashes are kube-proxy's
// own: KUBE-SVC-TCOU7JCQXEZGVUNU is in every cluster.
func TestServiceRules(t *testing.T) {
	for _, f := range []struct {
		name   string
		family family
	}{{"ipv4", ipv4}, {"ipv6", ipv6}} {
		var both []netip.AddrPort
		for i := range 2 {
			both = append(both, netip.AddrPortFrom(f.family.host(i, 53), dnsPort))
		}
		for _, mode := range []struct {
			name  string
			rules func(family, []netip.AddrPort) string
		}{{"iptables", iptablesService}, {"nftables", nftablesService}, {"ipvs", ipvsRules}} {
			for name, endpoints := range map[string][]netip.AddrPort{"both": both, "empty": nil} {
				name := mode.name + "-" + f.name + "-" + name
				t.Run(name, func(t *testing.T) { golden(t, name, mode.rules(f.family, endpoints)) })
			}
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestAddressPlan(t *testing.T) {
	for _, c := range []struct {
		name string
		got  netip.Addr
		want string
	}{
		{"client", ipv4.host(0, 10), "10.244.1.10"},
		{"client6", ipv6.host(0, 10), "fd00:10:244:1::10"},
		{"dns-b", ipv4.host(1, 53), "10.244.2.53"},
		{"dns-b6", ipv6.host(1, 53), "fd00:10:244:2::53"},
		{"bridge6", ipv6.host(1, ipv6.bridge), "fd00:10:244:2::1"},
	} {
		if c.got.String() != c.want {
			t.Errorf("%s is %s, want %s", c.name, c.got, c.want)
		}
	}
}

func TestLoadIDs(t *testing.T) {
	seen := make(map[uint16]bool)
	for k := range idsPerSocket {
		id := loadID(7, k)
		if seen[id] {
			t.Fatalf("lookup %d reuses ID %d", k, id)
		}
		seen[id] = true
		if got := loadIndex(7, id); got != k {
			t.Fatalf("ID %d is lookup %d, want %d", id, got, k)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	for name, cfg := range map[string]Config{
		"service":  {Service: "ebpf"},
		"overlay":  {Overlay: "sit"},
		"endpoint": {Endpoints: []string{NodeA}},
	} {
		if _, err := cfg.complete(); err == nil {
			t.Errorf("unknown %s was accepted", name)
		}
	}
}

func TestOptionsHeader(t *testing.T) {
	got, err := optionsHeader(16)
	want := make([]byte, 16)
	want[1], want[2], want[3] = 1, 0x1e, 12
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("header (-want +got):\n%s, error %v", diff, err)
	}
	for _, length := range []int{4, 12, 264} {
		if _, err := optionsHeader(length); err == nil {
			t.Errorf("length %d was accepted", length)
		}
	}
}
