package rules

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/tracer"
)

func TestKubeProxyIPTables(t *testing.T) {
	dnat := func(to netip.AddrPort) *Question {
		return &Question{Deed: DNAT, Hook: tracer.HookPrerouting, Protocol: udp, Src: pod, Dst: service, To: to, Time: 1}
	}
	tcpQuery := dnat(backendB)
	tcpQuery.Protocol = tcp
	for _, tt := range []struct {
		name  string
		table string
		chain string
		q     *Question
		want  *Answer
	}{
		{"first endpoint", "nat", "PREROUTING", dnat(backendA), &Answer{
			Name: "iptables nat PREROUTING → KUBE-SERVICES → KUBE-SVC-TCOU7JCQXEZGVUNU → KUBE-SEP-YNCIU67N6VYVMDY3",
			Rule: `-p udp -m comment --comment "kube-system/kube-dns:dns" -m udp -j DNAT --to-destination 10.244.1.53:53`,
		}},
		{"last endpoint", "nat", "OUTPUT", dnat(backendB), &Answer{
			Name: "iptables nat OUTPUT → KUBE-SERVICES → KUBE-SVC-TCOU7JCQXEZGVUNU → KUBE-SEP-DQR5UCEPJNQ24ZU5",
			Rule: `-p udp -m comment --comment "kube-system/kube-dns:dns" -m udp -j DNAT --to-destination 10.244.2.53:53`,
		}},
		{"TCP", "nat", "PREROUTING", tcpQuery, &Answer{
			Name: "iptables nat PREROUTING → KUBE-SERVICES → KUBE-SVC-ERIFXISQEP7F7OF4 → KUBE-SEP-Y3RAZOJUWDIGDXJ7",
			Rule: `-p tcp -m comment --comment "kube-system/kube-dns:dns-tcp" -m tcp -j DNAT --to-destination 10.244.2.53:53`,
		}},
		{"an endpoint that is not there any more", "nat", "PREROUTING", dnat(addrPort("10.244.3.53:53")), nil},
		{
			"masquerade", "nat", "POSTROUTING",
			&Question{Deed: SNAT, Hook: tracer.HookPostrouting, Protocol: udp, Src: pod, Dst: backendB, To: addrPort("192.0.2.1:1025")},
			&Answer{
				Name: "iptables nat POSTROUTING → KUBE-POSTROUTING",
				Rule: `-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully`,
			},
		},
		{"drop, where an unused rule may have been it", "filter", "FORWARD", dropOf(), &Answer{
			Name: "iptables filter FORWARD",
			Rule: `-p udp -m udp --dport 53 -m comment --comment "no \"DNS\" \\ here" -j DROP`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := answerOf(t, tt.q, baseOf(saved(t, "kube.save", tt.table), tt.chain))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	mark := uint32(0x4001)
	p := &packet{
		Question: &Question{Protocol: udp, Src: pod, Dst: backendB, In: "cali1234", Out: "vxlan.calico"}, mark: &mark,
	}
	p6 := &packet{Question: &Question{Protocol: tcp, Src: addrPort("[fd00:10:244:1::10]:4000"), Dst: addrPort("[fd00:10:96::10]:53")}}
	fresh := &packet{Question: &Question{Protocol: udp, Tracked: Tracked{State: stateNew, Entry: true, Status: statusDNAT}}}
	invalid := &packet{Question: &Question{Protocol: udp, Tracked: Tracked{State: stateInvalid}}}
	for _, tt := range []struct {
		spec string
		p    *packet
		want tri
	}{
		{"", p, yes},
		{"-s 10.244.1.10/32", p, yes},
		{"-s 10.244.1.10", p, yes},
		{"-s 10.244.0.0/16 -d 10.244.0.0/16", p, yes},
		{"! -s 10.244.0.0/16", p, no},
		{"-d 10.0.2.53/255.0.255.255", p, yes},
		{"-d 10.0.2.54/255.0.255.255", p, no},
		{"-d 0.0.0.0/0", p, yes},
		{"-d 10.244.2.0/33", p, maybe},
		{"-d fd00:10:96::10/128", p6, yes},
		{"! -d fd00:10:96::/112", p6, no},
		{"-d 10.96.0.10/32", p6, no},
		{"-p udp", p, yes},
		{"-p 17", p, yes},
		{"-p all", p, yes},
		{"! -p tcp", p, yes},
		{"-p icmp", p, no},
		{"-p ospf", p, no},
		{"-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", p6, maybe},
		{"-p udp -m udp --dport 53", p, yes},
		{"-p udp -m udp ! --dport 53", p, no},
		{"-p udp -m udp --dport 50:60", p, yes},
		{"-p udp -m udp --dport :52", p, no},
		{"-p udp -m udp --dport 53:", p, yes},
		{"-p udp -m udp --sport 41522", p, yes},
		{"-p udp -m multiport --dports 5353,50:55", p, yes},
		{"-p udp -m multiport ! --dports 5353,54", p, yes},
		{"-p udp -m multiport --sports 53", p, no},
		{"-p udp -m multiport --ports 53", p, yes},
		{"-i cali+", p, yes},
		{"-i cali1234", p, yes},
		{"-i cali", p, no},
		{"! -o vxlan.calico", p, no},
		{"-i eth0", p6, maybe},
		{"! -i eth0", p6, maybe},
		{"-m mark --mark 0x4000/0x4000", p, yes},
		{"-m mark ! --mark 0x4000/0x4000", p, no},
		{"-m mark --mark 0x4001", p, yes},
		{"-m mark --mark 0x1", p6, maybe},
		{"-m connmark --mark 0x1", p, maybe},
		{"-m addrtype --dst-type LOCAL", p, maybe},
		{"-m addrtype --dst-type MULTICAST", p, no},
		{"-m addrtype ! --dst-type MULTICAST", p, yes},
		{"-m addrtype --dst-type LOCAL --limit-iface-in", p, maybe},
		{`-m comment --comment "-p tcp ! --dport 1"`, p, yes},
		{"-m conntrack --ctstate NEW", p, maybe},
		{"-m conntrack ! --ctstate NEW -p tcp", p, no},
		{"-m conntrack --ctstate INVALID", fresh, no},
		{"-m conntrack --ctstate RELATED,ESTABLISHED", fresh, no},
		{"-m conntrack --ctstate NEW", fresh, yes},
		{"-m conntrack ! --ctstate NEW", fresh, no},
		{"-m conntrack --ctstate DNAT", fresh, yes},
		{"-m conntrack --ctstate SNAT", fresh, no},
		{"-m conntrack --ctstate SNAT", invalid, maybe},
		{"-m conntrack --ctstate NEW,LATER", fresh, maybe},
		{"-m conntrack --ctstate NEW --ctdir ORIGINAL", fresh, maybe},
		{"-m state --state INVALID,UNTRACKED", invalid, yes},
		{"-m statistic --mode random --probability 0.50000000000", p, maybe},
		{"-m set --match-set cali40s:abc src,dst", p, maybe},
		{"-m rpfilter --validmark --invert", p, maybe},
		{"-m socket", p, maybe},
		{"-f", p, no},
		{"! -f", p, yes},
	} {
		r := &iptablesRule{}
		r.parse(splitSpec(tt.spec+" -j DROP"), nil)
		got := no
		if outcomes, err := r.outcomes(tt.p); err != nil {
			t.Errorf("%q: %v", tt.spec, err)
		} else if len(outcomes) == 1 {
			if got = maybe; outcomes[0].sure {
				got = yes
			}
		}
		if got != tt.want {
			t.Errorf("%q matches: %d, want %d", tt.spec, got, tt.want)
		}
	}
}

func TestSplitSpec(t *testing.T) {
	got := splitSpec(`-m comment --comment "a \"b\" \\ -j" ! -d ::1 -j LOG --log-prefix "`)
	want := []word{
		{"-m", false}, {"comment", false}, {"--comment", false}, {`a "b" \ -j`, true},
		{"!", false}, {"-d", false}, {"::1", false}, {"-j", false}, {"LOG", false}, {"--log-prefix", false}, {"", true},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(word{})); diff != "" {
		t.Errorf("words (-want +got):\n%s", diff)
	}
}

func TestNATRanges(t *testing.T) {
	for _, tt := range []struct {
		text string
		deed Deed
		to   string
		want bool
	}{
		{"10.244.2.53:53", DNAT, "10.244.2.53:53", true},
		{"10.244.2.53:53", DNAT, "10.244.2.53:5353", false},
		{"10.244.2.53", DNAT, "10.244.2.53:5353", true},
		{"10.244.2.50-10.244.2.60:50-60", DNAT, "10.244.2.53:53", true},
		{"10.244.2.50-10.244.2.60:50-60/3", DNAT, "10.244.2.61:53", false},
		{"[fd00::35]:53", DNAT, "[fd00::35]:53", true},
		{"[fd00::30]-[fd00::40]:53", DNAT, "[fd00::35]:53", true},
		{"fd00::35", DNAT, "[fd00::35]:53", true},
		{"fd00::35", DNAT, "[fd00::36]:53", false},
		{":5353", DNAT, "127.0.0.1:5353", true},
		{":5353", DNAT, "127.0.0.1:53", false},
		{"192.0.2.1", SNAT, "192.0.2.1:1025", true},
		{"192.0.2.2", SNAT, "192.0.2.1:1025", false},
		{"192.0.2.1:1024-2048", SNAT, "192.0.2.1:4096", true},
	} {
		r, ok := parseNATRange(tt.text)
		rule := &target{deed: tt.deed, ranges: []natRange{r}, unknown: !ok}
		if got := rule.fits(&Question{Deed: tt.deed, To: addrPort(tt.to)}); got != tt.want || !ok {
			t.Errorf("%q to %s: %v, readable %v; want %v", tt.text, tt.to, got, ok, tt.want)
		}
	}
	for _, text := range []string{"[fd00::35", "10.244.2.53:x", "example.test", "10.244.2.53-:53", "1.2.3.4:70000"} {
		if _, ok := parseNATRange(text); ok {
			t.Errorf("%q was read", text)
		}
	}
}

func TestParseIPTablesErrors(t *testing.T) {
	for name, text := range map[string]string{
		"no such chain": "*filter\n:FORWARD ACCEPT [0:0]\n[0:0] -A OTHER -j DROP\n",
		"no rule":       "*filter\n:FORWARD ACCEPT [0:0]\n[0:0] -I FORWARD -j DROP\n",
		"a long line":   "*filter\n" + strings.Repeat("x", 2<<20),
	} {
		if _, err := parseIPTables(strings.NewReader(text), "iptables", 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzParseIPTables holds that no text breaks the parser, nor the walk through
// what it made of it.
func FuzzParseIPTables(f *testing.F) {
	f.Add("*filter\n:FORWARD DROP [1:2]\n:X - [0:0]\n[0:0] -A FORWARD ! -s 10.0.0.0/8 -p udp -m udp --dport 53 -j X\n[3:4] -A X -g X\n")
	f.Add("*nat\n:FORWARD ACCEPT\n-A FORWARD -m comment --comment \"a\\\" b\" -j DNAT --to-destination [::1]:53\n")
	f.Fuzz(func(t *testing.T, text string) {
		tables, err := parseIPTables(strings.NewReader(text), "iptables", later)
		if err != nil {
			return
		}
		for _, table := range tables {
			if table.chains["FORWARD"] == nil {
				continue
			}
			found, _, err := findCandidates(dropOf(), []base{baseOf(table, "FORWARD")})
			if a, _ := choose(found); err == nil && (a == nil) != (len(found) == 0) {
				t.Errorf("%d candidates, answer %v", len(found), a)
			}
		}
	})
}
