package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// serviceFaults are those of how a service's address is translated.
var serviceFaults = []Fault{
	{
		ID:    "service-not-translated",
		Title: "kube-proxy's rules for the service have gone from the client's node.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		With:  loseRules,
		Mend:  endpoints(DNSB),
	},
	{
		ID:    "service-not-translated/udp",
		Title: "kube-proxy has rules for the service's TCP port, and none for UDP.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: iptables(NodeA, "-t nat -D KUBE-SERVICES 1"),
		Mend:  endpoints(DNSB),
	},
	{
		ID:    "service-not-translated/notrack",
		Title: "A rule keeps DNS out of conntrack, and so out of NAT.",
		Lab:   Config{Service: ServiceNFTables, Endpoints: []string{DNSB}},
		Break: iptables(NodeA, "-t raw -A PREROUTING -d 10.96.0.10 -p udp --dport 53 -j NOTRACK"),
		Mend:  iptables(NodeA, "-t raw -D PREROUTING -d 10.96.0.10 -p udp --dport 53 -j NOTRACK"),
	},
	{
		ID:    "service-not-translated/ipvs",
		Title: "IPVS has no entry for the service, whose address is bound to kube-ipvs0.",
		Lab:   Config{Service: ServiceIPVS, Endpoints: []string{DNSB}},
		Break: func(_ context.Context, l *Lab) error { return l.NodeA.clearIPVS() },
		Mend:  endpoints(DNSB),
	},
	{
		ID:    "service-no-endpoints",
		Title: "No DNS pod is ready: kube-proxy rejects what is for their service.",
		Lab:   Config{Service: ServiceIPTables},
		Mend:  endpoints(DNSB),
	},
	{
		ID:    "service-no-endpoints/nftables",
		Title: "No DNS pod is ready: kube-proxy, in its nftables mode, rejects what is for their service.",
		Lab:   Config{Service: ServiceNFTables},
		Mend:  endpoints(DNSB),
	},
	{
		ID:    "service-no-endpoints/ipvs",
		Title: "No DNS pod is ready: their service in IPVS has no real server.",
		Lab:   Config{Service: ServiceIPVS},
		Mend:  endpoints(DNSB),
	},
	{
		ID:    "stale-endpoint",
		Title: "The DNS pod was replaced by another. The client keeps its port, and so conntrack's entry, which leads to the old one.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}, BridgeNF: true},
		Break: replacePod,
		Ask:   askFromOnePort,
		Mend:  forgetConnections,
	},
	{
		ID:    "stale-endpoint/ipvs",
		Title: "The same with IPVS, told not to give up its connections.",
		Lab:   Config{Service: ServiceIPVS, Endpoints: []string{DNSB}, BridgeNF: true},
		Break: func(ctx context.Context, l *Lab) error { // before it, and again: a new service has kube-proxy's settings
			return errors.Join(expireConnections("0")(ctx, l), replacePod(ctx, l), expireConnections("0")(ctx, l))
		},
		Ask:  askFromOnePort,
		Mend: expireConnections("1"),
	},
	{
		ID:    "reply-not-untranslated",
		Title: "The DNS pod is on the client's own node, whose bridge does not show its packets to netfilter.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSA}},
		Mend:  callIPTables,
	},
	{
		ID:    "reply-not-untranslated/nftables",
		Title: "The same with kube-proxy in its nftables mode, over TCP.",
		Lab:   Config{Service: ServiceNFTables, Endpoints: []string{DNSA}},
		Ask:   AskServiceTCP,
		Mend:  callIPTables,
	},
	{
		ID:    "reply-not-untranslated/ipvs",
		Title: "The same with kube-proxy in its IPVS mode.",
		Lab:   Config{Service: ServiceIPVS, Endpoints: []string{DNSA}},
		Mend:  callIPTables,
	},
}

// loseRules has one lookup answered, then takes the service's rules away on the
// client's node.
func loseRules(ctx context.Context, l *Lab) error {
	if err := l.SetEndpoints(ctx, DNSB); err != nil {
		return err
	}
	if err := AskService(ctx, l, "before.example.test."); err != nil {
		return err
	}
	return l.removeService(ctx, l.NodeA)
}

// replacePod has the client ask the DNS pod on the other node, which then goes:
// the service is left with that on its own.
func replacePod(ctx context.Context, l *Lab) error {
	if err := keepConnections(l.NodeA); err != nil {
		return err
	}
	if err := askFromOnePort(ctx, l, "before.example.test."); err != nil {
		return err
	}
	if err := l.DNSB.IP(ctx, "link", "set", "eth0", "down"); err != nil {
		return err
	}
	return l.SetEndpoints(ctx, DNSA)
}

// keepConnections has conntrack remember datagrams for the kernel's 30 s, and longer
// on a machine where dnspath itself takes that long to start.
func keepConnections(ns *NS) error {
	return ns.SetSysctl("net.netfilter.nf_conntrack_udp_timeout", fmt.Sprint(int(Patience(30*time.Second).Seconds())))
}

// expireConnections says whether IPVS gives up connections with endpoints that were
// removed. It does so soon after, if it may when they are (ip_vs_del_dest in
// net/netfilter/ipvs/ip_vs_ctl.c, since 5.9).
func expireConnections(value string) deed {
	return func(_ context.Context, l *Lab) error {
		return l.NodeA.SetSysctl("net.ipv4.vs.expire_nodest_conn", value)
	}
}

// askFromOnePort is AskService, always from the same port.
func askFromOnePort(ctx context.Context, l *Lab, name string) error {
	return askOnce(ctx, l.Client, LookupOptions{Server: Service(), Name: name, LocalPort: 44444})
}

// forgetConnections has conntrack on the client's node forget what the client
// asked the service.
func forgetConnections(_ context.Context, l *Lab) error {
	filter := &netlink.ConntrackFilter{}
	if err := filter.AddIP(netlink.ConntrackOrigDstIP, Service().Addr().AsSlice()); err != nil {
		return err
	}
	return l.NodeA.Do(func() error {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
		return err
	})
}

// callIPTables has the bridges of the client's node show their packets to netfilter.
func callIPTables(_ context.Context, l *Lab) error {
	return l.NodeA.SetSysctl("net.bridge.bridge-nf-call-iptables", "1")
}

// endpoints returns what changes the service's endpoints.
func endpoints(names ...string) func(context.Context, *Lab) error {
	return func(ctx context.Context, l *Lab) error { return l.SetEndpoints(ctx, names...) }
}
