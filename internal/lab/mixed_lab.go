package lab

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
)

// PrepareMixed makes a lab fit for mixed lookups: more addresses for the client
// pod, DNS servers, and a firewall on node-b for the lookups that are to be
// dropped. The lab must have a service with dns-b behind it.
func PrepareMixed(ctx context.Context, l *Lab) error {
	if _, err := StartDNS(l.DNSA, DNSOptions{}); err != nil {
		return err
	}
	return l.prepareMixed(ctx)
}

// prepareMixed is PrepareMixed without a DNS server in dns-a.
func (l *Lab) prepareMixed(ctx context.Context) error {
	if err := l.addMixedClients(ctx); err != nil {
		return err
	}
	if err := l.startMixedDNSB(); err != nil {
		return err
	}
	for _, rule := range mixedRules() {
		if err := errors.Join(l.NodeB.IPTables(ctx, rule...), l.NodeB.IP6Tables(ctx, rule...)); err != nil {
			return err
		}
	}
	return l.tuneForMixed()
}

// addMixedClients gives the client pod the addresses that plans have.
func (l *Lab) addMixedClients(ctx context.Context) error {
	for _, last := range mixedExtra {
		for _, f := range families() {
			if err := l.Client.addAddr(WireDev, netip.PrefixFrom(f.host(0, last), f.nodes[0].Bits())); err != nil {
				return err
			}
		}
	}
	return l.Client.awaitIPv6(ctx)
}

// tuneForMixed lifts limits that tens of thousands of lookups would meet.
func (l *Lab) tuneForMixed() error {
	err := l.NodeB.setSysctls([][2]string{ // each rejection is to be told, not one a second
		{"net.ipv4.icmp_ratemask", "0"},
		{"net.ipv6.icmp.ratelimit", "0"},
	})
	if err != nil {
		return err
	}
	for _, node := range l.nodes() { // conntrack's table must not fill
		err := node.setSysctls([][2]string{
			{"net.netfilter.nf_conntrack_udp_timeout", "10"},
			{"net.netfilter.nf_conntrack_udp_timeout_stream", "10"},
			{"net.netfilter.nf_conntrack_tcp_timeout_time_wait", "10"},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// startMixedDNSB runs the server of dns-b, on the port whose replies are dropped too.
func (l *Lab) startMixedDNSB() error {
	var addrs []netip.AddrPort
	for _, port := range []uint16{dnsPort, dropReplyPort} {
		addrs = append(addrs, netip.AddrPortFrom(l.DNSB.Addr, port), netip.AddrPortFrom(l.DNSB.Addr6, port))
	}
	_, err := StartDNS(l.DNSB, DNSOptions{Addrs: addrs, Workers: 2})
	return err
}

// mixedRules returns the firewall's rules, for both families.
func mixedRules() [][]string {
	query, reply := strconv.Itoa(dropQueryPort), strconv.Itoa(dropReplyPort)
	return [][]string{
		{"-I", "FORWARD", "1", "-p", "udp", "--dport", query, "-j", "DROP"},
		{"-I", "FORWARD", "1", "-p", "tcp", "--dport", query, "-j", "DROP"},
		{"-I", "FORWARD", "1", "-p", "udp", "--sport", reply, "-j", "DROP"},
	}
}

// MixedArgs are the flags that dnspath needs to see all mixed lookups in some
// namespaces of a lab, and nothing else.
func MixedArgs(watched []*NS) []string {
	var args []string
	for _, port := range []int{dnsPort, dropQueryPort, dropReplyPort} {
		args = append(args, "--port", strconv.Itoa(port))
	}
	for _, ns := range watched {
		args = append(args, "--netns", ns.Name)
	}
	return args
}
