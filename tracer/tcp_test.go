package tracer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// stream is a TCP connection of a scene, from the pod to the service.
type stream struct {
	s              *scene
	client, server uint32 // next sequence numbers
	addr           netip.AddrPort
	to             netip.AddrPort
}

func (s *scene) stream() *stream {
	return &stream{s: s, client: 1000, server: 4294967290, addr: webPod, to: service}
}

// fromClient is a segment of the client, that has not left it yet.
func (st *stream) fromClient(t TCP, payload []byte) *packet {
	number := st.s.id()
	t.Seq, t.Len = st.client, uint16(len(payload))
	st.client += uint32(len(payload))
	if t.SYN || t.FIN {
		st.client++
	}
	return &packet{s: st.s, id: number, src: st.addr, dst: st.to, ipid: uint16(1000 + number), ttl: 64, message: payload, fresh: true, tcp: &t}
}

// fromServer is a segment of the server, with its own address.
func (st *stream) fromServer(t TCP, payload []byte) *packet {
	number := st.s.id()
	t.Seq, t.Len, t.ACK = st.server, uint16(len(payload)), true
	st.server += uint32(len(payload))
	if t.SYN || t.FIN {
		st.server++
	}
	return &packet{
		s: st.s, id: number, src: backend, dst: st.addr, ipid: uint16(1000 + number), ttl: 64, message: payload, fresh: true, tcp: &t,
		response: true,
	}
}

// reachServer takes a segment to the server's TCP, where it stays.
func (p *packet) reachServer() *packet {
	return p.leavePod().translate().forward().encapsulate().crossWire().decapsulate().enterServer()
}

// comeHome takes a segment to the client's TCP.
func (p *packet) comeHome() *packet {
	return p.leaveServer().enterNodeA(service).untranslate(service).enterPod()
}

// open is the handshake.
func (st *stream) open() {
	st.fromClient(TCP{SYN: true}, nil).reachServer()
	st.fromServer(TCP{SYN: true}, nil).comeHome()
}

// again is a packet of its own with the same bytes.
func (p *packet) again() *packet {
	repeated := *p
	number := p.s.id()
	repeated.id, repeated.ipid, repeated.fresh, repeated.sender = number, uint16(1000+number), true, 0
	repeated.tunnel, repeated.ct, repeated.hook, repeated.ttl = nil, nil, "", 64
	if !p.response {
		repeated.dst = service
	} else {
		repeated.src = backend
	}
	return &repeated
}

// framed is a message as a stream carries it.
func framed(p *packet) []byte {
	return append([]byte{byte(len(p.message) >> 8), byte(len(p.message))}, p.message...)
}

func (st *stream) question(id uint16, name string, qtype uint16) (query, reply []byte) {
	q := st.s.query(st.addr, st.to, id, name, qtype)
	return framed(q), framed(q.reply())
}

// TestStream has lookups over TCP, as a user is told of them.
func TestStream(t *testing.T) {
	data := TCP{ACK: true}
	healthy := []string{"SYN", "SYN-ACK", "data", "data back"}
	for _, tt := range []struct {
		name  string
		scene func(*stream)
		want  []streamed
	}{
		{"one question", func(st *stream) {
			q, r := st.question(1, "a.example.test.", dns.TypeA)
			st.open()
			st.fromClient(data, q).reachServer()
			st.fromServer(data, r).comeHome()
			st.fromClient(TCP{FIN: true, ACK: true}, nil).reachServer()
			st.fromServer(TCP{FIN: true}, nil).comeHome()
		}, []streamed{{"a.example.test.", OutcomeAnswered, "", 1, healthy}}},
		{"two at once, answered the other way round", func(st *stream) {
			q1, r1 := st.question(1, "a.example.test.", dns.TypeA)
			q2, r2 := st.question(2, "b.example.test.", dns.TypeA)
			st.open()
			st.fromClient(data, slices.Concat(q1, q2)).reachServer()
			st.fromServer(data, r2).comeHome()
			st.fromServer(data, r1).comeHome()
		}, []streamed{
			{"b.example.test.", OutcomeAnswered, "", 1, []string{"data", "data back"}},
			{"a.example.test.", OutcomeAnswered, "", 1, healthy},
		}},
		{"one after the other, with one ID for A and AAAA", func(st *stream) {
			q1, r1 := st.question(1, "a.example.test.", dns.TypeA)
			q2, r2 := st.question(1, "a.example.test.", dns.TypeAAAA)
			st.open()
			st.fromClient(data, q1).reachServer()
			st.fromClient(data, q2).reachServer()
			st.fromServer(data, slices.Concat(r2, r1)).comeHome()
		}, []streamed{
			{"a.example.test.", OutcomeAnswered, "", 1, healthy},
			{"a.example.test.", OutcomeAnswered, "", 1, []string{"data", "data back"}},
		}},
		{"messages cut into segments", func(st *stream) {
			q, r := st.question(1, "a.example.test.", dns.TypeA)
			st.open()
			st.fromClient(data, q[:1]).reachServer()
			st.fromClient(data, q[1:5]).reachServer()
			st.fromClient(data, q[5:]).reachServer()
			st.fromServer(data, r[:2]).comeHome()
			st.fromServer(data, r[2:]).comeHome()
		}, []streamed{{"a.example.test.", OutcomeAnswered, "", 1, []string{"SYN", "SYN-ACK", "data", "data", "data", "data back", "data back"}}}},
		{"segments out of order", func(st *stream) {
			q, r := st.question(1, "a.example.test.", dns.TypeA)
			st.open()
			first, second := st.fromClient(data, q[:20]), st.fromClient(data, q[20:])
			second.reachServer()
			first.reachServer()
			st.fromServer(data, r).comeHome()
		}, []streamed{{"a.example.test.", OutcomeAnswered, "", 1, []string{"SYN", "SYN-ACK", "data", "data", "data back"}}}},
		{"no SYN-ACK", func(st *stream) {
			syn := st.fromClient(TCP{SYN: true}, nil)
			syn.reachServer()
			st.s.pass(time.Second)
			syn.again().reachServer()
		}, []streamed{{"", OutcomeLost, "SYN sent 2 times, no SYN-ACK was seen", 2, []string{"SYN", "SYN again"}}}},
		{"SYN dropped", func(st *stream) {
			st.fromClient(TCP{SYN: true}, nil).leavePod().translate().hooks(aBridge, HookForward).inHook().drop(aBridge, "NETFILTER_DROP", "nf_hook_slow")
		}, []streamed{{"", OutcomeDropped, "the SYN: NETFILTER_DROP in nf_hook_slow (FORWARD)", 1, []string{"SYN"}}}},
		{"refused", func(st *stream) {
			st.fromClient(TCP{SYN: true}, nil).reachServer()
			st.fromServer(TCP{RST: true}, nil).comeHome()
		}, []streamed{{"", OutcomeRejected, "TCP reset by 10.244.2.53:53", 1, []string{"SYN", "RST back"}}}},
		{"reset instead of an answer", func(st *stream) {
			q, _ := st.question(1, "a.example.test.", dns.TypeA)
			st.open()
			st.fromClient(data, q).reachServer()
			st.fromServer(TCP{RST: true}, nil).comeHome()
		}, []streamed{{"a.example.test.", OutcomeRejected, "TCP reset by 10.244.2.53:53", 1, []string{"SYN", "SYN-ACK", "data", "RST back"}}}},
		{"closed without an answer", func(st *stream) {
			q, _ := st.question(1, "a.example.test.", dns.TypeA)
			st.open()
			st.fromClient(data, q).reachServer()
			st.fromServer(TCP{FIN: true}, nil).comeHome()
			st.fromClient(TCP{FIN: true, ACK: true}, nil).reachServer()
		}, []streamed{{
			"a.example.test.", OutcomeRejected, "the server closed the connection without an answer", 1,
			[]string{"SYN", "SYN-ACK", "data", "FIN back", "FIN"},
		}}},
		{"half an answer", func(st *stream) {
			q, r := st.question(1, "a.example.test.", dns.TypeA)
			st.open()
			st.fromClient(data, q).reachServer()
			st.fromServer(data, r[:10]).comeHome()
			st.fromServer(TCP{FIN: true}, nil).comeHome()
		}, []streamed{{
			"a.example.test.", OutcomeRejected, "the server closed the connection in the midst of its answer", 1,
			[]string{"SYN", "SYN-ACK", "data", "FIN back", "data back"},
		}}},
		{"SYN-ACK dropped, and repeated when the client is gone", func(st *stream) {
			st.fromClient(TCP{SYN: true}, nil).reachServer()
			p := st.fromServer(TCP{SYN: true}, nil)
			p.tx(dnsEth0).rx(bVeth).drop(bVeth, "QDISC_DROP", "qdisc")
			st.s.pass(time.Second)
			p.again().comeHome().drop(podEth0, "NO_SOCKET", "tcp_v4_rcv")
			st.fromClient(TCP{RST: true}, nil).reachServer()
		}, []streamed{{
			"", OutcomeDropped, "the SYN-ACK: QDISC_DROP in qdisc: the device's queue (qdisc) dropped it", 1,
			[]string{"SYN", "SYN-ACK", "SYN-ACK again", "RST"},
		}}},
		{"SYN-ACK too late", func(st *stream) {
			st.fromClient(TCP{SYN: true}, nil).reachServer()
			st.s.pass(time.Second)
			st.fromServer(TCP{SYN: true}, nil).comeHome().drop(podEth0, "NO_SOCKET", "tcp_v4_rcv")
			st.fromClient(TCP{RST: true}, nil).reachServer()
		}, []streamed{{"", OutcomeLost, "the SYN-ACK came when the client had given up", 1, []string{"SYN", "SYN-ACK", "RST"}}}},
		{"the client gives up", func(st *stream) {
			q, _ := st.question(1, "a.example.test.", dns.TypeA)
			st.open()
			st.fromClient(data, q).reachServer()
			st.s.pass(2 * time.Second)
			st.fromClient(TCP{FIN: true, ACK: true}, nil).reachServer()
		}, []streamed{{
			"a.example.test.", OutcomeLost, "the client closed the connection without an answer after 2s", 1,
			[]string{"SYN", "SYN-ACK", "data", "FIN"},
		}}},
		{"the reply is dropped, again and again", func(st *stream) {
			q, r := st.question(1, "a.example.test.", dns.TypeA)
			st.open()
			st.fromClient(data, q).reachServer()
			reply := st.fromServer(data, r)
			reply.leaveServer().drop(aEth0, "SOME_REASON", "some_function")
			st.s.pass(200 * time.Millisecond)
			reply.again().leaveServer().drop(aEth0, "SOME_REASON", "some_function")
		}, []streamed{{
			"a.example.test.", OutcomeDropped, "the reply: SOME_REASON in some_function", 1,
			[]string{"SYN", "SYN-ACK", "data", "data back", "data back again"},
		}}},
		{"a dropped segment comes again", func(st *stream) {
			q, r := st.question(1, "a.example.test.", dns.TypeA)
			st.open()
			query := st.fromClient(data, q)
			query.leavePod().drop(aVeth, "QDISC_DROP", "qdisc")
			st.s.pass(200 * time.Millisecond)
			query.again().reachServer()
			st.fromServer(data, r).comeHome()
		}, []streamed{{"a.example.test.", OutcomeAnswered, "", 2, []string{"SYN", "SYN-ACK", "data", "data again", "data back"}}}},
		{"SYN-ACK past conntrack", func(st *stream) {
			st.fromClient(TCP{SYN: true}, nil).reachServer()
			p := st.fromServer(TCP{SYN: true}, nil)
			p.tx(dnsEth0).rx(aVeth).rx(podEth0).drop(podEth0, "NO_SOCKET", "tcp_v4_rcv")
			st.fromClient(TCP{RST: true}, nil).reachServer()
		}, []streamed{{
			"", OutcomeUnexpectedSource, "the reply came from 10.244.2.53:53, the client had asked 10.96.0.10:53", 1,
			[]string{"SYN", "SYN-ACK", "RST"},
		}}},
		{"a health check asks nothing", func(st *stream) {
			st.open()
			st.fromClient(TCP{FIN: true, ACK: true}, nil).reachServer()
			st.fromServer(TCP{FIN: true}, nil).comeHome()
		}, nil},
		{"the trace begins in the middle", func(st *stream) {
			q, r := st.question(1, "a.example.test.", dns.TypeA)
			st.fromClient(data, q).reachServer()
			st.fromServer(data, r).comeHome()
		}, []streamed{{"a.example.test.", OutcomeAnswered, "", 1, []string{"data", "data back"}}}},
		{"ports used again", func(st *stream) {
			for i := range uint16(2) {
				q, r := st.question(1+i, "a.example.test.", dns.TypeA)
				st.client += 100000
				st.open()
				st.fromClient(data, q).reachServer()
				st.fromServer(data, r).comeHome()
				st.fromClient(TCP{FIN: true, ACK: true}, nil).reachServer()
				st.s.pass(time.Second)
			}
		}, []streamed{
			{"a.example.test.", OutcomeAnswered, "", 1, healthy},
			{"a.example.test.", OutcomeAnswered, "", 1, healthy},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.scene(s.stream())
			var got []streamed
			for _, l := range correlate(t, CorrelatorOptions{}, s.events) {
				got = append(got, streamedOf(l))
			}
			if diff := gocmp.Diff(tt.want, got); diff != "" {
				t.Errorf("lookups (-want +got):\n%s", diff)
			}
		})
	}
}

// streamed is what a user is told of a lookup over TCP.
type streamed struct {
	Name     string
	Outcome  Outcome
	Detail   string
	Attempts int
	Legs     []string
}

func streamedOf(l *Lookup) streamed {
	v := streamed{Name: l.Question.Name, Outcome: l.Outcome, Detail: l.Detail, Attempts: l.Attempts}
	for _, leg := range l.Legs {
		name := leg.Segment
		if leg.Response && name != "SYN-ACK" {
			name += " back"
		}
		if leg.Again {
			name += " again"
		}
		v.Legs = append(v.Legs, name)
	}
	if l.Transport != TransportTCP || l.Incomplete {
		v.Detail += fmt.Sprintf(" transport %s incomplete %v", l.Transport, l.Why)
	}
	return v
}

// cut sends bytes in segments of random sizes, now and then in the wrong order, or twice.
func cut(random *rand.Rand, b []byte, segment func([]byte) *packet, send func(*packet)) {
	var segments []*packet
	for len(b) > 0 {
		n := min(1+random.IntN(60), len(b))
		segments = append(segments, segment(b[:n]))
		b = b[n:]
	}
	for i := 1; i < len(segments); i++ {
		if random.IntN(4) == 0 {
			segments[i-1], segments[i] = segments[i], segments[i-1]
		}
	}
	for _, p := range segments {
		send(p)
		if random.IntN(4) == 0 {
			send(p.again())
		}
	}
}

// TestSYNTooLate holds that a SYN which is repeated when its lookup's time is up
// is no lookup of its own.
func TestSYNTooLate(t *testing.T) {
	s := newScene()
	syn := s.stream().fromClient(TCP{SYN: true}, nil)
	for range 4 {
		syn.leavePod().drop(aVeth, "QDISC_DROP", "qdisc")
		s.pass(4 * time.Second)
		syn = syn.again()
	}
	var got []streamed
	for _, l := range correlateLive(t, s.events) {
		got = append(got, streamedOf(l))
	}
	if diff := gocmp.Diff([]streamed{{
		"", OutcomeDropped, "the SYN: QDISC_DROP in qdisc: the device's queue (qdisc) dropped it", 2, []string{"SYN", "SYN again"},
	}}, got); diff != "" {
		t.Errorf("lookups (-want +got):\n%s", diff)
	}
}

// TestSegmentAgain has IPv6: no IP ID, and the same memory.
func TestSegmentAgain(t *testing.T) {
	s := newScene()
	s.blind = true
	st := s.stream()
	syn := st.fromClient(TCP{SYN: true}, nil)
	syn.reachServer()
	repeated := syn.again()
	repeated.id, repeated.ipid = syn.id, syn.ipid
	repeated.sender = podEth0.ns
	repeated.see(ProbeNetDevStartXmit, podEth0).rx(aVeth)
	lookups := correlate(t, CorrelatorOptions{}, s.events)
	if len(lookups) != 1 {
		t.Fatalf("%d lookups, want 1", len(lookups))
	}
	if diff := gocmp.Diff([]string{"SYN", "SYN again"}, streamedOf(lookups[0]).Legs); diff != "" {
		t.Errorf("legs (-want +got):\n%s", diff)
	}
}

// TestSegmentJoined has a query that the server's busy socket appends to an
// acknowledgement, and a repeated one of which the first copy is lost.
func TestSegmentJoined(t *testing.T) {
	for _, tt := range []struct {
		name string
		send func(q *packet) *packet // returns what arrives
		want []string                // the query's legs
	}{
		{"once", (*packet).reachServer, []string{"query 1: read dns/eth0"}},
		{"repeated", func(q *packet) *packet {
			q.leavePod().translate().forward()
			q.s.pass(200 * time.Millisecond)
			return q.again().reachServer()
		}, []string{"query 1: tx node-a/flannel.1", "query 2: read dns/eth0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			st := s.stream()
			q, r := st.question(1, "a.example.test.", dns.TypeA)
			st.open()
			joined := *tt.send(st.fromClient(TCP{ACK: true}, q))
			joined.id, joined.ipid, joined.fresh = s.id(), 999, true // the acknowledgement's
			for range 2 {                                            // its length, and the message
				joined.see(ProbeRead, dnsEth0)
			}
			st.fromServer(TCP{ACK: true}, r).comeHome()
			lookups := correlate(t, CorrelatorOptions{}, s.events)
			if len(lookups) != 1 {
				t.Fatalf("%d lookups, want 1", len(lookups))
			}
			v := verdictOf(lookups[0])
			got := v.Legs[2 : len(v.Legs)-1] // between the handshake and the reply
			if diff := gocmp.Diff(tt.want, got); diff != "" || v.Attempts != len(tt.want) || v.Outcome != OutcomeAnswered {
				t.Errorf("%s after %d attempts (-want +got):\n%s", v.Outcome, v.Attempts, diff)
			}
		})
	}
}

// TestStreamCut holds that each question on a connection is a lookup of its own,
// with its answer, wherever segments begin and in whichever order they come.
func TestStreamCut(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := newScene()
		st := s.stream()
		st.client, st.server = random.Uint32(), random.Uint32()
		want := map[string]string{}
		var queries, replies []byte
		for i := range 1 + random.IntN(8) {
			name := fmt.Sprintf("n%d.example.test.", i)
			q, r := st.question(uint16(i), name, dns.TypeA)
			queries, replies = slices.Concat(queries, q), slices.Concat(r, replies)
			want[name] = fmt.Sprintf("answered %d with [203.0.113.7]", i)
		}
		st.open()
		cut(random, queries, func(b []byte) *packet { return st.fromClient(TCP{ACK: true}, b) }, func(p *packet) { p.reachServer() })
		cut(random, replies, func(b []byte) *packet { return st.fromServer(TCP{ACK: true}, b) }, func(p *packet) { p.comeHome() })
		got := map[string]string{}
		for _, l := range correlate(t, CorrelatorOptions{}, s.events) {
			if _, twice := got[l.Question.Name]; twice {
				t.Errorf("seed %d: %s is two lookups", seed, l.Question.Name)
			}
			got[l.Question.Name] = fmt.Sprintf("%s %d with %v", l.Outcome, l.DNSID, l.Reply.Answers)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("seed %d: lookups (-want +got):\n%s", seed, diff)
		}
	}
}
