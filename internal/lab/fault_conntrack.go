package lab

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// conntrackFaults are those of conntrack's table.
var conntrackFaults = []Fault{
	{
		ID:    "snat-ports-exhausted",
		Title: "The client's node gives queries its own address, and one port, which another query has.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: func(ctx context.Context, l *Lab) error {
			if err := keepConnections(l.NodeA); err != nil {
				return err
			}
			rule := "-t nat -I POSTROUTING -p udp -d 10.244.2.53 --dport 53 -j SNAT --to-source 10.244.1.0:4000-4000"
			if err := l.NodeA.IPTables(ctx, strings.Fields(rule)...); err != nil {
				return err
			}
			return AskService(ctx, l, "before.example.test.")
		},
		Mend: iptables(NodeA, "-t nat -R POSTROUTING 1 -p udp -d 10.244.2.53 --dport 53 -j SNAT --to-source 10.244.1.0:1024-65535"),
	},
	{
		ID:    "conntrack-invalid",
		Title: "The DNS pod sends replies with a wrong checksum, which conntrack calls invalid; kube-proxy has a rule that drops those.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: func(ctx context.Context, l *Lab) error {
			if err := l.DNSB.SetTXChecksum(WireDev, false); err != nil {
				return err
			}
			return nft(DNSB, "table inet spoil { chain output { type filter hook output priority 300; udp sport 53 udp checksum set 0x1234; }\n}")(ctx, l)
		},
		Mend: nft(DNSB, "delete table inet spoil"), Needs: SightHooks, // else just checksum-bad is told
	},
	{
		ID:    "conntrack-full",
		Title: "Conntrack's table on the client's node is full.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: fillConntrack,
		Mend:  func(context.Context, *Lab) error { return setConntrackMax(conntrackRoom) }, WholeMachine: true,
	},
}

// The limit of conntrack's table is one for all namespaces, and writable in the
// first alone (net/netfilter/nf_conntrack_standalone.c).
const (
	conntrackMax  = "/proc/sys/net/netfilter/nf_conntrack_max"
	conntrackRoom = 65536
)

// guestEnv is set where the machine is ours alone: see scripts/vm/matrix.
const guestEnv = "DNSPATH_KERNEL"

// fillConntrack makes some connections, then lowers the limit below their number.
func fillConntrack(ctx context.Context, l *Lab) error {
	if err := keepConnections(l.NodeA); err != nil {
		return err
	}
	for i := range 4 {
		if err := AskService(ctx, l, fmt.Sprintf("before%d.example.test.", i)); err != nil {
			return err
		}
	}
	l.onClose(func() error { return setConntrackMax(conntrackRoom) })
	return setConntrackMax(2)
}

func setConntrackMax(limit int) error {
	return os.WriteFile(conntrackMax, []byte(strconv.Itoa(limit)), 0o644)
}
