package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// ruleText collects the lines of a table.
type ruleText struct{ strings.Builder }

func (t *ruleText) add(format string, args ...any) {
	fmt.Fprintf(t, format+"\n", args...)
}

// iptablesService returns what kube-proxy's iptables mode feeds to
// iptables-restore --noflush for the DNS service (Kubernetes 1.31,
// pkg/proxy/iptables/proxier.go, syncProxyRules).
func iptablesService(f family, endpoints []netip.AddrPort) string {
	var t ruleText
	iptablesFilter(&t, f, endpoints)
	t.add("*nat")
	for _, chain := range []string{"KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"} {
		t.add(":%s - [0:0]", chain)
	}
	if len(endpoints) > 0 {
		for _, p := range servicePorts() {
			t.add(":%s - [0:0]", svcChain(p))
			for _, e := range endpoints {
				t.add(":%s - [0:0]", sepChain(p, e))
			}
		}
	}
	iptablesPortals(&t)
	iptablesMasquerade(&t)
	if len(endpoints) > 0 {
		for _, p := range servicePorts() {
			iptablesPort(&t, f, p, endpoints)
		}
	}
	t.add("COMMIT")
	return t.String()
}

// iptablesPortals leads packets to the service chains of the nat table.
func iptablesPortals(t *ruleText) {
	t.add(`-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES`)
	t.add(`-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES`)
	t.add(`-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING`)
}

// iptablesMasquerade masquerades what was marked for it.
func iptablesMasquerade(t *ruleText) {
	t.add(`-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN`)
	t.add(`-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000`)
	t.add(`-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully`)
	t.add(`-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000`)
}

// iptablesFilter writes the filter table: accept what NAT has marked, reject a
// service without endpoints.
func iptablesFilter(t *ruleText, f family, endpoints []netip.AddrPort) {
	t.add("*filter")
	t.add(":KUBE-SERVICES - [0:0]")
	t.add(":KUBE-FORWARD - [0:0]")
	t.add(`-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES`)
	t.add(`-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES`)
	iptablesForward(t)
	if len(endpoints) == 0 {
		for _, p := range servicePorts() {
			t.add(`-A KUBE-SERVICES -m comment --comment "%s has no endpoints" -m %s -p %[2]s -d %s --dport %d -j REJECT`,
				p.fullName(), p.proto, f.service, dnsPort)
		}
	}
	t.add("COMMIT")
}

// iptablesForward writes the filter rules for what is forwarded, which are the
// same in kube-proxy's IPVS mode.
func iptablesForward(t *ruleText) {
	t.add(`-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD`)
	t.add(`-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP`)
	t.add(`-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT`)
	t.add(`-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`)
}

// iptablesPort writes the chains of one service port.
func iptablesPort(t *ruleText, f family, p servicePort, endpoints []netip.AddrPort) {
	name, svc := p.fullName(), svcChain(p)
	match := fmt.Sprintf(`-m comment --comment "%s cluster IP" -m %s -p %[2]s -d %s --dport %d`,
		name, p.proto, f.service, dnsPort)
	t.add("-A KUBE-SERVICES %s -j %s", match, svc)
	t.add("-A %s %s ! -s %s -j KUBE-MARK-MASQ", svc, match, f.cluster)
	for i, e := range endpoints {
		chance := ""
		if left := len(endpoints) - i; left > 1 {
			chance = fmt.Sprintf("-m statistic --mode random --probability %.10f ", 1/float64(left))
		}
		sep := sepChain(p, e)
		t.add(`-A %s -m comment --comment "%s -> %s" %s-j %s`, svc, name, e, chance, sep)
		t.add(`-A %s -m comment --comment "%s" -s %s -j KUBE-MARK-MASQ`, sep, name, e.Addr())
		t.add(`-A %s -m comment --comment "%s" -m %s -p %[3]s -j DNAT --to-destination %s`, sep, name, p.proto, e)
	}
}

// svcChain is kube-proxy's servicePortChainName.
func svcChain(p servicePort) string {
	return "KUBE-SVC-" + shortHash(p.fullName()+p.proto, 16)
}

// sepChain is kube-proxy's servicePortEndpointChainName.
func sepChain(p servicePort, endpoint netip.AddrPort) string {
	return "KUBE-SEP-" + shortHash(p.fullName()+p.proto+endpoint.String(), 16)
}
