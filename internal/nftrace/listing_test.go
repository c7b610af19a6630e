package nftrace

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseListing(t *testing.T) {
	tests := []struct {
		name, out string
		want      map[uint64]string
	}{
		{"nothing", "", map[uint64]string{}},
		{"base chain", `table inet foo {
	chain out { # handle 1
		type nat hook output priority -100; policy accept;
		udp dport 53 counter comment "x y" # handle 2
		ip daddr 10.96.0.10 udp dport 53 dnat ip to 127.0.0.1:5353 # handle 3
	}
}
`, map[uint64]string{
			2: `udp dport 53 counter comment "x y"`, 3: "ip daddr 10.96.0.10 udp dport 53 dnat ip to 127.0.0.1:5353",
		}},
		{"chain with a comment, and a map over several lines", `table ip kube-proxy {
	comment "rules for kube-proxy"
	chain service { # handle 9
		comment "what it is for"
		numgen random mod 2 vmap { 0 : goto a,
					   1 : goto b } # handle 12
	}
}
`, map[uint64]string{12: "numgen random mod 2 vmap { 0 : goto a, 1 : goto b }"}},
		{"of iptables", "# Warning: table ip nat is managed by iptables-nft, do not touch!\n" + `table ip nat {
	chain OUTPUT { # handle 1
		type nat hook output priority -100; policy accept;
		udp dport 54  counter dnat to 127.0.0.1:5353 # handle 2
	}
}
`, map[uint64]string{2: "udp dport 54 counter dnat to 127.0.0.1:5353"}},
		{"long", "a" + strings.Repeat("é", 600) + " # handle 5\n", map[uint64]string{5: "a" + strings.Repeat("é", 249) + "..."}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, parseListing(tt.out)); diff != "" {
				t.Errorf("texts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestListCommand(t *testing.T) {
	tests := []struct {
		name  string
		chain chainKey
		want  string
	}{
		{"plain", chainKey{1, "fence", "fence"}, "-a -s list chain inet fence fence"},
		{"as kube-proxy names them", chainKey{2, "kube-proxy", "service-ULM-kube-system/kube-dns/udp/dns"},
			"-a -s list chain ip kube-proxy service-ULM-kube-system/kube-dns/udp/dns"},
		{"chain that is a command", chainKey{2, "nat", "x; flush ruleset"}, ""},
		{"table that is a command", chainKey{2, `nat include "/etc/passwd"`, "x"}, ""},
		{"two lines", chainKey{2, "nat", "a\nb"}, ""},
		{"unknown family", chainKey{99, "nat", "x"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(listCommand(tt.chain), " "); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestLogs(t *testing.T) {
	const loggers = ` 0 NONE (nfnetlink_log)
 2 nf_log_ipv4 (nf_log_ipv4,nfnetlink_log)
 7 nfnetlink_log (nfnetlink_log)
10 NONE (nfnetlink_log)
`
	tests := map[string]bool{"0": false, "2": true, "7": false, "10": false, "1": false}
	for family, want := range tests {
		if got := logs(loggers, family); got != want {
			t.Errorf("family %s: %v, want %v", family, got, want)
		}
	}
}
