package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"

	"github.com/dnspath/dnspath/tracer"
)

// fixedSource is a table that is all there.
type fixedSource struct {
	chains map[string][]*nftables.Rule
	sets   map[string][]nftables.SetElement
	lists  map[string]string
}

func (s *fixedSource) Rules(_ *nftables.Table, chain string) ([]*nftables.Rule, error) {
	rules, ok := s.chains[chain]
	if !ok {
		return nil, fmt.Errorf("no chain %q", chain)
	}
	return rules, nil
}

func (s *fixedSource) Elements(_ *nftables.Table, set string) ([]nftables.SetElement, error) {
	elements, ok := s.sets[set]
	if !ok {
		return nil, fmt.Errorf("no set %q", set)
	}
	return elements, nil
}

func (s *fixedSource) List(_ *nftables.Table, chain string) string { return s.lists[chain] }

func (s *fixedSource) Since() uint64 { return later }

func (s *fixedSource) base(family nftables.TableFamily, name, chain string) base {
	return base{table: &nftTable{&nftables.Table{Family: family, Name: name}, s}, chain: chain}
}

// chainOf numbers the rules of a chain.
func chainOf(rules ...[]expr.Any) []*nftables.Rule {
	var list []*nftables.Rule
	for i, exprs := range rules {
		list = append(list, &nftables.Rule{Handle: uint64(i + 1), Exprs: exprs})
	}
	return list
}

// Expressions as nft makes them.
func load(base expr.PayloadBase, at, n, register uint32) *expr.Payload {
	return &expr.Payload{OperationType: expr.PayloadLoad, Base: base, Offset: at, Len: n, DestRegister: register}
}

func network(at, n uint32) *expr.Payload {
	return load(expr.PayloadBaseNetworkHeader, at, n, 1)
}

func transport(at, n uint32) *expr.Payload {
	return load(expr.PayloadBaseTransportHeader, at, n, 1)
}

func metaKey(key expr.MetaKey) *expr.Meta { return &expr.Meta{Key: key, Register: 1} }

func is(data ...byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

func isNot(data ...byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: data} }

func verdict(kind expr.VerdictKind, chain ...string) *expr.Verdict {
	return &expr.Verdict{Kind: kind, Chain: append(chain, "")[0]}
}

func addrBytes(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

// toEndpoint is "meta l4proto udp dnat to ADDR:53".
func toEndpoint(addr string) []expr.Any {
	return []expr.Any{
		metaKey(expr.MetaKeyL4PROTO), is(udp),
		&expr.Immediate{Register: 1, Data: addrBytes(addr)}, &expr.Immediate{Register: 2, Data: []byte{0, 53}},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: 2, RegAddrMin: 1, RegAddrMax: 1, RegProtoMin: 2, RegProtoMax: 2},
	}
}

// gotoData is the verdict of a map's element, as the kernel sends it.
func gotoData(chain string) []byte {
	code := []byte{8, 0, 1, 0, 0xff, 0xff, 0xff, 0xfc} // NFTA_VERDICT_CODE, NFT_GOTO
	name := append(binary.NativeEndian.AppendUint16(nil, uint16(4+len(chain)+1)), 2, 0)
	name = append(append(name, chain...), 0)
	for len(name)%4 != 0 {
		name = append(name, 0)
	}
	return append(code, name...)
}

// kubeProxy is what kube-proxy's nftables mode makes of a service with two
// endpoints, cut down to what a query meets.
func kubeProxy() *fixedSource {
	key := func(protocol byte) []byte { return append(addrBytes("10.96.0.10"), protocol, 0, 0, 0, 0, 53, 0, 0) }
	return &fixedSource{
		chains: map[string][]*nftables.Rule{
			"nat-prerouting":  chainOf([]expr.Any{verdict(expr.VerdictJump, "services")}),
			"nat-postrouting": chainOf([]expr.Any{verdict(expr.VerdictJump, "masquerading")}),
			"services": chainOf([]expr.Any{
				network(16, 4), &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 9}, load(expr.PayloadBaseTransportHeader, 2, 2, 10),
				&expr.Lookup{SourceRegister: 1, SetName: "service-ips", IsDestRegSet: true},
			}),
			"service-udp": chainOf(
				[]expr.Any{network(16, 4), is(10, 96, 0, 10), network(12, 2), isNot(10, 244), verdict(expr.VerdictJump, "mark-for-masquerade")},
				[]expr.Any{&expr.Numgen{Register: 1, Modulus: 2, Type: 1}, &expr.Lookup{SourceRegister: 1, SetName: "__map0", IsDestRegSet: true}},
			),
			"service-tcp":         chainOf(),
			"endpoint-a":          chainOf([]expr.Any{network(12, 4), is(10, 244, 1, 53), verdict(expr.VerdictJump, "mark-for-masquerade")}, toEndpoint("10.244.1.53")),
			"endpoint-b":          chainOf([]expr.Any{network(12, 4), is(10, 244, 2, 53), verdict(expr.VerdictJump, "mark-for-masquerade")}, toEndpoint("10.244.2.53")),
			"mark-for-masquerade": chainOf([]expr.Any{metaKey(expr.MetaKeyMARK), &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1}}),
			"masquerading": chainOf(
				[]expr.Any{
					metaKey(expr.MetaKeyMARK), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{0, 0x40, 0, 0}, Xor: make([]byte, 4)},
					is(0, 0, 0, 0), verdict(expr.VerdictReturn),
				},
				[]expr.Any{&expr.Masq{FullyRandom: true}},
			),
		},
		sets: map[string][]nftables.SetElement{
			"service-ips": {{Key: key(tcp), Val: gotoData("service-tcp")}, {Key: key(udp), Val: gotoData("service-udp")}},
			"__map0":      {{Key: []byte{1, 0, 0, 0}, Val: gotoData("endpoint-b")}, {Key: []byte{0, 0, 0, 0}, Val: gotoData("endpoint-a")}},
		},
		lists: map[string]string{"endpoint-b": "table ip kube-proxy {\n\tchain endpoint-b {\n\t\tip saddr 10.244.2.53 jump mark-for-masquerade # handle 1\n\t\tmeta l4proto udp  dnat to 10.244.2.53:53 # handle 2\n\t}\n}\n"},
	}
}

func TestKubeProxyNFTables(t *testing.T) {
	q := func(dst, to netip.AddrPort) *Question {
		return &Question{Deed: DNAT, Hook: tracer.HookPrerouting, Protocol: udp, Src: pod, Dst: dst, To: to, Time: 1}
	}
	masquerade := &Question{Deed: SNAT, Hook: tracer.HookPostrouting, Protocol: udp, Src: pod, Dst: backendB, To: addrPort("192.0.2.1:1025")}
	for _, tt := range []struct {
		name  string
		chain string
		q     *Question
		want  *Answer
	}{
		{"with text", "nat-prerouting", q(service, backendB), &Answer{
			Name: "nftables ip kube-proxy nat-prerouting → services → service-udp → endpoint-b handle 2",
			Rule: "meta l4proto udp dnat to 10.244.2.53:53",
		}},
		{"without text", "nat-prerouting", q(service, backendA), &Answer{
			Name: "nftables ip kube-proxy nat-prerouting → services → service-udp → endpoint-a handle 2",
		}},
		{"another service", "nat-prerouting", q(addrPort("10.96.0.11:53"), backendA), nil},
		{"another endpoint", "nat-prerouting", q(service, addrPort("10.244.3.53:53")), nil},
		{"masquerade", "nat-postrouting", masquerade, &Answer{Name: "nftables ip kube-proxy nat-postrouting → masquerading handle 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := kubeProxy().base(nftables.TableFamilyIPv4, "kube-proxy", tt.chain)
			b.nat = true
			if diff := cmp.Diff(tt.want, answerOf(t, tt.q, b)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// interval makes the elements of a set: where an interval has ended, where the
// next begins, and so on, as nft does from zero on.
func interval(bounds ...[]byte) (elements []nftables.SetElement) {
	for i, b := range bounds {
		elements = append(elements, nftables.SetElement{Key: b, IntervalEnd: i%2 == 0})
	}
	return elements
}

func TestExpressions(t *testing.T) {
	mark := uint32(0x4000)
	v4 := func() *packet {
		return &packet{Question: &Question{Protocol: udp, Src: pod, Dst: backendB, In: "eth0"}, mark: &mark}
	}
	v6 := func() *packet {
		return &packet{Question: &Question{Protocol: tcp, Src: addrPort("[fd00:10:244:1::10]:4000"), Dst: addrPort("[fd00:10:96::10]:53")}}
	}
	fresh := v4()
	fresh.Tracked = Tracked{State: stateNew, Entry: true, Status: statusDNAT}
	u32 := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	dev := func(name string) []byte { return append([]byte(name), make([]byte, 16-len(name))...) }
	sets := map[string][]nftables.SetElement{
		"ports":     {{Key: []byte{0, 53}}, {Key: []byte{20, 233}}},
		"empty":     {},
		"intervals": interval([]byte{0, 0}, []byte{0, 50}, []byte{0, 60}, []byte{20, 0}),
		"prefixes":  interval(addrBytes("0.0.0.0"), addrBytes("10.244.0.0"), addrBytes("10.245.0.0")),
		"ranges": {{
			Key: append(addrBytes("10.244.0.0"), 0, 50, 0, 0), KeyEnd: append(addrBytes("10.244.255.255"), 0, 60, 0, 0),
		}},
		"other": {{Key: []byte{0, 54}}, {}},
	}
	lookup := func(set string, invert bool) *expr.Lookup {
		return &expr.Lookup{SourceRegister: 1, SetName: set, Invert: invert}
	}
	for _, tt := range []struct {
		name  string
		p     *packet
		exprs []expr.Any
		want  tri
	}{
		{"nothing asked", v4(), nil, yes},
		{"meta l4proto udp", v4(), []expr.Any{metaKey(expr.MetaKeyL4PROTO), is(udp)}, yes},
		{"meta nfproto ipv4", v6(), []expr.Any{metaKey(expr.MetaKeyNFPROTO), is(2)}, no},
		{"meta protocol ip6", v6(), []expr.Any{metaKey(expr.MetaKeyPROTOCOL), is(0x86, 0xdd)}, yes},
		{"ip daddr", v4(), []expr.Any{network(16, 4), is(10, 244, 2, 53)}, yes},
		{"ip saddr !=", v4(), []expr.Any{network(12, 4), isNot(10, 244, 2, 53)}, yes},
		{"ip protocol", v4(), []expr.Any{network(9, 1), is(tcp)}, no},
		{"ip tos is unknown", v4(), []expr.Any{network(1, 1), is(0)}, maybe},
		{"ip6 daddr", v6(), []expr.Any{network(24, 16), is(addrBytes("fd00:10:96::10")...)}, yes},
		{"ip6 nexthdr", v6(), []expr.Any{network(6, 1), is(tcp)}, yes},
		{"udp dport", v4(), []expr.Any{transport(2, 2), is(0, 53)}, yes},
		{"udp length is unknown", v4(), []expr.Any{transport(4, 2), is(0, 53)}, maybe},
		{"ether saddr is unknown", v4(), []expr.Any{load(expr.PayloadBaseLLHeader, 6, 6, 1), is(1, 2, 3, 4, 5, 6)}, maybe},
		{"dport < 53", v4(), []expr.Any{transport(2, 2), &expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: []byte{0, 53}}}, no},
		{"dport >= 53", v4(), []expr.Any{transport(2, 2), &expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{0, 53}}}, yes},
		{"dport 50-60", v4(), []expr.Any{transport(2, 2), &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{0, 50}, ToData: []byte{0, 60}}}, yes},
		{"dport != 50-60", v4(), []expr.Any{transport(2, 2), &expr.Range{Op: expr.CmpOpNeq, Register: 1, FromData: []byte{0, 50}, ToData: []byte{0, 60}}}, no},
		{"iifname", v4(), []expr.Any{metaKey(expr.MetaKeyIIFNAME), is(dev("eth0")...)}, yes},
		{"iifname of another", v4(), []expr.Any{metaKey(expr.MetaKeyIIFNAME), is(dev("eth")...)}, no},
		{"iifname with a wildcard", v4(), []expr.Any{metaKey(expr.MetaKeyIIFNAME), is([]byte("eth")...)}, yes},
		{"oifname is unknown", v4(), []expr.Any{metaKey(expr.MetaKeyOIFNAME), is(dev("eth0")...)}, maybe},
		{"mark", v4(), []expr.Any{metaKey(expr.MetaKeyMARK), is(binary.NativeEndian.AppendUint32(nil, mark)...)}, yes},
		{"mark is unknown", v6(), []expr.Any{metaKey(expr.MetaKeyMARK), is(0, 0, 0, 0)}, maybe},
		{"mark that was set", v4(), []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1}, metaKey(expr.MetaKeyMARK), is(0, 0, 0, 0)}, maybe},
		{"masked address", v4(), []expr.Any{network(12, 4), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 255, 0, 0}, Xor: make([]byte, 4)}, is(10, 244, 0, 0)}, yes},
		{"what a mask leaves of the unknown", v6(), []expr.Any{metaKey(expr.MetaKeyMARK), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{0, 0, 0, 0}, Xor: []byte{1, 0, 0, 0}}, is(0, 0, 0, 0)}, no},
		{"a shift", v4(), []expr.Any{network(12, 4), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4}, is(10, 244, 0, 0)}, maybe},
		{"ct state", v4(), []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, is(8, 0, 0, 0)}, maybe},
		{"ct state of a packet with an entry", fresh, []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: u32(stateNew | stateInvalid), Xor: u32(0)}, isNot(u32(0)...),
		}, yes},
		{"ct status of a packet with an entry", fresh, []expr.Any{&expr.Ct{Key: expr.CtKeySTATUS, Register: 1}, is(u32(statusDNAT)...)}, yes},
		{"ct mark is unknown", fresh, []expr.Any{&expr.Ct{Key: expr.CtKeyMARK, Register: 1}, is(0, 0, 0, 0)}, maybe},
		{"fib daddr type", v4(), []expr.Any{&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true}, is(2, 0, 0, 0)}, maybe},
		{"limit", v4(), []expr.Any{&expr.Limit{Rate: 1}}, maybe},
		{"a match of iptables", v4(), []expr.Any{&expr.Match{Name: "string"}}, maybe},
		{"what the library leaves out", v4(), []expr.Any{transport(2, 2), is(0, 53), is(1)}, maybe}, // socket transparent 1
		{"counter, log", v4(), []expr.Any{&expr.Counter{Packets: 1}, &expr.Log{}}, yes},
		{"in a set", v4(), []expr.Any{transport(2, 2), lookup("ports", false)}, yes},
		{"not in a set", v4(), []expr.Any{transport(0, 2), lookup("ports", false)}, no},
		{"in no set", v4(), []expr.Any{transport(0, 2), lookup("ports", true)}, yes},
		{"in an empty set", v4(), []expr.Any{transport(2, 2), lookup("empty", false)}, no},
		{"unknown in a set", v4(), []expr.Any{transport(4, 2), lookup("ports", false)}, maybe},
		{"in an interval", v4(), []expr.Any{transport(2, 2), lookup("intervals", false)}, yes},
		{"between intervals", v4(), []expr.Any{&expr.Immediate{Register: 1, Data: []byte{0, 60}}, lookup("intervals", false)}, no},
		{"in an interval up to the end", v4(), []expr.Any{&expr.Immediate{Register: 1, Data: []byte{20, 1}}, lookup("intervals", false)}, yes},
		{"in a prefix", v4(), []expr.Any{network(12, 4), lookup("prefixes", false)}, yes},
		{"in no prefix", v4(), []expr.Any{&expr.Immediate{Register: 1, Data: addrBytes("10.96.0.10")}, lookup("prefixes", false)}, no},
		{"in a range of concatenations", v4(), []expr.Any{network(16, 4), load(expr.PayloadBaseTransportHeader, 2, 2, 9), lookup("ranges", false)}, yes},
		{"in no range of concatenations", v4(), []expr.Any{network(16, 4), load(expr.PayloadBaseTransportHeader, 0, 2, 9), lookup("ranges", false)}, no},
		{"all others", v4(), []expr.Any{transport(2, 2), lookup("other", false)}, yes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := &nftTable{&nftables.Table{Family: nftables.TableFamilyINet, Name: "t"}, &fixedSource{sets: sets}}
			r := nftRule{&nftables.Rule{Exprs: append(tt.exprs, verdict(expr.VerdictDrop))}, table}
			outcomes, err := r.outcomes(tt.p)
			if err != nil {
				t.Fatal(err)
			}
			got := no
			if len(outcomes) == 1 && outcomes[0].verb == drop {
				if got = maybe; outcomes[0].sure {
					got = yes
				}
			}
			if got != tt.want {
				t.Errorf("matches: %d, want %d", got, tt.want)
			}
		})
	}
}

func TestNFTablesDrops(t *testing.T) {
	policy := func(b base) base { b.drops = true; return b }
	source := &fixedSource{
		chains: map[string][]*nftables.Rule{
			"drop":   chainOf([]expr.Any{metaKey(expr.MetaKeyL4PROTO), is(udp), transport(2, 2), is(0, 53), &expr.Counter{Packets: 1}, verdict(expr.VerdictDrop)}),
			"reject": chainOf([]expr.Any{&expr.Reject{}}),
			"accept": chainOf([]expr.Any{verdict(expr.VerdictAccept)}),
			"empty":  {},
			"two":    chainOf([]expr.Any{&expr.Limit{}, verdict(expr.VerdictDrop)}, []expr.Any{verdict(expr.VerdictDrop)}),
			"idle":   chainOf([]expr.Any{&expr.Limit{}, &expr.Counter{}, verdict(expr.VerdictDrop)}, []expr.Any{verdict(expr.VerdictDrop)}),
			"unread": chainOf([]expr.Any{&expr.Lookup{SourceRegister: 1, SetName: "gone"}, verdict(expr.VerdictDrop)}),
			"compat": chainOf([]expr.Any{&expr.Match{Name: "udp"}, &expr.Target{Name: "LOG"}, &expr.Target{Name: "REJECT"}}),
		},
		lists: map[string]string{"drop": "udp dport 53 counter packets 1 bytes 60 drop # handle 1\n"},
	}
	source.chains["reject"][0].UserData = userdata.AppendString(nil, userdata.TypeComment, "go away")
	of := func(chain string) base { return source.base(nftables.TableFamilyINet, "filter", chain) }
	unread := []base{of("unread")}
	rejected := dropOf()
	rejected.Deed = Reject
	for _, tt := range []struct {
		name string
		q    *Question
		base base
		want *Answer
	}{
		{"rule", dropOf(), of("drop"), &Answer{Name: "nftables inet filter drop handle 1", Rule: "udp dport 53 counter drop"}},
		{"reject", rejected, of("reject"), &Answer{Name: "nftables inet filter reject handle 1", Rule: `comment "go away"`}},
		{"a drop is no reject", rejected, of("drop"), nil},
		{"policy", dropOf(), policy(of("empty")), &Answer{Name: "nftables inet filter empty", Rule: "policy drop"}},
		{"accepted before the policy", dropOf(), policy(of("accept")), nil},
		{"one of two", dropOf(), of("two"), &Answer{Name: "one of 2 rules of nftables inet filter two"}},
		{"one of two was never used", dropOf(), of("idle"), &Answer{Name: "nftables inet filter idle handle 2"}},
		{"rules of iptables, without iptables", dropOf(), of("compat"), &Answer{Name: "nftables inet filter compat handle 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, answerOf(t, tt.q, tt.base)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
	if _, _, err := findCandidates(dropOf(), unread); err == nil {
		t.Error("a set that can't be read gave no error")
	}
}

// FuzzUserData holds that no comment breaks us.
func FuzzUserData(f *testing.F) {
	f.Add([]byte{0, 3, 'a', 'b', 0})
	f.Add([]byte{1, 200, 0})
	f.Fuzz(func(_ *testing.T, data []byte) {
		comment(data)
		elementVerdict(nftables.SetElement{Val: data})
	})
}
