package diagnose

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

// unconfirmedDrop is the drop of a packet with an entry that is not in the table.
func unconfirmedDrop(d tracer.Drop, from netip.AddrPort) tracer.Hop {
	h := dropIn(tracer.HookPostrouting, d)
	h.CT = &tracer.Conntrack{
		Info: 2, Orig: tracer.Flow{Src: client, Dst: service}, Reply: tracer.Flow{Src: backend, Dst: from},
	}
	return h
}

func TestSNATPortsExhausted(t *testing.T) {
	node := netip.MustParseAddrPort("192.0.2.1:4000")
	other := netip.MustParseAddrPort("10.244.1.11:999")
	taken := &fakeNS{name: "node-b", entries: []ConntrackEntry{{
		Transport: tracer.TransportUDP, Orig: tracer.Flow{Src: other, Dst: service}, Reply: tracer.Flow{Src: backend, Dst: node},
	}}}
	free := &fakeNS{name: "node-b", entries: []ConntrackEntry{{
		Transport: tracer.TransportUDP, Orig: tracer.Flow{Src: client, Dst: service}, Reply: tracer.Flow{Src: backend, Dst: node},
	}}}
	unread := &fakeNS{name: "node-b", err: errors.New("no permission")}
	confirmed := unconfirmedDrop(tracer.Drop{}, node)
	confirmed.CT.Status = 1 << 3
	const finding = "snat-ports-exhausted"
	for _, c := range []struct {
		name string
		node *fakeNS
		drop tracer.Hop
		want string
	}{
		{"seen, and the clash is there", taken, unconfirmedDrop(tracer.Drop{Confirm: true}, node), finding},
		{"not seen, and the clash is there", taken, unconfirmedDrop(tracer.Drop{}, node), finding},
		{"seen", unread, unconfirmedDrop(tracer.Drop{Confirm: true}, node), finding},
		{"not seen, and no clash", free, unconfirmedDrop(tracer.Drop{}, node), Unexplained},
		{"not seen, and nothing known", unread, unconfirmedDrop(tracer.Drop{}, node), Unexplained},
		{"its own source", taken, unconfirmedDrop(tracer.Drop{Confirm: true}, client), Unexplained},
		{"an entry of the table", taken, confirmed, Unexplained},
		{"by a rule", taken, unconfirmedDrop(tracer.Drop{By: byRule("iptables mangle POSTROUTING", "-j DROP")}, node), "policy-drop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkDiagnosis(t, fakeNode{nsNodeB: c.node}, fakeLookup(tracer.OutcomeDropped, c.drop), c.want)
		})
	}
}

func TestConntrackRace(t *testing.T) {
	race := func(apart uint64, from netip.AddrPort, d tracer.Drop) (lost *tracer.Lookup) {
		lost, won := fakeLookup(tracer.OutcomeDropped, unconfirmedDrop(d, client)), fakeLookup(tracer.OutcomeAnswered)
		lost.Start, won.Start = 5e9+apart, 5e9
		won.Client = from
		New(fakeNode{nsNodeB: {name: "node-b"}}).Diagnose(won, lost)
		return lost
	}
	for _, c := range []struct {
		name string
		lost *tracer.Lookup
		want string
	}{
		{"two of one socket", race(4e5, client, tracer.Drop{Confirm: true}), "conntrack-race"},
		{"long after", race(5e7, client, tracer.Drop{Confirm: true}), Unexplained},
		{"another socket", race(4e5, backend, tracer.Drop{Confirm: true}), Unexplained},
		{"not seen where", race(4e5, client, tracer.Drop{}), Unexplained},
	} {
		if c.lost.Findings[0].ID != c.want {
			t.Errorf("%s: %+v, want %s", c.name, c.lost.Findings, c.want)
		}
	}
}
