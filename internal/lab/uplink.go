package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// anycast is a resolver outside of the cluster that both of node-a's uplinks lead
// to: node-b, and the fabric.
func anycast() netip.AddrPort { return netip.MustParseAddrPort("203.0.113.53:53") }

// uplinkPort is the port of a client that keeps its socket, as caches and proxies do.
const uplinkPort = 45353

// addUplinks gives node-a two ways to anycast, each with addresses of its own, of
// which the first is in use. The second takes no other's addresses (BCP 38).
func addUplinks(ctx context.Context, l *Lab) error {
	if err := addFabric(ctx, l); err != nil {
		return err
	}
	for _, ns := range []*NS{l.NodeB, l.fabric} {
		if err := ns.IP(ctx, "link", "set", "lo", "up"); err != nil {
			return err
		}
		if err := ns.addAddr("lo", netip.PrefixFrom(anycast().Addr(), 32)); err != nil {
			return err
		}
		if _, err := StartDNS(ns, DNSOptions{Addrs: []netip.AddrPort{anycast()}}); err != nil {
			return err
		}
	}
	if err := l.fabric.IPTables(ctx, "-A", "INPUT", "-i", WireDev, "!", "-s", "198.51.100.0/24", "-j", "DROP"); err != nil {
		return err
	}
	return l.NodeA.IP(ctx, "route", "add", anycast().Addr().String(), "via", wireAddr(1).String())
}

// changeUplink asks by the first uplink, and then has node-a use the second.
func changeUplink(ctx context.Context, l *Lab) error {
	if err := askAnycast(ctx, l, "before."+Zone); err != nil {
		return fmt.Errorf("ask by the first uplink: %w", err)
	}
	return l.NodeA.IP(ctx, "route", "replace", anycast().Addr().String(), "via", "198.51.100.254", "dev", FabricDev)
}

// askAnycast asks once, always from the same port.
func askAnycast(ctx context.Context, l *Lab, name string) error {
	return askOnce(ctx, l.Client, LookupOptions{Server: anycast(), Name: name, LocalPort: uplinkPort})
}

// forgetUplink has node-a forget what conntrack knows of the client's queries.
func forgetUplink(ctx context.Context, l *Lab) error {
	return l.NodeA.feed(ctx, "", "conntrack", "-D", "-p", "udp", "--orig-src", l.Client.Addr.String(), "--orig-dst", anycast().Addr().String())
}
