package rules

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dnspath/dnspath/tracer"
)

// serviceIn asks the tables of an iptables-save.
func serviceIn(t *testing.T, text string, q ServiceQuery) *Service {
	t.Helper()
	tables, err := parseIPTables(strings.NewReader(text), "iptables", later)
	if err != nil {
		t.Fatal(err)
	}
	found := &Service{Known: true}
	for _, a := range aspects {
		for _, hook := range a.hooks {
			question := q.question(a.deed, hook)
			var bases []base
			for _, name := range []string{"raw", "nat", "filter"} {
				if table := tables[name]; table != nil && table.chains[string(hook)] != nil && (name == "nat") == question.nat() {
					b := baseOf(table, string(hook))
					b.priority = len(bases)
					bases = append(bases, b)
				}
			}
			rules, err := special(question, bases)
			if err != nil {
				t.Fatal(err)
			}
			a.take(found, rules, question)
		}
	}
	return found
}

// save is an iptables-save with rules in one table, whose counters say that
// nothing was ever matched.
func save(table string, rules ...string) string {
	text := "*" + table + "\n"
	for _, chain := range []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"} {
		text += ":" + chain + " ACCEPT [0:0]\n"
	}
	text += ":SVC - [0:0]\n:OTHER - [0:0]\n"
	for _, rule := range rules {
		text += "[0:0] -A " + rule + "\n"
	}
	return text + "COMMIT\n"
}

func TestService(t *testing.T) {
	to := func(list ...netip.AddrPort) *Service { return &Service{By: "iptables", Endpoints: list, Known: true} }
	for _, c := range []struct {
		name  string
		text  string
		local bool
		want  *Service
	}{
		{"none", save("nat", "PREROUTING -d 10.96.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.244.1.53:53"), false, &Service{Known: true}},
		{"one", save("nat", "PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.244.1.53:53"), false, to(backendA)},
		{"of this node alone", save("nat", "OUTPUT -d 10.96.0.10/32 -j DNAT --to-destination 10.244.1.53"), false, to(backendA)},
		{
			"by chance",
			save("nat", "PREROUTING -j SVC", "SVC -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.244.2.53:53", "SVC -j DNAT --to-destination 10.244.1.53:53"),
			false, to(backendA, backendB),
		},
		{
			"of some sources alone",
			save("nat", "PREROUTING -s 10.244.9.0/24 -j DNAT --to-destination 10.244.2.53:53", "PREROUTING -p udp -m udp --sport 99 -j DNAT --to-destination 10.244.1.53:53"),
			false, to(backendA, backendB),
		},
		{
			"a port of this node, which the address is none of",
			save("nat", "PREROUTING -m addrtype --dst-type LOCAL -j OTHER", "OTHER -p udp -m udp --dport 53 -j DNAT --to-destination 10.244.1.99:53"),
			false, &Service{Known: true},
		},
		{
			"a port of this node",
			save("nat", "PREROUTING -m addrtype --dst-type LOCAL -j OTHER", "OTHER -p udp -m udp --dport 53 -j DNAT --to-destination 10.244.1.53:53"),
			true, to(backendA),
		},
		{"several by one rule", save("nat", "PREROUTING -d 10.96.0.10/32 -j DNAT --to-destination 10.244.1.53-10.244.1.60"), false, &Service{By: "iptables"}},
		{"to this node", save("nat", "PREROUTING -p udp -m udp --dport 53 -j REDIRECT --to-ports 5353"), false, &Service{By: "iptables"}},
		{"behind an end", save("nat", "PREROUTING -d 10.96.0.0/12 -j ACCEPT", "PREROUTING -j DNAT --to-destination 10.244.1.53"), false, &Service{Known: true}},
		{
			"rejected",
			save("filter", "FORWARD -m conntrack --ctstate NEW -j SVC", "SVC -d 10.96.0.10/32 -p udp -m udp --dport 53 -j REJECT --reject-with icmp-port-unreachable"),
			false, &Service{By: "iptables", Rejects: true, Known: true},
		},
		{
			"rejected, if nothing accepts it before",
			save("filter", "INPUT -i lo+ -j ACCEPT", "INPUT -d 10.96.0.10/32 -p udp -j REJECT"),
			false, &Service{By: "iptables", Rejects: true, Known: true},
		},
		{"rejected as anything is", save("filter", "FORWARD -p udp -m udp --dport 53 -j REJECT", "INPUT -j REJECT"), false, &Service{Known: true}},
		{"rejected of some sources", save("filter", "FORWARD -s 10.244.9.0/24 -d 10.96.0.10/32 -j REJECT"), false, &Service{Known: true}},
		{"rejected of other states", save("filter", "FORWARD -d 10.96.0.10/32 -m conntrack --ctstate INVALID -j REJECT"), false, &Service{Known: true}},
		{"dropped", save("filter", "FORWARD -d 10.96.0.10/32 -j DROP"), false, &Service{Known: true}},
		{"exempt", save("raw", "PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -j CT --notrack"), false, &Service{NoTrack: true, Known: true}},
		{"exempt by the old name", save("raw", "OUTPUT -d 10.96.0.10/32 -j NOTRACK"), false, &Service{NoTrack: true, Known: true}},
		{"another is exempt", save("raw", "PREROUTING -d 169.254.20.10/32 -j CT --notrack", "PREROUTING -d 10.96.0.10/32 -j CT --zone 7"), false, &Service{Known: true}},
		{"the reply is exempt", save("raw", "OUTPUT -s 10.96.0.10/32 -j CT --notrack"), false, &Service{Known: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := serviceIn(t, c.text, ServiceQuery{Protocol: udp, Addr: service, Local: c.local})
			if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("service (-want +got):\n%s", diff)
			}
		})
	}
}

// TestIPVSService has servers that take no new connections.
func TestIPVSService(t *testing.T) {
	text := "TCP  0A60000A:0035 rr\n  -> 0AF40135:0035      Masq    1      0          0\nUDP  0A60000A:0035 rr\n" +
		"  -> 0AF40235:0035      Masq    0      0          3\n  -> 0AF40135:0035      Masq    1      0          0\nUDP  0A60000B:0035 rr\n"
	services, err := parseIPVS(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	s := &space{ipvs: services, ipvsRead: true}
	ask := func(addr string) *Service {
		found := &Service{Known: true}
		if err := s.addIPVS(found, &ServiceQuery{Protocol: udp, Addr: addrPort(addr)}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	for addr, want := range map[string]*Service{
		"10.96.0.10:53": {By: "IPVS", Endpoints: []netip.AddrPort{backendA}, Known: true},
		"10.96.0.11:53": {By: "IPVS", Known: true},
		"10.96.0.12:53": {Known: true},
	} {
		if diff := cmp.Diff(want, ask(addr), cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", addr, diff)
		}
	}
	s.ipvsCut = true
	if err := s.addIPVS(&Service{}, &ServiceQuery{Protocol: udp, Addr: addrPort("10.96.0.12:53")}); err == nil {
		t.Error("an address that may not have been read is said to be none")
	}
}

// TestServiceOfKubeProxy asks a recorded kube-proxy.
func TestServiceOfKubeProxy(t *testing.T) {
	table := saved(t, "kube.save", "nat")
	for _, protocol := range []uint8{udp, tcp} {
		q := ServiceQuery{Protocol: protocol, Addr: service}
		found := &Service{Known: true}
		question := q.question(lead, tracer.HookPrerouting)
		rules, err := special(question, []base{baseOf(table, "PREROUTING")})
		if err != nil {
			t.Fatal(err)
		}
		found.addEndpoints(rules, question)
		want := &Service{By: "iptables", Endpoints: []netip.AddrPort{backendA, backendB}, Known: true}
		if diff := cmp.Diff(want, found, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("protocol %d (-want +got):\n%s", protocol, diff)
		}
	}
}
