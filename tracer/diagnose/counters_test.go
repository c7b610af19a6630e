package diagnose

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// counts are counters around the drops of a table.
func counts(rose map[string]uint64) *Counters {
	return &Counters{From: 0, To: uint64(time.Second), Rose: rose}
}

// dropFor is a drop in the server's namespace.
func dropFor(reason string) tracer.Hop {
	return tracer.Hop{Name: "drop", NetNS: nsServer, Drop: &tracer.Drop{Reason: reason, Function: "f"}}
}

func TestCount(t *testing.T) {
	v6 := dropFor("UDP_CSUM")
	v6.Src, v6.Dst = netip.MustParseAddrPort("[fd00::1]:4000"), netip.MustParseAddrPort("[fd00::53]:53")
	vxlan := dropFor("UDP_CSUM")
	vxlan.Src, vxlan.Dst = v6.Src, v6.Dst
	vxlan.Tunnel = &tracer.Tunnel{Kind: "vxlan", Src: netip.MustParseAddrPort("192.0.2.1:4000"), Dst: netip.MustParseAddrPort("192.0.2.2:4789")}
	gre := vxlan
	gre.Tunnel = &tracer.Tunnel{Kind: "gre", Src: netip.MustParseAddrPort("192.0.2.1:0"), Dst: netip.MustParseAddrPort("192.0.2.2:0")}
	inferred := dropFor("")
	inferred.Drop.Inferred = "UDP_CSUM"
	unknown := dropFor("")
	unknown.Drop.Function = "__udp4_lib_rcv"
	const rose, not = "UdpInCsumErrors of dns-b rose by 1 in the 1.0 s around it", "UdpInCsumErrors of dns-b did not rise in the 1.0 s around it"
	for _, c := range []struct {
		name       string
		drop       tracer.Hop
		counters   *Counters
		err        error
		line       string
		confidence tracer.Confidence
	}{
		{name: "agrees", drop: dropFor("UDP_CSUM"), counters: counts(map[string]uint64{"UdpInCsumErrors": 1, "UdpInErrors": 1}), line: rose, confidence: tracer.ConfidenceConfirmed},
		{name: "disagrees", drop: dropFor("UDP_CSUM"), counters: counts(map[string]uint64{"UdpInCsumErrors": 0}), line: not, confidence: tracer.ConfidenceSeen},
		{name: "an older kernel", drop: inferred, counters: counts(map[string]uint64{"UdpInCsumErrors": 1}), line: rose, confidence: tracer.ConfidenceConfirmed},
		{name: "no reason at all", drop: unknown, counters: counts(map[string]uint64{"UdpInCsumErrors": 1, "UdpNoPorts": 0}), line: rose, confidence: tracer.ConfidenceSeen},
		{name: "IPv6", drop: v6, counters: counts(map[string]uint64{"UdpInCsumErrors": 1, "Udp6InCsumErrors": 0}), line: "Udp6InCsumErrors of dns-b did not rise in the 1.0 s around it", confidence: tracer.ConfidenceSeen},
		{name: "a tunnel over IPv4", drop: vxlan, counters: counts(map[string]uint64{"UdpInCsumErrors": 1}), line: rose, confidence: tracer.ConfidenceConfirmed},
		{name: "a tunnel without UDP", drop: gre, counters: counts(map[string]uint64{"UdpInCsumErrors": 1}), confidence: tracer.ConfidenceSeen},
		{name: "a kernel without the counter", drop: dropFor("PROTO_MEM"), counters: counts(map[string]uint64{"UdpInErrors": 1}), confidence: tracer.ConfidenceSeen},
		{name: "a reason that is not always counted", drop: dropFor("PKT_TOO_BIG"), counters: counts(map[string]uint64{"IpFragFails": 0}), confidence: tracer.ConfidenceSeen},
		{name: "another reason", drop: dropFor("QDISC_DROP"), counters: counts(map[string]uint64{"UdpInErrors": 1}), confidence: tracer.ConfidenceSeen},
		{name: "TCP's reason", drop: dropFor("TCP_CSUM"), counters: counts(map[string]uint64{"TcpInCsumErrors": 1}), confidence: tracer.ConfidenceSeen},
		{name: "sampled too late", drop: dropFor("UDP_CSUM"), counters: &Counters{From: 1, To: uint64(time.Second), Rose: map[string]uint64{"UdpInCsumErrors": 1}}, confidence: tracer.ConfidenceSeen},
		{name: "sampled too early", drop: dropFor("UDP_CSUM"), counters: &Counters{To: 2, Rose: map[string]uint64{"UdpInCsumErrors": 1}}, confidence: tracer.ConfidenceSeen},
		{name: "over long", drop: dropFor("UDP_CSUM"), counters: &Counters{To: uint64(time.Minute), Rose: map[string]uint64{"UdpInCsumErrors": 1}}, line: "UdpInCsumErrors of dns-b rose by 1 in the 60.0 s around it", confidence: tracer.ConfidenceSeen},
		{name: "unreadable", drop: dropFor("UDP_CSUM"), err: errors.New("no"), confidence: tracer.ConfidenceSeen},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := fakeLookup(tracer.OutcomeDropped, tracer.Hop{Name: "rx", NetNS: nsServer}, c.drop)
			node := fakeNode{nsServer: {name: "dns-b", counters: c.counters, err: c.err}}
			found := []tracer.Finding{{ID: "x", Confidence: tracer.ConfidenceSeen, Evidence: []string{"dropped: " + dropText(&c.drop)}}}
			(&Case{Lookup: l, node: node}).count(found)
			want := []string{"dropped: " + dropText(&c.drop)}
			if c.line != "" {
				want = append(want, c.line)
			}
			if !slices.Equal(found[0].Evidence, want) || found[0].Confidence != c.confidence {
				t.Errorf("got %q, %s; want %q, %s", found[0].Evidence, found[0].Confidence, want, c.confidence)
			}
		})
	}
}

// TestCountOfSeveral has several findings, of which one tells of the drop; and one
// that does not.
func TestCountOfSeveral(t *testing.T) {
	drop := dropFor("UDP_CSUM")
	l := fakeLookup(tracer.OutcomeDropped, drop)
	c := &Case{Lookup: l, node: fakeNode{nsServer: {name: "dns-b", counters: counts(map[string]uint64{"UdpInCsumErrors": 2})}}}
	found := []tracer.Finding{{ID: "a"}, {ID: "b", Evidence: []string{dropText(&drop)}}}
	c.count(found)
	if len(found[0].Evidence) != 0 || len(found[1].Evidence) != 2 {
		t.Errorf("got %+v, want a line of the second alone", found)
	}
	one := []tracer.Finding{{ID: "a", Confidence: tracer.ConfidenceSeen}}
	c.count(one)
	if len(one[0].Evidence) != 1 || one[0].Confidence != tracer.ConfidenceSeen {
		t.Errorf("got %+v, want a line that proves nothing", one)
	}
}

// TestUnexplainedCounters lists what rose where the packets went.
func TestUnexplainedCounters(t *testing.T) {
	rose := map[string]uint64{"UdpInErrors": 3, "UdpInDatagrams": 50, "IpReasmFails": 0}
	node := fakeNode{nsClient: {name: "client", counters: counts(nil)}, nsNodeA: {name: "node-a", counters: counts(rose)}}
	l := fakeLookup(tracer.OutcomeLost, tracer.Hop{Name: "sent", NetNS: nsClient}, tracer.Hop{Name: "rx", NetNS: nsNodeA})
	f := (&Case{Lookup: l, node: node}).unexplained()
	want := []string{"the query was seen last at rx in node-a", "UdpInErrors of node-a rose by 3 in the 1.0 s around it"}
	if !slices.Equal(f.Evidence, want) {
		t.Errorf("evidence is %q, want %q", f.Evidence, want)
	}
	many := maps.Collect(func(yield func(string, uint64) bool) {
		for _, name := range errorCounters {
			yield(name, 1)
		}
	})
	node[nsNodeA].counters = counts(many)
	if f := (&Case{Lookup: l, node: node}).unexplained(); len(f.Evidence) != 1+maxRises {
		t.Errorf("%d lines of counters", len(f.Evidence)-1)
	}
}
