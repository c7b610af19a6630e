package lab

import (
	"context"
	"fmt"
	"strings"
)

// policyFaults are those of firewalls.
var policyFaults = []Fault{
	{
		ID:    "policy-drop",
		Title: "A rule of iptables on the DNS pod's node drops what goes to UDP port 53.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: iptables(NodeB, "-I FORWARD -p udp --dport 53 -j DROP"),
		Mend:  iptables(NodeB, "-D FORWARD -p udp --dport 53 -j DROP"),
	},
	{
		ID:    "policy-drop/nftables",
		Title: "A chain of nftables on the client's node lets pass what it knows, and drops the rest: replies from port 53.",
		Lab:   Config{Service: ServiceNFTables, Endpoints: []string{DNSB}},
		Break: nft(NodeA, "table inet guard { chain forward { type filter hook forward priority 0; policy drop; udp dport 53 accept; }\n}"),
		Mend:  nft(NodeA, "insert rule inet guard forward udp sport 53 accept"),
	},
	{
		ID:    "policy-drop/tcp",
		Title: "A network policy in the shape of Calico's allows UDP port 53 alone, and the client asks over TCP.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: iptables(NodeB,
			"-N cali-pi-dns", "-A cali-pi-dns -p udp --dport 53 -j RETURN", "-A cali-pi-dns -j DROP", "-I FORWARD -d 10.244.2.53 -j cali-pi-dns"),
		Ask:  AskServiceTCP,
		Mend: iptables(NodeB, "-I cali-pi-dns -p tcp --dport 53 -j RETURN"),
	},
	{
		ID:    "policy-reject",
		Title: "A rule of nftables on the DNS pod's node rejects what goes to UDP port 53.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: nft(NodeB, "table inet guard { chain forward { type filter hook forward priority 0; udp dport 53 reject with icmpx admin-prohibited; }\n}"),
		Mend:  nft(NodeB, "delete table inet guard"),
	},
	{
		ID:    "policy-reject/tcp",
		Title: "A rule of iptables on the client's node answers what goes to TCP port 53 with a reset.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: iptables(NodeA, "-I FORWARD -p tcp --dport 53 -j REJECT --reject-with tcp-reset"),
		Ask:   AskServiceTCP,
		Mend:  iptables(NodeA, "-D FORWARD -p tcp --dport 53 -j REJECT --reject-with tcp-reset"),
	},
}

// iptables returns what runs iptables in a namespace, once for each rule.
func iptables(name string, rules ...string) func(context.Context, *Lab) error {
	return func(ctx context.Context, l *Lab) error {
		for _, rule := range rules {
			if err := l.NS(name).IPTables(ctx, strings.Fields(rule)...); err != nil {
				return fmt.Errorf("iptables %s: %w", rule, err)
			}
		}
		return nil
	}
}

// nft returns what gives a text to nft in a namespace.
func nft(name, text string) func(context.Context, *Lab) error {
	return func(ctx context.Context, l *Lab) error { return l.NS(name).NFT(ctx, text+"\n") }
}
