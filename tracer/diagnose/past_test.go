package diagnose

import (
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

// lookupsAt are lookups at a backend, of which some fail.
func lookupsAt(backend netip.AddrPort, transport tracer.Transport, failed, of int) (all []*tracer.Lookup) {
	for i := range of {
		l := fakeLookup(tracer.OutcomeAnswered, tracer.Hop{Name: "tx", NetNS: nsNodeA})
		if i < failed {
			l.Outcome = tracer.OutcomeLost
		}
		l.Backend, l.Transport = backend, transport
		all = append(all, l)
	}
	return all
}

// checkAfter diagnoses lookups, and then another that is lost.
func checkAfter(t *testing.T, past []*tracer.Lookup, l *tracer.Lookup, want string) {
	t.Helper()
	d := New(fakeNode{nsNodeA: {name: "node-a"}})
	for _, p := range past {
		d.Diagnose(p)
	}
	if d.Diagnose(l); idsOf(l) != want {
		t.Errorf("finding %q, want %q", idsOf(l), want)
	}
	t.Logf("%+v", l.Findings)
}

func TestBackendBroken(t *testing.T) {
	good := netip.MustParseAddrPort("10.244.1.53:53")
	const udp = tracer.TransportUDP
	for _, tt := range []struct {
		name         string
		failed, of   int // before the last
		others, ofOt int
		want         string
	}{
		{"14 of 14", 13, 13, 0, 16, "backend-broken"},
		{"7 of 7", 6, 6, 0, 7, "backend-broken"},
		{"5 of 5 may be chance", 4, 4, 0, 5, Unexplained},
		{"most", 18, 22, 1, 20, "backend-broken"},
		{"half of them", 10, 20, 0, 20, Unexplained},
		{"the others fail too", 20, 20, 6, 20, Unexplained},
		{"no others", 20, 20, 0, 0, Unexplained},
		{"a loss now and then", 0, 500, 5, 500, Unexplained},
	} {
		t.Run(tt.name, func(t *testing.T) {
			past := append(lookupsAt(good, udp, tt.others, tt.ofOt), lookupsAt(backend, udp, tt.failed, tt.of)...)
			checkAfter(t, past, lookupsAt(backend, udp, 1, 1)[0], tt.want)
		})
	}
	t.Run("long ago", func(t *testing.T) {
		past := append(lookupsAt(good, udp, 0, 20), lookupsAt(backend, udp, 20, 20)...)
		last := lookupsAt(backend, udp, 1, 1)[0]
		last.End = 2 * backendMemory
		checkAfter(t, past, last, Unexplained)
	})
}

func TestOneTransportFails(t *testing.T) {
	for transport, other := range map[tracer.Transport]tracer.Transport{tracer.TransportTCP: tracer.TransportUDP, tracer.TransportUDP: tracer.TransportTCP} {
		named := string(transport) + "-only-fails"
		for _, tt := range []struct {
			name       string
			failed, of int // before the last
			others, ok int
			want       string
		}{
			{"always", 3, 3, 0, 2, named},
			{"thrice may be chance", 2, 2, 0, 20, Unexplained},
			{"once", 0, 0, 0, 2, Unexplained},
			{"not always", 3, 4, 0, 2, Unexplained},
			{"the other was tried once", 3, 3, 0, 1, Unexplained},
			{"the other fails too", 3, 3, 1, 3, Unexplained},
		} {
			t.Run(named+" "+tt.name, func(t *testing.T) {
				past := append(lookupsAt(backend, transport, tt.failed, tt.of), lookupsAt(backend, other, tt.others, tt.ok)...)
				checkAfter(t, past, lookupsAt(backend, transport, 1, 1)[0], tt.want)
			})
		}
	}
}
