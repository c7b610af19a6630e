package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// NodeLocalDev holds the address of a node-local cache, where the kernel has
// dummy devices; otherwise lo does.
const NodeLocalDev = "nodelocaldns"

// NodeLocal returns the address of node-local caches, 169.254.20.10.
func NodeLocal() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 20, 10}) }

// StartNodeLocal runs a node-local cache on a node as NodeLocal DNSCache does:
// CoreDNS on an address of its own, which conntrack is told to leave alone
// (kubernetes/dns, cmd/node-cache/app/cache_app.go), and which asks the cluster
// DNS service. opts.Addr and, if none is given, opts.Upstream are filled in.
func StartNodeLocal(ctx context.Context, node *NS, opts DaemonOptions) (*Daemon, error) {
	opts.Addr = NodeLocal()
	if !opts.Upstream.IsValid() {
		opts.Upstream = Service()
	}
	dev, err := node.addNodeLocalDev()
	if err != nil {
		return nil, err
	}
	if err := node.addAddr(dev, netip.PrefixFrom(opts.Addr, ipv4.bits)); err != nil {
		return nil, err
	}
	if err := node.feed(ctx, nodeLocalRules(opts.Addr), "iptables-restore", "--noflush", "--wait"); err != nil {
		return nil, err
	}
	return StartCoreDNS(ctx, node, opts)
}

func (ns *NS) addNodeLocalDev() (string, error) {
	err := ns.addDevice(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: NodeLocalDev}}, "CONFIG_DUMMY")
	if errors.Is(err, ErrNotSupported) {
		return "lo", nil
	}
	if err != nil {
		return "", err
	}
	dev, err := ns.device(NodeLocalDev)
	if err != nil {
		return "", err
	}
	if err := ns.link.LinkSetUp(dev); err != nil {
		return "", fmt.Errorf("raise %s in %s: %w", NodeLocalDev, ns.Name, err)
	}
	return NodeLocalDev, nil
}

// nodeLocalRules returns the rules that the cache adds, for iptables-restore.
func nodeLocalRules(addr netip.Addr) string {
	var t ruleText
	t.add("*raw")
	for _, p := range servicePorts() {
		t.add("-A PREROUTING -p %s -d %s --dport %d -j NOTRACK", p.proto, addr, dnsPort)
		t.add("-A OUTPUT -p %s -d %s --dport %d -j NOTRACK", p.proto, addr, dnsPort)
		t.add("-A OUTPUT -p %s -s %s --sport %d -j NOTRACK", p.proto, addr, dnsPort)
	}
	t.add("COMMIT")
	t.add("*filter")
	for _, p := range servicePorts() {
		t.add("-A INPUT -p %s -d %s --dport %d -j ACCEPT", p.proto, addr, dnsPort)
		t.add("-A OUTPUT -p %s -s %s --sport %d -j ACCEPT", p.proto, addr, dnsPort)
	}
	t.add("COMMIT")
	return t.String()
}
