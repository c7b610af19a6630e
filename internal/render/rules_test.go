package render

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/tracer"
)

// ruled is a lookup with what nftables told of it.
func ruled() *tracer.Lookup {
	l := answered()
	hops := l.Legs[0].Hops
	i := slices.IndexFunc(hops, func(h tracer.Hop) bool { return h.Name == "nat" })
	hops[i].Change.By = &tracer.By{Name: "iptables nat PREROUTING → KUBE-SEP handle 22", Rule: "counter dnat to 10.244.2.53:53", How: tracer.HowSeen}
	hops[i].Rules = []tracer.Rule{
		{Kind: "rule", Hook: tracer.HookPrerouting, Family: "ip", Table: "nat", Base: "PREROUTING", Chain: "PREROUTING", Handle: 9, Verdict: "jump KUBE-SEP"},
		{Kind: "rule", Hook: tracer.HookPrerouting, Family: "ip", Table: "nat", Base: "PREROUTING", Chain: "KUBE-SEP", Handle: 22, Verdict: "accept", Comment: "kube-dns"},
		{Kind: "policy", Hook: tracer.HookPrerouting, Family: "inet", Table: "quiet", Base: "pre", Chain: "pre", Verdict: "accept"},
	}
	hops[i+2].Name, hops[i+2].Drop = "drop", &tracer.Drop{
		Reason: "NETFILTER_DROP", Function: "nft_do_chain", Hook: tracer.HookForward,
		By: &tracer.By{Name: "nftables inet t c\x1b", Rule: "policy drop", How: tracer.HowInferred},
	}
	l.Legs = []tracer.Leg{{Attempt: 1, Hops: hops[i : i+3]}}
	return l
}

func TestRules(t *testing.T) {
	record := sampleContext().View(ruled())
	var text, line bytes.Buffer
	if err := (&Text{}).Write(&text, record); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"  query  10.244.1.10:41522 → 10.244.2.53:53",
		"    +0.0 µs  node-a  PREROUTING  nat   DNAT 10.96.0.10:53 → 10.244.2.53:53 by iptables nat PREROUTING → KUBE-SEP handle 22",
		"             PREROUTING  ip nat: PREROUTING 9, KUBE-SEP 22: accept",
		"     +12 µs  node-a  cni0        rx",
		`     +12 µs  node-a  cni0        DROP  NETFILTER_DROP in nft_do_chain, in hook FORWARD, by nftables inet t c\x1b: policy drop (inferred)`,
	}
	got := strings.Split(strings.TrimSpace(text.String()), "\n")[2:]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if err := WriteJSON(&line, record); err != nil {
		t.Fatal(err)
	}
	if err := validate(t, compileSchema(t), line.String()); err != nil {
		t.Error(err)
	}
}
