package diagnose

import (
	"testing"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

func TestLateReply(t *testing.T) {
	node := fakeNode{nsServer: {name: "dns-b"}, nsClient: {name: "client"}, nsNodeA: {name: "node-a"}}
	dropped := func(reason string) tracer.Hop {
		return tracer.Hop{Name: "drop", NetNS: nsClient, Src: service, Dst: client, Drop: &tracer.Drop{Reason: reason}}
	}
	// late is a lookup whose reply comes after some time, most of which passed
	// before, or after, its server got the query.
	late := func(outcome tracer.Outcome, total, before, after time.Duration, drop tracer.Hop) *tracer.Lookup {
		l := fakeLookup(outcome, tracer.Hop{Name: "tx", Layer: "device", NetNS: nsClient}, tracer.Hop{Name: "socket", Layer: "socket", NetNS: nsServer})
		l.Legs[0].Hops[1].Time = uint64(before)
		drop.Time = uint64(total)
		l.Legs = append(l.Legs, tracer.Leg{Response: true, Hops: []tracer.Hop{
			{Name: "tx", Layer: "device", NetNS: nsServer, Src: backend, Dst: client, Time: uint64(before + after)}, drop,
		}})
		return l
	}
	const ms = time.Millisecond
	far := late(tracer.OutcomeDropped, 2000*ms, 1*ms, 1998*ms, dropped("NO_SOCKET"))
	far.Legs[0].Hops[1] = tracer.Hop{Name: "tx", Dev: "eth0", NetNS: nsNodeA, Time: uint64(ms), Src: client, Dst: backend}
	far.Legs[1].Hops[0].Name, far.Legs[1].Hops[0].NetNS = "rx", nsNodeA
	// The kernel may free a datagram long after it was read, which is when its reading is seen.
	freedLate := late(tracer.OutcomeDropped, 400*ms, 1*ms, 398*ms, dropped("NO_SOCKET"))
	freedLate.Legs[0].Hops = append(freedLate.Legs[0].Hops, tracer.Hop{Name: "read", Layer: "socket", NetNS: nsServer, Dst: backend, Time: uint64(390 * ms)})
	elsewhere := dropped("NO_SOCKET")
	elsewhere.NetNS = nsNodeA
	untranslated := dropped("NO_SOCKET")
	untranslated.Src = backend
	purged := dropped("NOT_SPECIFIED")
	purged.Drop.Function = "udp_destruct_common"
	purgedElsewhere := purged
	purgedElsewhere.NetNS = nsNodeA
	tests := []struct {
		name string
		l    *tracer.Lookup
		want string
	}{
		{"soon", late(tracer.OutcomeDropped, 40*ms, 1*ms, 38*ms, dropped("NO_SOCKET")), "client-gone"},
		{"slow", late(tracer.OutcomeDropped, 2000*ms, 1*ms, 1998*ms, dropped("NO_SOCKET")), "server-slow"},
		{"closed with the reply in it", late(tracer.OutcomeDropped, 400*ms, 1*ms, 398*ms, purged), "client-gone"},
		{"another socket was", late(tracer.OutcomeDropped, 400*ms, 1*ms, 398*ms, purgedElsewhere), Unexplained},
		{"slow, and freed late", freedLate, "server-slow"},
		{"slow, beyond the node", far, "server-slow"},
		{"slow on its way", late(tracer.OutcomeDropped, 2000*ms, 1500*ms, 1*ms, dropped("NO_SOCKET")), Unexplained},
		{"a socket that has no room", late(tracer.OutcomeDropped, 2000*ms, 1*ms, 1998*ms, dropped("SOCKET_RCVBUFF")), Unexplained},
		{"not at the client", late(tracer.OutcomeDropped, 40*ms, 1*ms, 38*ms, elsewhere), Unexplained},
		{"from another address", late(tracer.OutcomeUnexpectedSource, 40*ms, 1*ms, 38*ms, untranslated), Unexplained},
		{"it came twice", late(tracer.OutcomeAnswered, 40*ms, 1*ms, 38*ms, dropped("NO_SOCKET")), ""},
	}
	t.Run("slow, and answered before", func(t *testing.T) {
		d := New(node)
		d.Diagnose(fakeLookup(tracer.OutcomeAnswered))
		l := late(tracer.OutcomeDropped, 2000*ms, 1*ms, 1998*ms, dropped("NO_SOCKET"))
		if d.Diagnose(l); idsOf(l) != "client-gone" {
			t.Errorf("finding %q, want client-gone", idsOf(l))
		}
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == "" {
				checkDiagnosis(t, node, tt.l)
				return
			}
			checkDiagnosis(t, node, tt.l, tt.want)
		})
	}
}
