package lab

import (
	"context"
	"net/netip"
)

// FabricDev is node-a's device to what addFabric adds.
const FabricDev = "eth1"

// fabric is what addFabric calls its namespace.
const fabric = "fabric"

// addFabric gives node-a a second wire (198.51.100.1/24), to a router
// (198.51.100.254) that is no node of the cluster: nobody watches it, and what it
// gets goes nowhere, without a word.
func addFabric(ctx context.Context, l *Lab) error {
	ns, err := createNS(l, fabric)
	if err != nil {
		return err
	}
	l.onClose(ns.Close)
	l.fabric = ns
	if err := ns.SetSysctl("net.ipv4.ip_forward", "0"); err != nil {
		return err
	}
	if err := addVeth(l.NodeA, FabricDev, ns, WireDev, 1500); err != nil {
		return err
	}
	for end, dev := range map[*NS]string{l.NodeA: FabricDev, ns: WireDev} {
		if err := end.IP(ctx, "link", "set", dev, "up"); err != nil {
			return err
		}
	}
	for _, end := range []*NS{l.NodeA, ns} {
		if err := end.awaitCarriers(ctx); err != nil {
			return err
		}
	}
	if err := l.NodeA.addAddr(FabricDev, netip.MustParsePrefix("198.51.100.1/24")); err != nil {
		return err
	}
	return ns.addAddr(WireDev, netip.MustParsePrefix("198.51.100.254/24"))
}
