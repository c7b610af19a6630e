package lab

import (
	"context"
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
