package rules

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dnspath/dnspath/internal/kernel"
	"github.com/dnspath/dnspath/tracer"
)

// fakeAsker answers every question alike, and keeps them.
type fakeAsker struct {
	answer   *Answer
	err      error
	attached map[Device][]string
	asked    []Question
}

func (f *fakeAsker) Ask(_ uint32, q *Question) (*Answer, error) {
	f.asked = append(f.asked, *q)
	return f.answer, f.err
}

func (f *fakeAsker) Attached(_ uint32, d Device, _ uint64) ([]string, error) {
	return f.attached[d], f.err
}

// Devices and namespace of the tests.
const (
	node    = 4026532200
	cni     = 3
	uplink  = 4
	asMany  = "one of 2 rules of nftables inet filter forward"
	ruleSet = "nftables inet filter forward handle 7"
)

// queryOf is a lookup whose query has these hops, in one namespace.
func queryOf(hops ...tracer.Hop) *tracer.Lookup {
	for i := range hops {
		hops[i].NetNS = node
		if !hops[i].Src.IsValid() {
			hops[i].Src = pod
		}
		if !hops[i].Dst.IsValid() {
			hops[i].Dst = backendB
		}
	}
	return &tracer.Lookup{Legs: []tracer.Leg{{Attempt: 1, Hops: hops}}}
}

func rx(ifindex uint32, dev string) tracer.Hop {
	return tracer.Hop{Name: "rx", Layer: "device", Ifindex: ifindex, Dev: dev}
}

func tx(ifindex uint32, dev string) tracer.Hop {
	return tracer.Hop{Name: "tx", Layer: "device", Ifindex: ifindex, Dev: dev}
}

func in(hook tracer.Hook, ifindex uint32, dev string) tracer.Hop {
	return tracer.Hop{Name: "hook", Layer: "netfilter", Hook: hook, Ifindex: ifindex, Dev: dev}
}

func changing(h tracer.Hop, c *tracer.Change) tracer.Hop {
	own := *c // it gets an answer of its own
	if h.Change = &own; h.Layer == "netfilter" {
		h.Name = "nat"
	}
	return h
}

func dropping(h tracer.Hop, d tracer.Drop) tracer.Hop {
	h.Name, h.Layer, h.Drop = "drop", "end", &d
	return h
}

// refused is a function that was seen to refuse the packet.
func refused(t *tracer.Table) tracer.Hop {
	h := in(tracer.HookForward, cni, "cni0")
	h.Name, h.Verdict, h.Table = "function", tracer.VerdictDrop, t
	return h
}

// seenDrop is a drop of which a function was seen to be the cause.
func seenDrop() tracer.Hop {
	return dropping(in(tracer.HookForward, cni, "cni0"), tracer.Drop{
		Hook: tracer.HookForward, Function: "nf_hook_slow", By: &tracer.By{Name: "somebody", How: tracer.HowSeen, Part: true},
	})
}

// TestSeen holds that what was seen stays where no rule is found.
func TestSeen(t *testing.T) {
	for name, l := range map[string]*tracer.Lookup{
		"table":    queryOf(refused(&tracer.Table{Tool: "iptables", Name: "filter"}), seenDrop()),
		"function": queryOf(refused(nil), seenDrop()),
	} {
		(&Explainer{asker: &fakeAsker{}}).Explain(l)
		if diff := cmp.Diff(&tracer.By{Name: "somebody", How: tracer.HowSeen, Part: true}, l.Legs[0].Hops[1].Drop.By); diff != "" {
			t.Errorf("%s: by (-want +got):\n%s", name, diff)
		}
	}
}

// hookAsker answers in some hooks alone.
type hookAsker map[tracer.Hook]string

func (f hookAsker) Ask(_ uint32, q *Question) (*Answer, error) {
	if name := f[q.Hook]; name != "" && (q.Certain || q.Known.Backend == BackendNFTables) {
		return &Answer{Name: name}, nil
	}
	return nil, nil
}

func (f hookAsker) Attached(uint32, Device, uint64) ([]string, error) { return nil, nil }

// TestUnseenHook has a drop explained of which it was not seen in which hook.
func TestUnseenHook(t *testing.T) {
	forward := hookAsker{tracer.HookForward: "forward", tracer.HookOutput: "output"}
	both := hookAsker{tracer.HookForward: "forward", tracer.HookInput: "input"}
	drop := func(reason, function string) tracer.Hop {
		return dropping(tracer.Hop{Ifindex: cni}, tracer.Drop{Reason: reason, Function: function})
	}
	for _, c := range []struct {
		name   string
		asker  hookAsker
		lookup *tracer.Lookup
		want   string
	}{
		{"came by a device", forward, queryOf(rx(cni, "cni0"), drop("NETFILTER_DROP", "nft_do_chain")), "forward"},
		{"a rule or else", forward, queryOf(rx(cni, "cni0"), drop("NETFILTER_DROP", "nf_hook_slow")), "forward"},
		{"sent here", forward, queryOf(drop("NETFILTER_DROP", "nf_hook_slow")), "output"},
		{"two hooks", both, queryOf(rx(cni, "cni0"), drop("NETFILTER_DROP", "nft_do_chain")), ""},
		{"not netfilter", forward, queryOf(rx(cni, "cni0"), drop("NO_SOCKET", "__udp4_lib_rcv")), ""},
	} {
		(&Explainer{asker: c.asker}).Explain(c.lookup)
		hops := c.lookup.Legs[0].Hops
		got := ""
		if by := hops[len(hops)-1].Drop.By; by != nil {
			got = by.Name
		}
		if got != c.want {
			t.Errorf("%s: by %q, want %q", c.name, got, c.want)
		}
	}
}

func TestQuestions(t *testing.T) {
	gateway := addrPort("192.0.2.1:1025")
	dnat := &tracer.Change{Kind: tracer.ChangeDNAT, From: service, To: backendB, Hook: tracer.HookPrerouting, HookHow: tracer.HowSeen}
	snat := &tracer.Change{Kind: tracer.ChangeSNAT, From: pod, To: gateway, Hook: tracer.HookPostrouting, HookHow: tracer.HowInferred, Conntrack: true}
	both := *dnat
	both.Also = snat
	tunnelled := dropping(in(tracer.HookInput, uplink, "eth0"), tracer.Drop{Reason: "NETFILTER_DROP", Function: "nf_hook_slow", Hook: tracer.HookInput})
	tunnelled.Tunnel = &tracer.Tunnel{Kind: "vxlan", Src: addrPort("192.0.2.1:5000"), Dst: addrPort("192.0.2.2:4789")}
	natted := tx(uplink, "eth0")
	natted.Src = gateway
	first := Tracked{State: stateNew}
	looked := in(tracer.HookPrerouting, cni, "cni0")
	looked.State = "invalid"
	known := in(tracer.HookForward, cni, "cni0")
	known.CT = &tracer.Conntrack{Info: 3, Status: 0x2a}
	exact := *dnat
	exact.By = &tracer.By{Name: ruleSet, How: tracer.HowSeen}
	for _, tt := range []struct {
		name   string
		lookup *tracer.Lookup
		want   []Question
	}{
		{"DNAT", queryOf(rx(cni, "cni0"), changing(in(tracer.HookPrerouting, cni, "cni0"), dnat)), []Question{
			{Deed: DNAT, Hook: tracer.HookPrerouting, Seen: true, Protocol: udp, Src: pod, Dst: service, To: backendB, Tracked: first, In: "cni0"},
		}},
		{"DNAT from a bridge's port", queryOf(rx(7, "veth-client"), changing(in(tracer.HookPrerouting, cni, "cni0"), dnat)), []Question{
			{Deed: DNAT, Hook: tracer.HookPrerouting, Seen: true, Protocol: udp, Src: pod, Dst: service, To: backendB, Tracked: first},
		}},
		{"both at once", queryOf(changing(natted, &both)), []Question{
			{Deed: DNAT, Hook: tracer.HookPrerouting, Seen: true, Protocol: udp, Src: pod, Dst: service, To: backendB, Tracked: first},
			{Deed: SNAT, Hook: tracer.HookPostrouting, Protocol: udp, Src: pod, Dst: backendB, To: gateway, Tracked: first},
		}},
		{"SNAT on its way out", queryOf(changing(in(tracer.HookPostrouting, uplink, "eth0"), snat), tx(uplink, "eth0")), []Question{
			{Deed: SNAT, Hook: tracer.HookPostrouting, Protocol: udp, Src: pod, Dst: backendB, To: gateway, Tracked: first, Out: "eth0"},
		}},
		{"translated back", queryOf(changing(tx(cni, "cni0"), &tracer.Change{Kind: tracer.ChangeUnDNAT, From: backendB, To: service, Conntrack: true})), nil},
		{"tunnel", queryOf(changing(tx(uplink, "eth0"), &tracer.Change{Kind: tracer.ChangeEncap})), nil},
		{"drop", queryOf(rx(cni, "cni0"), dropping(in(tracer.HookForward, cni, "cni0"), tracer.Drop{Function: "nft_do_chain", Hook: tracer.HookForward})), []Question{
			{Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: udp, Src: pod, Dst: backendB, In: "cni0", Known: Known{Backend: BackendNFTables}},
		}},
		{"drop in a tunnel", queryOf(rx(uplink, "eth0"), tunnelled), []Question{
			{Deed: Drop, Hook: tracer.HookInput, Seen: true, Protocol: udp, Src: addrPort("192.0.2.1:5000"), Dst: addrPort("192.0.2.2:4789"), In: "eth0"},
		}},
		{"reject", queryOf(tracer.Hop{Name: "icmp", ICMP: &tracer.ICMP{Type: 3, Code: 3}}, dropping(in(tracer.HookOutput, 0, ""), tracer.Drop{Hook: tracer.HookOutput})), []Question{
			{Deed: Reject, Hook: tracer.HookOutput, Seen: true, Protocol: udp, Src: pod, Dst: backendB},
		}},
		{"drop of a packet with an entry", queryOf(dropping(known, tracer.Drop{Hook: tracer.HookForward})), []Question{
			{Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: udp, Src: pod, Dst: backendB, Tracked: Tracked{State: stateEstablished, Entry: true, Status: 0x2a}},
		}},
		{"drop of a packet of which conntrack was asked", queryOf(looked, dropping(in(tracer.HookForward, cni, "cni0"), tracer.Drop{Hook: tracer.HookForward})), []Question{
			{Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: udp, Src: pod, Dst: backendB, Tracked: Tracked{State: stateInvalid}},
		}},
		{"drop in a hook that the table alone tells", queryOf(refused(&tracer.Table{Tool: "iptables", Name: "filter"}), dropping(in("", cni, "cni0"), tracer.Drop{
			By: &tracer.By{Name: "iptables filter FORWARD", How: tracer.HowSeen, Part: true},
		})), []Question{
			{Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: udp, Src: pod, Dst: backendB, Known: Known{Backend: BackendLegacy, Table: "filter"}},
		}},
		{"seen what did it", queryOf(changing(in(tracer.HookPrerouting, cni, "cni0"), &exact)), nil},
		{"drop past the rules", queryOf(dropping(in(tracer.HookForward, cni, "cni0"), tracer.Drop{Hook: tracer.HookForward, Confirm: true})), nil},
		{"drop by a table that was seen", queryOf(refused(&tracer.Table{Tool: "nftables", Family: "inet", Name: "filter", Chain: "forward"}), seenDrop()), []Question{
			{Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: udp, Src: pod, Dst: backendB, Known: Known{Backend: BackendNFTables, Family: "inet", Table: "filter", Chain: "forward"}},
		}},
		{"drop by a legacy table that was seen", queryOf(refused(&tracer.Table{Tool: "iptables", Name: "mangle"}), seenDrop()), []Question{
			{Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: udp, Src: pod, Dst: backendB, Known: Known{Backend: BackendLegacy, Table: "mangle"}},
		}},
		{"drop by a function that was seen", queryOf(refused(nil), seenDrop()), nil},
		{"IPVS that was seen", queryOf(changing(in(tracer.HookInput, cni, "cni0"), &tracer.Change{Kind: tracer.ChangeDNAT, From: service, To: backendB, Hook: tracer.HookInput, HookHow: tracer.HowSeen, By: &tracer.By{Name: "IPVS", How: tracer.HowSeen, Part: true}})), []Question{
			{Deed: DNAT, Protocol: udp, Src: pod, Dst: service, To: backendB, Tracked: first},
		}},
		{"drop outside netfilter", queryOf(dropping(tx(cni, "cni0"), tracer.Drop{Reason: "NO_SOCKET"})), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeAsker{}
			(&Explainer{asker: f}).Explain(tt.lookup)
			if diff := cmp.Diff(tt.want, f.asked, cmpopts.EquateComparable(addrPort("0.0.0.0:0"))); diff != "" {
				t.Errorf("questions (-want +got):\n%s", diff)
			}
		})
	}
}

// TestIPVSHook holds that a rewrite by IPVS is put where IPVS rewrites, not
// where rules would.
func TestIPVSHook(t *testing.T) {
	answer := &Answer{Name: "IPVS 10.96.0.10:53 → 10.244.2.53:53 rr", IPVS: true}
	for name, tt := range map[string]struct {
		lookup *tracer.Lookup
		want   tracer.Hook
	}{
		"of a pod":  {queryOf(rx(cni, "cni0"), changing(in(tracer.HookOutput, cni, "cni0"), &tracer.Change{Kind: tracer.ChangeDNAT, From: service, To: backendB, Hook: tracer.HookPrerouting, HookHow: tracer.HowInferred, Conntrack: true})), tracer.HookInput},
		"of a node": {queryOf(changing(tx(uplink, "eth0"), &tracer.Change{Kind: tracer.ChangeDNAT, From: service, To: backendB})), tracer.HookOutput},
	} {
		(&Explainer{asker: &fakeAsker{answer: answer}}).Explain(tt.lookup)
		hops := tt.lookup.Legs[0].Hops
		c := hops[len(hops)-1].Change
		if c.Hook != tt.want || c.HookHow != tracer.HowInferred || c.By == nil {
			t.Errorf("lookup %s: at %s, %s, by %v; want %s, inferred", name, c.Hook, c.HookHow, c.By, tt.want)
		}
	}
}

func TestDetail(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outcome tracer.Outcome
		detail  string
		answer  *Answer
		want    string
	}{
		{"a rule", tracer.OutcomeDropped, "the query: DROP", &Answer{Name: ruleSet, Rule: "udp dport 53 drop"}, "the query: DROP by " + ruleSet + ": udp dport 53 drop (inferred)"},
		{"one of several", tracer.OutcomeDropped, "the query: DROP", &Answer{Name: asMany}, "the query: DROP by " + asMany + " (inferred)"},
		{"rejected", tracer.OutcomeRejected, "ICMP port unreachable", &Answer{Name: ruleSet}, "ICMP port unreachable by " + ruleSet + " (inferred)"},
		{"no rule", tracer.OutcomeDropped, "the query: DROP", nil, "the query: DROP"},
		{"the reply was what died", tracer.OutcomeDropped, "the reply: DROP", &Answer{Name: ruleSet}, "the reply: DROP"},
		{"answered after all", tracer.OutcomeAnswered, "", &Answer{Name: ruleSet}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			end := tracer.Drop{Reason: "NETFILTER_DROP", Hook: tracer.HookForward}
			l := queryOf(rx(cni, "cni0"), dropping(in(tracer.HookForward, cni, "cni0"), end))
			l.Outcome, l.Detail, l.FateNetNS = tt.outcome, tt.detail, node
			(&Explainer{asker: &fakeAsker{answer: tt.answer}}).Explain(l)
			if l.Detail != tt.want {
				t.Errorf("detail %q, want %q", l.Detail, tt.want)
			}
		})
	}
}

func TestPrograms(t *testing.T) {
	dnat := &tracer.Change{Kind: tracer.ChangeDNAT, From: service, To: backendB}
	back := &tracer.Change{Kind: tracer.ChangeUnDNAT, From: backendB, To: service}
	ingress, egress, xdp := Device{cni, kernel.PlaceIngress}, Device{uplink, kernel.PlaceEgress}, Device{uplink, kernel.PlaceXDP}
	for _, tt := range []struct {
		name     string
		attached map[Device][]string
		lookup   *tracer.Lookup
		want     *tracer.By
	}{
		{"rewrite at ingress", map[Device][]string{ingress: {"tc BPF program from_pod"}},
			queryOf(rx(cni, "cni0"), changing(tx(uplink, "eth0"), dnat)), &tracer.By{Name: "tc BPF program from_pod on cni0", How: tracer.HowInferred}},
		{"rewrite at ingress, past dnspath's own program", map[Device][]string{ingress: {"tc BPF program from_pod"}},
			queryOf(rx(cni, "cni0"), tracer.Hop{Name: "tc-ingress", Layer: "tc", Ifindex: cni, Dev: "cni0"}, changing(tx(uplink, "eth0"), dnat)),
			&tracer.By{Name: "tc BPF program from_pod on cni0", How: tracer.HowInferred}},
		{"rewrite of a reply at egress", map[Device][]string{egress: {"tc BPF program to_pod"}},
			queryOf(rx(cni, "cni0"), changing(tx(uplink, "eth0"), back)), &tracer.By{Name: "tc BPF program to_pod on eth0", How: tracer.HowInferred}},
		{"one of two", map[Device][]string{ingress: {"tc BPF program a"}, egress: {"tc BPF program b"}},
			queryOf(rx(cni, "cni0"), changing(tx(uplink, "eth0"), dnat)), &tracer.By{Name: "one of: tc BPF program a on cni0, tc BPF program b on eth0", How: tracer.HowInferred}},
		{"none", nil, queryOf(rx(cni, "cni0"), changing(tx(uplink, "eth0"), dnat)), nil},
		{"drop at ingress", map[Device][]string{ingress: {"tc BPF program from_pod"}},
			queryOf(dropping(rx(cni, "cni0"), tracer.Drop{Reason: "TC_INGRESS"})), &tracer.By{Name: "tc BPF program from_pod on cni0", How: tracer.HowInferred}},
		{"drop at egress", map[Device][]string{egress: {"tc flower filter"}},
			queryOf(dropping(tx(uplink, "eth0"), tracer.Drop{Reason: "TC_EGRESS"})), &tracer.By{Name: "tc flower filter on eth0", How: tracer.HowInferred}},
		{"drop at ingress, before 5.17", map[Device][]string{ingress: {"tc BPF program from_pod"}},
			queryOf(dropping(rx(cni, "cni0"), tracer.Drop{Function: "__netif_receive_skb_core"})), &tracer.By{Name: "tc BPF program from_pod on cni0", How: tracer.HowInferred}},
		{"drop at egress by what is not attached now, or by a queue", nil, queryOf(dropping(tx(uplink, "eth0"), tracer.Drop{Function: "__dev_queue_xmit"})), nil},
		{"drop by generic XDP", map[Device][]string{xdp: {"XDP program guard"}},
			queryOf(dropping(rx(uplink, "eth0"), tracer.Drop{Reason: "NOT_SPECIFIED", Function: "do_xdp_generic"})), &tracer.By{Name: "XDP program guard on eth0", How: tracer.HowInferred}},
		{"drop by XDP", map[Device][]string{xdp: {"XDP program guard"}},
			queryOf(dropping(rx(uplink, "eth0"), tracer.Drop{Reason: "XDP"})), &tracer.By{Name: "XDP program guard on eth0", How: tracer.HowInferred}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			(&Explainer{asker: &fakeAsker{attached: tt.attached}}).Explain(tt.lookup)
			hops := tt.lookup.Legs[0].Hops
			last := hops[len(hops)-1]
			var got *tracer.By
			if last.Drop != nil {
				got = last.Drop.By
			} else {
				got = last.Change.By
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("by (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFailure holds that a namespace whose rules can't be read is told once.
func TestFailure(t *testing.T) {
	told := 0
	broken := errors.New("broken")
	x := &Explainer{asker: &fakeAsker{err: broken}, told: map[uint32]bool{}, failed: func(netns uint32, err error) {
		if netns != node || !errors.Is(err, broken) {
			t.Errorf("told of %d: %v", netns, err)
		}
		told++
	}}
	l := queryOf(dropping(in(tracer.HookForward, cni, "cni0"), tracer.Drop{Hook: tracer.HookForward}))
	for range 3 {
		x.Explain(l)
	}
	if told != 1 || l.Legs[0].Hops[0].Drop.By != nil {
		t.Errorf("told %d times, by %v; want once, and nothing", told, l.Legs[0].Hops[0].Drop.By)
	}
}

// TestMemo holds that lookups of one client share an answer, and those that
// rules may treat differently do not.
func TestMemo(t *testing.T) {
	q := func(change func(*Question)) memo {
		q := &Question{Deed: SNAT, Hook: tracer.HookPostrouting, Protocol: udp, Src: pod, Dst: backendB, To: addrPort("192.0.2.1:1025"), Time: 1}
		change(q)
		return memoOf(q)
	}
	one := q(func(*Question) {})
	same := q(func(q *Question) {
		q.Src, q.To, q.Time = addrPort("10.244.1.10:999"), addrPort("192.0.2.1:1026"), 2
	})
	if one != same {
		t.Errorf("%+v and %+v differ", one, same)
	}
	mark := uint32(1)
	for name, change := range map[string]func(*Question){
		"client": func(q *Question) { q.Src = backendA }, "server": func(q *Question) { q.Dst = backendA },
		"target": func(q *Question) { q.To = backendA }, "hook": func(q *Question) { q.Hook = tracer.HookInput },
		"device": func(q *Question) { q.Out = "eth0" }, "mark": func(q *Question) { q.Mark = &mark },
	} {
		if q(change) == one {
			t.Errorf("another %s has the same memo", name)
		}
	}
}
