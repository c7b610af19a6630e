package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// nftablesService returns what kube-proxy's nftables mode makes of the DNS
// service (Kubernetes 1.33, pkg/proxy/nftables/proxier.go), as text for nft.
func nftablesService(f family, endpoints []netip.AddrPort) string {
	ip, addr := "ip", "ipv4_addr"
	if f.bits == ipv6.bits {
		ip, addr = "ip6", "ipv6_addr"
	}
	var t ruleText
	t.add("table %s kube-proxy {", ip)
	t.add("\tcomment \"rules for kube-proxy\"")
	t.add("\tset cluster-ips { type %s; comment \"Active ClusterIPs\"; elements = { %s }; }", addr, f.service)
	nftablesMaps(&t, addr, f, endpoints)
	t.add(`	chain mark-for-masquerade { meta mark set meta mark or 0x4000; }
	chain masquerading {
		meta mark and 0x4000 == 0 return
		meta mark set meta mark xor 0x4000
		masquerade fully-random
	}
	chain services { %s daddr . meta l4proto . th dport vmap @service-ips; }`, ip)
	for _, p := range servicePorts() {
		if len(endpoints) > 0 {
			nftablesPort(&t, ip, f, p, endpoints)
		}
	}
	t.add(`	chain reject-chain { reject; }
	chain service-endpoints-check { %s daddr . meta l4proto . th dport vmap @no-endpoint-services; }
	chain filter-forward { type filter hook forward priority -110; ct state new jump service-endpoints-check; }
	chain filter-output { type filter hook output priority -110; ct state new jump service-endpoints-check; }
	chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
	chain nat-output { type nat hook output priority -100; jump services; }
	chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }
}`, ip)
	return t.String()
}

// nftablesMaps writes the verdict maps that lead from a service address to its
// chain.
func nftablesMaps(t *ruleText, addr string, f family, endpoints []netip.AddrPort) {
	var served, rejected []string
	for _, p := range servicePorts() {
		key := fmt.Sprintf("%s . %s . %d", f.service, p.proto, dnsPort)
		if len(endpoints) > 0 {
			served = append(served, key+" : goto "+nftServiceChain(p))
		} else {
			rejected = append(rejected, key+" : goto reject-chain")
		}
	}
	for _, m := range []struct {
		name, comment string
		elements      []string
	}{
		{"service-ips", "ClusterIP, ExternalIP and LoadBalancer IP traffic", served},
		{"no-endpoint-services", "vmap to drop or reject packets to services with no endpoints", rejected},
	} {
		t.add("\tmap %s {\n\t\ttype %s . inet_proto . inet_service : verdict\n\t\tcomment %q", m.name, addr, m.comment)
		if len(m.elements) > 0 {
			t.add("\t\telements = { %s }", strings.Join(m.elements, ", "))
		}
		t.add("\t}")
	}
}

// nftablesPort writes the chains of one service port.
func nftablesPort(t *ruleText, ip string, f family, p servicePort, endpoints []netip.AddrPort) {
	var choices []string
	for i, e := range endpoints {
		chain := nftEndpointChain(p, e)
		t.add("\tchain %s {\n\t\t%s saddr %s jump mark-for-masquerade\n\t\tmeta l4proto %s dnat to %s\n\t}",
			chain, ip, e.Addr(), p.proto, e)
		choices = append(choices, fmt.Sprintf("%d : goto %s", i, chain))
	}
	t.add("\tchain %s {", nftServiceChain(p))
	t.add("\t\t%s daddr %s %s dport %d %[1]s saddr != %[5]s jump mark-for-masquerade",
		ip, f.service, p.proto, dnsPort, f.cluster)
	t.add("\t\tnumgen random mod %d vmap { %s }\n\t}", len(endpoints), strings.Join(choices, ", "))
}

// nftServiceChain is kube-proxy's servicePortChainNameBase with "service-".
func nftServiceChain(p servicePort) string {
	base := strings.Join([]string{serviceNamespace, serviceName, p.proto, p.name}, "/")
	return "service-" + shortHash(base, 8) + "-" + base
}

// nftEndpointChain is kube-proxy's servicePortEndpointChainNameBase with
// "endpoint-".
func nftEndpointChain(p servicePort, endpoint netip.AddrPort) string {
	addr := strings.ReplaceAll(endpoint.Addr().String(), ":", ".")
	base := fmt.Sprintf("%s/%s/%s/%s__%s/%d", serviceNamespace, serviceName, p.proto, p.name, addr, endpoint.Port())
	return "endpoint-" + shortHash(base, 8) + "-" + base
}
