package lab

import (
	"context"
	"errors"
	"fmt"
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

// badChecksumFaults are those of checksums that are wrong without a tunnel. In
// most the nodes have no rules: conntrack calls such packets invalid, and
// kube-proxy's rules drop those.
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
	{
		ID:    "checksum-bad/tcp",
		Title: "Something in the client's pod writes over the TCP checksum of what it sends.",
		Break: inTurn(computeSums, spoil(Client, "tcp dport 53", tcpSum)),
		Ask:   askPod(true),
		Mend:  unspoil(Client),
	},
	{
		ID:    "conntrack-invalid/query",
		Title: "Something in the client's pod writes over the UDP checksum of its queries, and kube-proxy's rule drops what conntrack calls invalid.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: inTurn(computeSums, spoil(Client, "udp dport 53", udpSum)),
		Mend:  unspoil(Client), Needs: SightHooks,
	},
	{
		ID:    "checksum-bad/service",
		Title: "Something in the client's pod writes over the UDP checksum of its queries: no NAT translates what conntrack calls invalid.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: inTurn(computeSums, spoil(Client, "udp dport 53", udpSum), passInvalid),
		Mend:  unspoil(Client),
	},
}

// Offsets of checksums in the headers of UDP and TCP.
const (
	udpSum = 6
	tcpSum = 16
)

// computeSums has the pods, and node-a, compute the checksums of what they send:
// nobody looks at one that is pending.
func computeSums(_ context.Context, l *Lab) error {
	for _, ns := range []*NS{l.Client, l.DNSB, l.NodeA} {
		if err := ns.SetTXChecksum(WireDev, false); err != nil {
			return err
		}
	}
	return nil
}

// spoil has a namespace write over the checksum of packets that it sends on, as a
// program may that rewrites them.
func spoil(name, match string, offset int) deed {
	return nft(name, fmt.Sprintf("table ip spoil { chain spoil { type filter hook postrouting priority 300; %s @th,%d,16 set 0x0bad; }\n}", match, offset*8))
}

// passInvalid has node-a pass what conntrack calls invalid; kube-proxy's rules don't.
var passInvalid = iptables(NodeA, "-I FORWARD -m conntrack --ctstate INVALID -j ACCEPT")

// askPod asks the DNS pod of node-b itself: no conntrack looks at the packets of a
// node without rules, and what it has found right nobody looks at again.
func askPod(tcp bool) func(context.Context, *Lab, string) error {
	return func(ctx context.Context, l *Lab, name string) error {
		return askOnce(ctx, l.Client, LookupOptions{Server: netip.AddrPortFrom(l.DNSB.Addr, dnsPort), Name: name, TCP: tcp})
	}
}

func unspoil(name string) deed { return nft(name, "delete table ip spoil") }
