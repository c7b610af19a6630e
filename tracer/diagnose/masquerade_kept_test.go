package diagnose

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

// Sources that node-a gives queries, by device.
var (
	ofEth0 = netip.MustParseAddrPort("192.0.2.1:41522")
	ofEth1 = netip.MustParseAddrPort("198.51.100.1:41522")
)

// twoUplinks is a node with two devices that lead elsewhere.
func twoUplinks() *fakeNS {
	link := func(name string, addr netip.AddrPort) Link {
		return Link{Name: name, Up: true, MTU: 1500, Addrs: []netip.Prefix{netip.PrefixFrom(addr.Addr(), 24)}}
	}
	return &fakeNS{name: "node-a", links: []Link{link("eth0", ofEth0), link("eth1", ofEth1)}}
}

// entry is a flow's entry of conntrack.
func entry(source netip.AddrPort, status uint32) *tracer.Conntrack {
	return &tracer.Conntrack{Status: status, Orig: tracer.Flow{Src: client, Dst: upstream}, Reply: tracer.Flow{Src: upstream, Dst: source}}
}

func TestMasqueradeKilled(t *testing.T) {
	const killed = ctConfirmed | ctSrcNAT | ctDying
	for _, tt := range []struct {
		name       string
		status     uint32
		hook       tracer.Hook
		dev        string
		change     func(*fakeNS, *tracer.Hop)
		want       string
		confidence tracer.Confidence
	}{
		{"masqueraded as another device's", killed, tracer.HookPostrouting, "eth1", nil, "masquerade-wrong-source", tracer.ConfidenceConfirmed},
		{"hook unknown", killed, "", "eth1", nil, "masquerade-wrong-source", tracer.ConfidenceConfirmed},
		{"state unreadable", killed, tracer.HookPostrouting, "eth1", func(n *fakeNS, _ *tracer.Hop) { n.links, n.err = nil, errors.New("no permission") }, "masquerade-wrong-source", tracer.ConfidenceSeen},
		{"state unreadable, hook unknown", killed, "", "eth1", func(n *fakeNS, _ *tracer.Hop) { n.links, n.err = nil, errors.New("no permission") }, Unexplained, ""},
		{"the entry lives", ctConfirmed | ctSrcNAT, tracer.HookPostrouting, "eth1", nil, Unexplained, ""},
		{"the device's own address", killed, tracer.HookPostrouting, "eth0", nil, Unexplained, ""},
		{"nobody's address", killed, tracer.HookPostrouting, "eth1", func(n *fakeNS, _ *tracer.Hop) { n.links[0].Addrs = nil }, Unexplained, ""},
		{"another hook", killed, tracer.HookForward, "eth1", nil, "policy-drop", tracer.ConfidenceSeen},
		{"a rule", killed, tracer.HookPostrouting, "eth1", func(_ *fakeNS, h *tracer.Hop) { h.Drop.Function = "nft_do_chain" }, "policy-drop", tracer.ConfidenceSeen},
	} {
		t.Run(tt.name, func(t *testing.T) {
			node := twoUplinks()
			h := dropped(nsNodeA, tt.dev, "NETFILTER_DROP", "nf_hook_slow")
			h.Src, h.Dst, h.CT, h.Drop.Hook = client, upstream, entry(ofEth0, tt.status), tt.hook
			if tt.change != nil {
				tt.change(node, &h)
			}
			l := fakeLookup(tracer.OutcomeDropped, routed("rx", nsNodeA, "cni0"), h)
			l.Server, l.Backend = upstream, netip.AddrPort{}
			checkDiagnosis(t, fakeNode{nsNodeA: node}, l, tt.want)
			if tt.want == "masquerade-wrong-source" {
				checkFinding(t, l, tt.confidence, "the route of node-a to 192.0.2.53 has changed to eth1 since the flow of port 41522 was masqueraded as 192.0.2.1", "nothing, if the route changed once")
			}
		})
	}
}

// leaves is a lookup that leaves node-a by a device with a source.
func leaves(outcome tracer.Outcome, from netip.AddrPort, dev string, source netip.AddrPort) *tracer.Lookup {
	nat := tracer.Hop{Name: "nat", NetNS: nsNodeA, Src: source, Dst: upstream, CT: entry(source, ctConfirmed|ctSrcNAT|ctSeenReply), Change: &tracer.Change{Kind: tracer.ChangeSNAT, From: from, To: source}}
	tx := routed("tx", nsNodeA, dev)
	tx.Src, tx.Dst = source, upstream
	l := fakeLookup(outcome, routed("rx", nsNodeA, "cni0"), nat, tx)
	l.Client, l.Server, l.Backend = from, upstream, netip.AddrPort{}
	return l
}

func TestSourceKept(t *testing.T) {
	other := netip.AddrPortFrom(client.Addr(), 40001)
	lost := func() *tracer.Lookup { return leaves(tracer.OutcomeLost, client, "eth1", ofEth0) }
	for _, tt := range []struct {
		name   string
		before *tracer.Lookup // nil: none
		change func(*fakeNS, *tracer.Lookup)
		want   string
	}{
		{"it left by the other device before", leaves(tracer.OutcomeAnswered, client, "eth0", ofEth0), nil, "masquerade-wrong-source"},
		{"others leave with the new address", leaves(tracer.OutcomeAnswered, other, "eth1", ofEth1), nil, "masquerade-wrong-source"},
		{"nothing is known of before", nil, nil, Unexplained},
		{"it failed then, too", leaves(tracer.OutcomeLost, client, "eth0", ofEth0), nil, Unexplained},
		{"it always left so", leaves(tracer.OutcomeAnswered, client, "eth1", ofEth0), nil, Unexplained},
		{"others leave so, too", leaves(tracer.OutcomeAnswered, other, "eth1", ofEth0), nil, Unexplained},
		{"the other flow left by the other device", leaves(tracer.OutcomeAnswered, other, "eth0", ofEth0), nil, Unexplained},
		{"a new entry", leaves(tracer.OutcomeAnswered, client, "eth0", ofEth0), func(_ *fakeNS, l *tracer.Lookup) { l.Legs[0].Hops[1].CT.Status = ctConfirmed | ctSrcNAT }, Unexplained},
		{"something came back", leaves(tracer.OutcomeAnswered, client, "eth0", ofEth0), func(_ *fakeNS, l *tracer.Lookup) {
			l.Legs = append(l.Legs, tracer.Leg{Response: true, Hops: []tracer.Hop{routed("rx", nsNodeA, "eth1")}})
		}, Unexplained},
		{"state unreadable", leaves(tracer.OutcomeAnswered, client, "eth0", ofEth0), func(n *fakeNS, _ *tracer.Lookup) { n.links, n.err = nil, errors.New("no permission") }, Unexplained},
	} {
		t.Run(tt.name, func(t *testing.T) {
			node, l := twoUplinks(), lost()
			if tt.change != nil {
				tt.change(node, l)
			}
			d := New(fakeNode{nsNodeA: node})
			if tt.before != nil {
				d.Diagnose(tt.before)
			}
			d.Diagnose(l)
			if got := idsOf(l); got != tt.want {
				t.Errorf("finding %q, want %q: %+v", got, tt.want, l.Findings)
			}
			if tt.want != Unexplained {
				checkFinding(t, l, tracer.ConfidenceLikely, "leaves node-a by eth1 with 192.0.2.1, the address of eth0", "in node-a: conntrack -D -p udp --orig-src 10.244.1.10 --orig-port-src 41522 --orig-dst 192.0.2.53")
			}
		})
	}
}
