package lab

import (
	"context"
	"errors"
	"net/netip"
	"strings"
)

// checksumFaults are those of checksums.
var checksumFaults = []Fault{
	{
		ID:    "tunnel-checksum",
		Title: "The tunnel's own packets are masqueraded with --random-fully: Linux leaves their checksum wrong.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: BreakTunnelChecksum,
		Mend:  func(_ context.Context, l *Lab) error { return l.NodeA.SetTXChecksum(VXLANDev, false) },
	},
}

// BreakTunnelChecksum has node-a rewrite the port of the tunnel's own packets,
// whose checksum Linux then leaves as it was (docs/checksums.md).
func BreakTunnelChecksum(ctx context.Context, l *Lab) error {
	if err := l.NodeA.IPTables(ctx, strings.Fields("-t nat -I POSTROUTING -p udp --dport 4789 -j MASQUERADE --random-fully")...); err != nil {
		return err
	}
	return l.NodeA.SetTXChecksum(WireDev, false) // else nobody looks at it: veth has no wire
}

// badChecksumFaults are those of checksums that are wrong without a tunnel. Their
// nodes have no rules: conntrack calls such packets invalid, and kube-proxy's rules
// drop those.
var badChecksumFaults = []Fault{
	{
		ID:    "checksum-bad",
		Title: "The client sends its query with a wrong UDP checksum.",
		Ask: func(_ context.Context, l *Lab, name string) error {
			if err := l.Client.SendRawQuery(netip.AddrPortFrom(l.DNSB.Addr, dnsPort), name, 0x1234); err != nil {
				return err
			}
			return errors.New("nobody waits for an answer")
		},
	},
	{
		ID:    "checksum-bad/forgotten",
		Title: "A rule of node-a rewrites the query and leaves its checksum wrong.",
		Break: func(ctx context.Context, l *Lab) error {
			if err := l.Client.SetTXChecksum(WireDev, false); err != nil { // else nobody looks at it
				return err
			}
			return l.NodeA.NFT(ctx, "table ip forgets {\nchain post {\ntype filter hook postrouting priority 300;\nudp dport 53 udp checksum set 0x1234\n}\n}\n")
		},
		Ask: func(ctx context.Context, l *Lab, name string) error {
			return AskServer(ctx, l.Client, netip.AddrPortFrom(l.DNSB.Addr, dnsPort), name)
		},
		Mend: func(ctx context.Context, l *Lab) error { return l.NodeA.NFT(ctx, "delete table ip forgets\n") },
	},
}
