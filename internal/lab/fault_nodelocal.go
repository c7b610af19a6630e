package lab

import (
	"context"
	"net/netip"
)

// nodelocalFaults are those of node-local caches.
var nodelocalFaults = []Fault{
	{
		ID:    "nodelocal-rules-missing",
		Title: "The node's firewall lets in what it knows, and the node-local cache has lost its rules.",
		Lab:   remote,
		Break: inTurn(cacheOnA, iptables(NodeA, "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-P INPUT DROP")),
		Ask:   askCache,
		Mend:  cacheRules,
	},
	{
		ID:    "nodelocal-rules-missing/order",
		Title: "Calico's chain comes before the rules of the node-local cache, whose replies are of no connection.",
		Lab:   remote,
		Break: inTurn(cacheOnA, cacheRules, iptables(NodeA,
			"-N cali-OUTPUT", "-A cali-OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN", "-A cali-OUTPUT -o "+BridgeDev+" -j DROP",
			"-I OUTPUT -j cali-OUTPUT")),
		Ask:  askCache,
		Mend: iptables(NodeA, "-D OUTPUT -j cali-OUTPUT", "-A OUTPUT -j cali-OUTPUT"),
	},
}

// cacheOnA starts a server on node-a that has the address of a node-local cache,
// and none of its rules.
func cacheOnA(_ context.Context, l *Lab) error {
	dev, err := l.NodeA.addNodeLocalDev()
	if err != nil {
		return err
	}
	if err := l.NodeA.addAddr(dev, netip.PrefixFrom(NodeLocal(), ipv4.bits)); err != nil {
		return err
	}
	_, err = StartDNS(l.NodeA, DNSOptions{Addrs: []netip.AddrPort{cache()}})
	return err
}

// cacheRules adds the rules of the cache.
func cacheRules(ctx context.Context, l *Lab) error {
	return l.NodeA.feed(ctx, nodeLocalRules(NodeLocal()), "iptables-restore", "--noflush", "--wait")
}

func cache() netip.AddrPort { return netip.AddrPortFrom(NodeLocal(), dnsPort) }

func askCache(ctx context.Context, l *Lab, name string) error {
	return AskServer(ctx, l.Client, cache(), name)
}
