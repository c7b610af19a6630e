package tracer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// asker makes up lookups of one client, whose packets are seen where they are
// sent and where they arrive. Each has a port and an ID of its own.
type asker struct {
	*scene
	at     place
	addr   netip.Addr
	server netip.AddrPort
	pid    uint32
	port   uint16
	id     uint16
}

func newAsker(s *scene) *asker {
	return &asker{scene: s, at: podEth0, addr: webPod.Addr(), server: backend, pid: 4242, port: 40000, id: 100}
}

// ask sends a query, from a new port.
func (a *asker) ask(name string, qtype uint16) *packet {
	a.port++
	return a.again(name, qtype)
}

// again sends a query from the port of the one before.
func (a *asker) again(name string, qtype uint16) *packet {
	a.id++
	return a.send(a.id, name, qtype)
}

func (a *asker) send(id uint16, name string, qtype uint16) *packet {
	q := a.query(netip.AddrPortFrom(a.addr, a.port), a.server, id, name, qtype)
	return q.device(ProbeNetDevQueue, a.at, func(e *Event) {
		e.PID, e.Comm = a.pid, "app"
	})
}

// answered sends a query and its answer.
func (a *asker) answered(name string, qtype uint16, edit ...func(*dns.Msg)) {
	a.answer(a.ask(name, qtype), edit...)
}

// answer answers a query from where it went.
func (a *asker) answer(q *packet, edit ...func(*dns.Msg)) {
	q.replyWith(edit...).rx(a.at).read(a.at, a.pid, "app")
}

// replyWith answers p with what edit makes of the answer.
func (p *packet) replyWith(edit ...func(*dns.Msg)) *packet {
	r := p.reply()
	m := new(dns.Msg)
	if err := m.Unpack(r.message); err != nil {
		panic(err)
	}
	for _, change := range edit {
		change(m)
	}
	r.message = mustPack(m)
	return r
}

func rcode(code int) func(*dns.Msg) {
	return func(m *dns.Msg) { m.Rcode, m.Answer = code, nil }
}

// overTCP asks over a connection of its own, and is answered.
func (a *asker) overTCP(name string, qtype uint16) {
	a.port++
	a.id++
	st := &stream{s: a.scene, client: uint32(a.port) << 8, server: 7, addr: netip.AddrPortFrom(a.addr, a.port), to: a.server}
	query, reply := st.question(a.id, name, qtype)
	send := func(t TCP, payload []byte) {
		st.fromClient(t, payload).device(ProbeNetDevQueue, a.at, func(e *Event) { e.PID, e.Comm = a.pid, "app" })
	}
	get := func(t TCP, payload []byte) {
		p := st.fromServer(t, payload)
		p.src = a.server
		p.rx(a.at)
	}
	send(TCP{SYN: true}, nil)
	get(TCP{SYN: true}, nil)
	send(TCP{ACK: true}, query)
	get(TCP{}, reply)
	send(TCP{ACK: true, FIN: true}, nil)
}

var (
	nxdomain  = rcode(dns.RcodeNameError)
	noRecords = rcode(dns.RcodeSuccess)
)

func truncate(m *dns.Msg) { m.Truncated, m.Answer = true, nil }

// told is what a user is told of how lookups belong together: a line for each,
// with the number of its story, its question, and its links by the places of
// their lookups in the list.
func told(lookups []*Lookup) []string {
	places, numbers := map[Ref]int{}, map[*Story]int{}
	for i, l := range lookups {
		places[l.Ref()] = i + 1
	}
	var lines []string
	for i, l := range lookups {
		line := fmt.Sprintf("%d: ", i+1)
		if l.Story != nil {
			if numbers[l.Story] == 0 {
				numbers[l.Story] = len(numbers) + 1
			}
			line += fmt.Sprintf("story %d: ", numbers[l.Story])
		}
		line += fmt.Sprintf("%s %s", l.Question.Name, dns.TypeToString[l.Question.Type])
		for _, link := range l.Links {
			line += fmt.Sprintf(", %s %d", link.Kind, places[link.Ref])
			if link.Try != 0 {
				line += fmt.Sprintf(" try %d", link.Try)
			}
			if link.How == HowInferred {
				line += " inferred"
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// forwarder is a server in the DNS pod, that asks upstream as another process may.
func forwarder(s *scene) *asker {
	return &asker{scene: s, at: dnsEth0, addr: backend.Addr(), server: netip.MustParseAddrPort("192.0.2.53:53"), pid: 99, port: 50000, id: 500}
}

// nodeCache is a server in the node's own network namespace.
func nodeCache(s *scene) *asker {
	return &asker{scene: s, at: aEth0, addr: nodeAddr.Addr(), server: backend, pid: 77, port: 45000, id: 300}
}

// storyCase is a scene and how its lookups belong together.
type storyCase struct {
	name  string
	scene func(s *scene, a *asker)
	want  []string
}

// correlateLive gives events to a new Correlator, whose clock goes with them.
func correlateLive(t *testing.T, events []*Event) []*Lookup {
	t.Helper()
	var done []*Lookup
	c := NewCorrelator(CorrelatorOptions{}, func(l *Lookup) { done = append(done, l) })
	for _, e := range events {
		for c.now != 0 && c.now+uint64(10*time.Millisecond) < e.Time {
			c.Advance(c.now + uint64(10*time.Millisecond))
		}
		c.Add(e)
	}
	c.Advance(c.now + uint64(time.Minute))
	n := len(done)
	c.Flush()
	if len(done) != n {
		t.Errorf("%d lookups were open or held back a minute after their last event", len(done)-n)
	}
	wantEmpty(t, c)
	return done
}

func checkStories(t *testing.T, tests []storyCase) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.scene(s, newAsker(s))
			if diff := gocmp.Diff(tt.want, told(correlateLive(t, s.events))); diff != "" {
				t.Errorf("lookups (-want +got):\n%s", diff)
			}
		})
	}
}

const (
	typeA    = dns.TypeA
	typeAAAA = dns.TypeAAAA
)

func TestSiblings(t *testing.T) {
	checkStories(t, []storyCase{
		{"from one socket", func(s *scene, a *asker) {
			q4, q6 := a.ask("a.test.", typeA), a.again("A.test.", typeAAAA)
			a.answer(q6)
			a.answer(q4)
		}, []string{"1: story 1: a.test. A, sibling 2", "2: story 1: A.test. AAAA, sibling 1"}},
		{"from two sockets of one process", func(s *scene, a *asker) {
			q4, q6 := a.ask("a.test.", typeA), a.ask("a.test.", typeAAAA)
			a.answer(q4)
			a.answer(q6)
		}, []string{"1: story 1: a.test. A, sibling 2", "2: story 1: a.test. AAAA, sibling 1"}},
		{"of an unknown process", func(s *scene, a *asker) {
			a.pid = 0
			a.answered("a.test.", typeA)
			a.answered("a.test.", typeAAAA)
		}, []string{"1: story 1: a.test. A, sibling 2 inferred", "2: story 1: a.test. AAAA, sibling 1 inferred"}},
		{"three types", func(s *scene, a *asker) {
			a.answered("a.test.", typeA)
			a.answered("a.test.", typeAAAA)
			a.answered("a.test.", dns.TypeHTTPS)
		}, []string{
			"1: story 1: a.test. A, sibling 2, sibling 3", "2: story 1: a.test. AAAA, sibling 1, sibling 3",
			"3: story 1: a.test. HTTPS, sibling 2, sibling 1",
		}},
		{"one lost", func(s *scene, a *asker) {
			a.answered("a.test.", typeA)
			a.ask("a.test.", typeAAAA)
		}, []string{"1: story 1: a.test. A, sibling 2", "2: story 1: a.test. AAAA, sibling 1"}},
		{"at two servers at once", func(s *scene, a *asker) {
			a.ask("a.test.", typeA)
			a.server = service
			a.send(a.id, "a.test.", typeA)
		}, []string{"1: story 1: a.test. A, sibling 2", "2: story 1: a.test. A, sibling 1"}},
		{"two pairs one after the other", func(s *scene, a *asker) {
			for range 2 {
				q4, q6 := a.ask("a.test.", typeA), a.ask("a.test.", typeAAAA)
				a.answer(q4)
				a.answer(q6)
				s.pass(50 * time.Millisecond)
			}
		}, []string{
			"1: story 1: a.test. A, sibling 2", "2: story 1: a.test. AAAA, sibling 1",
			"3: story 2: a.test. A, sibling 4", "4: story 2: a.test. AAAA, sibling 3",
		}},
		{"two pairs at once", func(s *scene, a *asker) { // whose is whose is not known
			for _, qtype := range []uint16{typeA, typeA, typeAAAA, typeAAAA} {
				a.answered("a.test.", qtype)
			}
		}, []string{"1: a.test. A", "2: a.test. A", "3: a.test. AAAA", "4: a.test. AAAA"}},
		{"other name", func(s *scene, a *asker) {
			a.answered("a.test.", typeA)
			a.answered("a.b.test.", typeAAAA)
		}, []string{"1: a.test. A", "2: a.b.test. AAAA"}},
		{"other type", func(s *scene, a *asker) {
			a.answered("a.test.", typeA)
			a.answered("a.test.", dns.TypeMX)
		}, []string{"1: a.test. A", "2: a.test. MX"}},
		{"other client", func(s *scene, a *asker) {
			a.answered("a.test.", typeA)
			a.addr = nodeAddr.Addr()
			a.answered("a.test.", typeAAAA)
		}, []string{"1: a.test. A", "2: a.test. AAAA"}},
		{"other network namespace", func(s *scene, a *asker) {
			a.answered("a.test.", typeA)
			a.at = aEth0
			a.answered("a.test.", typeAAAA)
		}, []string{"1: a.test. A", "2: a.test. AAAA"}},
		{"other process", func(s *scene, a *asker) {
			a.answered("a.test.", typeA)
			a.pid++
			a.answered("a.test.", typeAAAA)
		}, []string{"1: a.test. A", "2: a.test. AAAA"}},
		{"other process, known late", func(s *scene, a *asker) { // who sent the query is not known, who reads the reply is
			for range 2 {
				q := a.ask("a.test.", typeA+uint16(a.pid-4242)*27)
				s.events[len(s.events)-1].PID = 0
				a.answer(q)
				a.pid++
			}
		}, []string{"1: a.test. A", "2: a.test. AAAA"}},
		{"too late", func(s *scene, a *asker) {
			q := a.ask("a.test.", typeA)
			s.pass(1100 * time.Millisecond)
			a.answered("a.test.", typeAAAA)
			a.answer(q)
		}, []string{"1: a.test. AAAA", "2: a.test. A"}},
	})
}

func TestRetries(t *testing.T) {
	checkStories(t, []storyCase{
		{"new port and ID", func(s *scene, a *asker) {
			a.ask("a.test.", typeA)
			s.pass(5 * time.Second)
			a.answered("A.test.", typeA)
		}, []string{"1: A.test. A, retry-of 2 try 2", "2: a.test. A"}},
		{"three tries", func(s *scene, a *asker) {
			for range 3 {
				a.ask("a.test.", typeA)
				s.pass(2 * time.Second)
			}
		}, []string{"1: a.test. A", "2: a.test. A, retry-of 1 try 2", "3: a.test. A, retry-of 1 try 3"}},
		{"of a pair", func(s *scene, a *asker) {
			for range 2 {
				a.ask("a.test.", typeA)
				a.again("a.test.", typeAAAA)
				s.pass(5 * time.Second)
			}
		}, []string{
			"1: story 1: a.test. A, sibling 2", "2: story 1: a.test. AAAA, sibling 1",
			"3: story 2: a.test. A, retry-of 1 try 2, sibling 4", "4: story 2: a.test. AAAA, retry-of 2 try 2, sibling 3",
		}},
		{"next server after SERVFAIL", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, rcode(dns.RcodeServerFailure))
			a.server = service
			a.answered("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A, retry-of 1 try 2"}},
		{"next server after REFUSED, handed out before", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, rcode(dns.RcodeRefused))
			s.pass(500 * time.Millisecond)
			a.answered("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A, retry-of 1 try 2"}},
		{"at once after an ICMP error", func(s *scene, a *asker) {
			a.ask("a.test.", typeA).rx(aVeth).icmp(aVeth, 3, 3)
			s.pass(time.Millisecond)
			a.answered("a.test.", typeA)
		}, []string{"1: a.test. A, retry-of 2 try 2", "2: a.test. A"}},
		{"at once after a reset", func(s *scene, a *asker) {
			st := &stream{s: s, client: 1, server: 7, addr: netip.AddrPortFrom(a.addr, a.port), to: a.server}
			query, _ := st.question(7, "a.test.", typeA)
			for _, p := range []*packet{st.fromClient(TCP{SYN: true}, nil), st.fromClient(TCP{ACK: true}, query)} {
				p.device(ProbeNetDevQueue, a.at)
			}
			st.fromServer(TCP{RST: true}, nil).rx(a.at)
			s.pass(time.Millisecond)
			a.answered("a.test.", typeA)
		}, []string{"1: a.test. A, retry-of 2 try 2 inferred", "2: a.test. A"}},
		{"at once after an ICMP error of another host", func(s *scene, a *asker) {
			q := a.ask("a.test.", typeA)
			q.rx(podEth0)
			quote := s.events[len(s.events)-1]
			quote.Packet, quote.Quote = s.id(), &Quote{Type: 3, Code: 3, From: backend.Addr(), To: a.addr}
			s.events[len(s.events)-2].Packet, s.events[len(s.events)-2].Quote = quote.Packet, quote.Quote
			s.pass(time.Millisecond)
			a.answered("a.test.", typeA)
		}, []string{"1: a.test. A, retry-of 2 try 2", "2: a.test. A"}},
		{"answered before", func(s *scene, a *asker) {
			a.answered("a.test.", typeA)
			s.pass(50 * time.Millisecond)
			a.answered("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"answered after all", func(s *scene, a *asker) { // a slow server, and two that ask
			q := a.ask("a.test.", typeA)
			s.pass(time.Second)
			later := a.ask("a.test.", typeA)
			s.pass(time.Second)
			a.answer(q)
			a.answer(later)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"SERVFAIL long ago", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, rcode(dns.RcodeServerFailure))
			s.pass(1100 * time.Millisecond)
			a.answered("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"too soon", func(s *scene, a *asker) {
			a.ask("a.test.", typeA)
			s.pass(100 * time.Millisecond)
			a.ask("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"too late", func(s *scene, a *asker) {
			a.ask("a.test.", typeA)
			s.pass(5600 * time.Millisecond)
			a.ask("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"of one of two", func(s *scene, a *asker) {
			a.ask("a.test.", typeA)
			a.ask("a.test.", typeA)
			s.pass(5 * time.Second)
			a.ask("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A", "3: a.test. A"}},
		{"other client", func(s *scene, a *asker) {
			a.ask("a.test.", typeA)
			s.pass(5 * time.Second)
			a.addr = nodeAddr.Addr()
			a.ask("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"other process", func(s *scene, a *asker) {
			a.ask("a.test.", typeA)
			s.pass(5 * time.Second)
			a.pid++
			a.ask("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"other name", func(s *scene, a *asker) {
			a.ask("a.test.", typeA)
			s.pass(5 * time.Second)
			a.ask("a.b.test.", typeA)
		}, []string{"1: a.test. A", "2: a.b.test. A"}},
	})
}

func TestTruncation(t *testing.T) {
	checkStories(t, []storyCase{
		{"over TCP", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			a.overTCP("a.test.", typeA)
		}, []string{"1: story 1: a.test. A, over-tcp 2", "2: story 1: a.test. A, truncation-of 1"}},
		{"over TCP, handed out before", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			s.pass(500 * time.Millisecond)
			a.overTCP("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A, truncation-of 1"}},
		{"not truncated", func(s *scene, a *asker) {
			a.answered("a.test.", typeA)
			a.overTCP("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"over UDP", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			a.answered("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"other name", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			a.overTCP("a.b.test.", typeA)
		}, []string{"1: a.test. A", "2: a.b.test. A"}},
		{"other server", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			a.server = service
			a.overTCP("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"before the answer", func(s *scene, a *asker) {
			q := a.ask("a.test.", typeA)
			a.overTCP("a.test.", typeA)
			a.answer(q, truncate)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"too late", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			s.pass(1100 * time.Millisecond)
			a.overTCP("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
	})
}

// brief takes the numbers out of told: what is left of a walk is its shape.
func headlines(lookups []*Lookup) []string {
	var lines []string
	for i, l := range lookups {
		if st := l.Story; st != nil && (i == 0 || lookups[i-1].Story != st) {
			lines = append(lines, fmt.Sprintf("%d for %s: nxdomain %d, nodata %d, caused %d, tcp %d", st.Lookups, st.Name, st.NXDomain, st.NoData, st.Caused, st.OverTCP))
		} else if st == nil {
			lines = append(lines, l.Question.Name)
		}
	}
	return lines
}

var clusterSearch = []string{"default.svc.cluster.local.", "svc.cluster.local.", "cluster.local.", "eu-west-1.compute.internal.", ""}

func TestSearchWalk(t *testing.T) {
	walk := func(a *asker, base string, search ...string) {
		for _, domain := range search[:len(search)-1] {
			a.answered(base+"."+domain, typeA, nxdomain)
		}
		a.answered(base+"."+search[len(search)-1], typeA)
	}
	tests := []struct {
		name  string
		scene func(s *scene, a *asker)
		want  []string
	}{
		{"of a cluster", func(s *scene, a *asker) { walk(a, "engineerbetter.com", clusterSearch...) },
			[]string{"5 for engineerbetter.com: nxdomain 4, nodata 0, caused 0, tcp 0"}},
		{"with siblings", func(s *scene, a *asker) {
			for _, domain := range clusterSearch {
				q4, q6 := a.ask("engineerbetter.com."+domain, typeA), a.again("engineerbetter.com."+domain, typeAAAA)
				if domain == "" {
					a.answer(q4)
					a.answer(q6)
				} else {
					a.answer(q4, nxdomain)
					a.answer(q6, nxdomain)
				}
			}
		}, []string{"10 for engineerbetter.com: nxdomain 8, nodata 0, caused 0, tcp 0"}},
		{"to a service", func(s *scene, a *asker) { walk(a, "web.default", clusterSearch[:2]...) },
			[]string{"2 for web.default: nxdomain 1, nodata 0, caused 0, tcp 0"}},
		{"by domains that have nothing in common", func(s *scene, a *asker) { walk(a, "db", "corp.example.", "lab.test.", "") },
			[]string{"3 for db: nxdomain 2, nodata 0, caused 0, tcp 0"}},
		{"without records", func(s *scene, a *asker) {
			a.answered("db.svc.cluster.local.", typeA, noRecords)
			a.answered("db.cluster.local.", typeA)
		}, []string{"2 for db: nxdomain 0, nodata 1, caused 0, tcp 0"}},
		{"the name itself first", func(s *scene, a *asker) { walk(a, "a.b", "", "corp.example.") },
			[]string{"2 for a.b: nxdomain 0, nodata 0, caused 0, tcp 0"}},
		{"to the end, then again", func(s *scene, a *asker) {
			for range 2 {
				walk(a, "a.b", "svc.cluster.local.", "cluster.local.", "nowhere.example.")
				s.events[len(s.events)-2].Captured = nil // its answer is not known
				s.pass(300 * time.Millisecond)
			}
		}, []string{"3 for a.b: nxdomain 2, nodata 0, caused 0, tcp 0", "3 for a.b: nxdomain 2, nodata 0, caused 0, tcp 0"}},
		{"failing, then again at once", func(s *scene, a *asker) {
			for range 2 {
				for _, domain := range clusterSearch {
					a.answered("a.b."+domain, typeA, nxdomain)
				}
			}
		}, []string{"5 for a.b: nxdomain 4, nodata 0, caused 0, tcp 0", "5 for a.b: nxdomain 4, nodata 0, caused 0, tcp 0"}},
		{"other suffix", func(s *scene, a *asker) {
			a.answered("www.a.test.", typeA, nxdomain)
			a.answered("www.b.test.", typeA)
		}, []string{"www.a.test.", "www.b.test."}},
		{"other beginning", func(s *scene, a *asker) {
			a.answered("a.svc.cluster.local.", typeA, nxdomain)
			a.answered("b.cluster.local.", typeA)
		}, []string{"a.svc.cluster.local.", "b.cluster.local."}},
		{"found before", func(s *scene, a *asker) { walk(a, "a", "svc.cluster.local."); walk(a, "a", "cluster.local.") },
			[]string{"a.svc.cluster.local.", "a.cluster.local."}},
		{"before the answer", func(s *scene, a *asker) {
			q := a.ask("a.svc.cluster.local.", typeA)
			a.answered("a.cluster.local.", typeA)
			a.answer(q, nxdomain)
		}, []string{"a.cluster.local.", "a.svc.cluster.local."}},
		{"other client", func(s *scene, a *asker) {
			a.answered("a.svc.cluster.local.", typeA, nxdomain)
			a.addr = nodeAddr.Addr()
			a.answered("a.cluster.local.", typeA)
		}, []string{"a.svc.cluster.local.", "a.cluster.local."}},
		{"other process", func(s *scene, a *asker) {
			a.answered("a.svc.cluster.local.", typeA, nxdomain)
			a.pid++
			a.answered("a.cluster.local.", typeA)
		}, []string{"a.svc.cluster.local.", "a.cluster.local."}},
		{"other type", func(s *scene, a *asker) {
			a.answered("a.svc.cluster.local.", typeA, nxdomain)
			a.answered("a.cluster.local.", dns.TypeMX)
		}, []string{"a.svc.cluster.local.", "a.cluster.local."}},
		{"too late", func(s *scene, a *asker) {
			a.answered("a.svc.cluster.local.", typeA, nxdomain)
			s.pass(1100 * time.Millisecond)
			a.answered("a.cluster.local.", typeA)
		}, []string{"a.svc.cluster.local.", "a.cluster.local."}},
		{"two at once", func(s *scene, a *asker) {
			a.answered("a.svc.cluster.local.", typeA, nxdomain)
			a.answered("a.svc.cluster.local.", typeA, nxdomain)
			a.answered("a.cluster.local.", typeA)
		}, []string{"a.svc.cluster.local.", "a.svc.cluster.local.", "a.cluster.local."}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.scene(s, newAsker(s))
			lookups := correlateLive(t, s.events)
			if diff := gocmp.Diff(tt.want, headlines(lookups)); diff != "" {
				t.Errorf("stories (-want +got):\n%s%s", diff, strings.Join(told(lookups), "\n"))
			}
		})
	}
}

// TestSearchLinks holds that each step of a walk is tied to the one before it.
func TestSearchLinks(t *testing.T) {
	checkStories(t, []storyCase{{"walk", func(s *scene, a *asker) {
		a.answered("x.a.svc.", typeA, nxdomain)
		a.answered("x.svc.", typeA, nxdomain)
		a.answered("x.", typeA)
	}, []string{
		"1: story 1: x.a.svc. A, search-next 2", "2: story 1: x.svc. A, search-of 1, search-next 3", "3: story 1: x. A, search-of 2",
	}}})
}

// arriveAt lets a query reach its server's socket.
func (p *packet) arriveAt(at place) *packet {
	return p.rx(at).see(ProbeSkDataReady, place{ns: at.ns})
}

// served is a lookup with what its server does in between.
func (a *asker) served(q *packet, server *asker, between func(), edit ...func(*dns.Msg)) {
	q.arriveAt(server.at).read(server.at, server.pid, "server")
	between()
	q.replyWith(edit...).tx(server.at).rx(a.at).read(a.at, a.pid, "app")
}

func TestParents(t *testing.T) {
	checkStories(t, []storyCase{
		{"a forwarder", func(s *scene, a *asker) {
			f := forwarder(s)
			a.served(a.ask("a.test.", typeA), f, func() { f.answered("A.test.", typeA) })
		}, []string{"1: story 1: a.test. A, child 2", "2: story 1: A.test. A, parent 1"}},
		{"a cache on the node", func(s *scene, a *asker) {
			f := nodeCache(s)
			a.server = netip.MustParseAddrPort("169.254.20.10:53")
			a.served(a.ask("a.test.", typeA), f, func() { f.answered("a.test.", typeA) })
		}, []string{"1: story 1: a.test. A, child 2", "2: story 1: a.test. A, parent 1"}},
		{"through a service and a tunnel", func(s *scene, a *asker) {
			f := forwarder(s)
			q := s.query(webPod, service, 7, "a.test.", typeA)
			q.toServer()
			f.answered("a.test.", typeA)
			q.reply().toClient()
		}, []string{"1: story 1: a.test. A, child 2", "2: story 1: a.test. A, parent 1"}},
		{"one after the other", func(s *scene, a *asker) {
			c, f := nodeCache(s), forwarder(s)
			a.server = netip.MustParseAddrPort("169.254.20.10:53")
			a.served(a.ask("a.test.", typeA), c, func() {
				c.served(c.ask("a.test.", typeA), f, func() { f.answered("a.test.", typeA) })
			})
		}, []string{
			"1: story 1: a.test. A, child 2", "2: story 1: a.test. A, parent 1, child 3", "3: story 1: a.test. A, parent 2",
		}},
		{"process unknown", func(s *scene, a *asker) {
			f := forwarder(s)
			q := a.ask("a.test.", typeA).arriveAt(f.at)
			f.pid = 0
			f.answered("a.test.", typeA)
			a.answer(q)
		}, []string{"1: story 1: a.test. A, child 2 inferred", "2: story 1: a.test. A, parent 1 inferred"}},
		{"the server tries twice", func(s *scene, a *asker) {
			f := forwarder(s)
			a.served(a.ask("a.test.", typeA), f, func() {
				f.ask("a.test.", typeA)
				s.pass(time.Second)
				f.answered("a.test.", typeA)
			})
		}, []string{
			"1: story 1: a.test. A, child 2, child 3", "2: story 1: a.test. A, parent 1", "3: story 1: a.test. A, retry-of 2 try 2, parent 1",
		}},
		{"the server asks over TCP", func(s *scene, a *asker) {
			f := forwarder(s)
			a.served(a.ask("a.test.", typeA), f, func() {
				f.answered("a.test.", typeA, truncate)
				f.overTCP("a.test.", typeA)
			})
		}, []string{
			"1: story 1: a.test. A, child 2, child 3", "2: story 1: a.test. A, parent 1, over-tcp 3",
			"3: story 1: a.test. A, truncation-of 2, parent 1",
		}},
		{"two clients of it", func(s *scene, a *asker) {
			f, b := forwarder(s), newAsker(s)
			b.addr, b.at = nodeAddr.Addr(), aEth0
			first, second := a.ask("a.test.", typeA), b.ask("a.test.", typeA)
			a.served(first, f, func() {
				b.served(second, f, func() {
					q := f.ask("a.test.", typeA)
					f.answered("a.test.", typeA)
					f.answer(q)
				})
			})
		}, []string{
			"1: story 1: a.test. A, child 2 inferred", "2: story 1: a.test. A, parent 1 inferred",
			"3: story 2: a.test. A, child 4 inferred", "4: story 2: a.test. A, parent 3 inferred",
		}},
		{"not arrived yet", func(s *scene, a *asker) {
			f := forwarder(s)
			q := a.ask("a.test.", typeA)
			f.answered("a.test.", typeA)
			a.served(q, f, func() {})
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"answered before", func(s *scene, a *asker) {
			f := forwarder(s)
			a.served(a.ask("a.test.", typeA), f, func() {})
			f.answered("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"other question", func(s *scene, a *asker) {
			f := forwarder(s)
			a.served(a.ask("a.test.", typeA), f, func() { f.answered("a.test.", typeAAAA) })
		}, []string{"1: a.test. AAAA", "2: a.test. A"}},
		{"other process", func(s *scene, a *asker) {
			f, other := forwarder(s), forwarder(s)
			other.pid++
			a.served(a.ask("a.test.", typeA), f, func() { other.answered("a.test.", typeA) })
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"other process, known late", func(s *scene, a *asker) {
			f, other := forwarder(s), forwarder(s)
			other.pid++
			q := a.ask("a.test.", typeA).arriveAt(f.at)
			up := other.ask("a.test.", typeA)
			q.read(f.at, f.pid, "server")
			other.answer(up)
			a.answer(q)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"it only passes by", func(s *scene, a *asker) {
			f := nodeCache(s)
			f.server = netip.MustParseAddrPort("192.0.2.53:53")
			q := a.ask("a.test.", typeA).rx(aVeth).tx(aEth0)
			f.answered("a.test.", typeA)
			a.answer(q)
		}, []string{"1: a.test. A", "2: a.test. A"}},
		{"the client itself asks again", func(s *scene, a *asker) {
			a.at, a.addr, a.server = aEth0, nodeAddr.Addr(), netip.MustParseAddrPort("127.0.0.1:53")
			a.ask("a.test.", typeA).arriveAt(aEth0)
			s.pass(100 * time.Millisecond)
			a.ask("a.test.", typeA)
		}, []string{"1: a.test. A", "2: a.test. A"}},
	})
}

// TestStoriesTogether holds that walks, siblings and what they cause are one
// story, whose lookups come in the order of what caused what.
func TestStoriesTogether(t *testing.T) {
	s := newScene()
	a, f := newAsker(s), forwarder(s)
	for _, domain := range clusterSearch {
		q4, q6 := a.ask("web."+domain, typeA), a.again("web."+domain, typeAAAA)
		a.served(q4, f, func() { f.answered("web."+domain, typeA, nxdomain) }, nxdomain)
		a.served(q6, f, func() { f.answered("web."+domain, typeAAAA, nxdomain) }, nxdomain)
	}
	lookups := correlateLive(t, s.events)
	var got []string
	for _, l := range lookups {
		if l.Story == nil || l.Story != lookups[0].Story {
			t.Fatalf("not one story:\n%s", strings.Join(told(lookups), "\n"))
		}
		got = append(got, fmt.Sprintf("%v %s %s", l.Client.Addr(), l.Question.Name, dns.TypeToString[l.Question.Type]))
	}
	var want []string
	for _, domain := range clusterSearch {
		for _, qtype := range []string{"A", "AAAA"} {
			for _, who := range []*asker{a, f} {
				want = append(want, fmt.Sprintf("%v web.%s %s", who.addr, domain, qtype))
			}
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff([]string{"20 for web: nxdomain 8, nodata 0, caused 10, tcp 0"}, headlines(lookups)); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
}

// TestStoryBounds holds that what is beyond the bounds of stories is handed out
// all the same, once.
func TestStoryBounds(t *testing.T) {
	tests := []struct {
		name  string
		opts  CorrelatorOptions
		scene func(s *scene, a *asker)
		early int // handed out while the last is still open
	}{
		{"a story of many", CorrelatorOptions{}, func(s *scene, a *asker) {
			f := forwarder(s)
			f.pid = 0
			a.ask("a.test.", typeA).arriveAt(f.at)
			for range 3 * maxStory {
				f.answered("a.test.", typeA)
			}
			s.pass(150 * time.Millisecond)
			a.ask("b.test.", typeA)
		}, 2*maxStory + 1},
		{"too much held back", CorrelatorOptions{MaxEvents: 12 * heldOfEvents}, func(s *scene, a *asker) {
			for i := range 10 {
				a.answered(fmt.Sprintf("n%d.test.", i), typeA)
				a.ask(fmt.Sprintf("n%d.test.", i), typeAAAA)
			}
			s.pass(150 * time.Millisecond)
			a.ask("b.test.", typeA)
		}, 6},
		{"held back for too long", CorrelatorOptions{}, func(s *scene, a *asker) {
			a.answered("a.test.", typeA)
			a.ask("a.test.", typeAAAA)
			again := *a
			for range 8 {
				s.pass(2 * time.Second)
				again.send(again.id, "a.test.", typeAAAA)
				a.answered("b.test.", typeA)
			}
		}, 8},
		{"too many open", CorrelatorOptions{MaxLookups: 10}, func(s *scene, a *asker) {
			for i := range 20 {
				a.ask(fmt.Sprintf("n%d.test.", i), typeA)
				a.ask(fmt.Sprintf("n%d.test.", i), typeAAAA)
			}
		}, 30},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.scene(s, newAsker(s))
			var done []*Lookup
			c := NewCorrelator(tt.opts, func(l *Lookup) { done = append(done, l) })
			for _, e := range s.events {
				c.Add(e)
				c.Advance(e.Time)
			}
			c.Advance(s.now + uint64(11*time.Millisecond))
			early := len(done)
			c.Flush()
			wantEmpty(t, c)
			checkOnce(t, 0, done)
			if early != tt.early {
				t.Errorf("%d lookups were handed out before the end, want %d", early, tt.early)
			}
			if got := c.Counters().Lookups; got != uint64(len(done)) {
				t.Errorf("%d lookups, %d counted", len(done), got)
			}
		})
	}
}

// checkOnce reports lookups that were handed out twice, stories whose lookups did
// not come one after the other, and links of a story that lead nowhere.
func checkOnce(t *testing.T, seed uint64, lookups []*Lookup) {
	t.Helper()
	seen, stories, refs := map[*Lookup]bool{}, map[*Story]int{}, map[Ref][]*Lookup{} // events that come twice may make two of one
	for i, l := range lookups {
		if seen[l] {
			t.Errorf("seed %d: lookup %d was handed out twice", seed, l.DNSID)
		}
		seen[l], refs[l.Ref()] = true, append(refs[l.Ref()], l)
		if l.Story == nil {
			continue
		}
		if stories[l.Story]++; stories[l.Story] > 1 && lookups[i-1].Story != l.Story {
			t.Errorf("seed %d: lookup %d comes after the lookups of another story", seed, l.DNSID)
		}
	}
	for st, n := range stories {
		if st.Lookups != n || n < 2 {
			t.Errorf("seed %d: story of %d lookups, it says %d", seed, n, st.Lookups)
		}
	}
	for _, l := range lookups {
		for _, link := range l.Links {
			fits := func(to *Lookup) bool { return to != l && mayLink(l, link.Kind, to) }
			if !slices.ContainsFunc(refs[link.Ref], fits) {
				t.Errorf("seed %d: %s of lookup %d leads to %+v", seed, link.Kind, l.DNSID, link.Ref)
			}
		}
	}
}

// mayLink reports whether a link between two lookups makes sense by who asked what.
func mayLink(l *Lookup, kind LinkKind, to *Lookup) bool {
	sameName := strings.EqualFold(l.Question.Name, to.Question.Name)
	sameType := l.Question.Type == to.Question.Type
	sameClient := l.Client.Addr() == to.Client.Addr() // its namespace may be known better by now
	switch kind {
	case LinkSibling:
		return sameClient && sameName && (!sameType || l.Server != to.Server)
	case LinkRetryOf:
		return sameClient && sameName && sameType && l.Start > to.Start
	case LinkTruncationOf:
		handshake := l.Question.Name == "" && l.Server.Addr() == to.Server.Addr()
		return sameClient && (sameName && sameType || handshake) && l.Transport == TransportTCP && to.Transport == TransportUDP && to.Reply != nil && to.Reply.TC
	case LinkSearchOf:
		first := l.Question.Name[:labelEnd(l.Question.Name)]
		return sameClient && !sameName && sameType && l.Start > to.Start && strings.HasPrefix(strings.ToLower(to.Question.Name), strings.ToLower(first)+".")
	case LinkParent:
		return sameName && sameType && l.Start > to.Start && l.Server != to.Server
	}
	return l.Story != nil && l.Story == to.Story // the other side of one of these
}

// BenchmarkStories measures a lookup's first event, as one of many of a client
// that are open: each for a name of its own, or all for the same. Each evicts
// another.
func BenchmarkStories(b *testing.B) {
	for _, open := range []int{1e3, 1e5} {
		for name, same := range map[string]bool{"names": false, "name": true} {
			b.Run(fmt.Sprintf("%s/open=%d", name, open), func(b *testing.B) {
				s := newScene()
				a := newAsker(s)
				var events []*Event
				for i := range 2 * open {
					label := "n"
					if !same {
						label = fmt.Sprint("n", i)
					}
					a.addr, a.port = webPod.Addr(), uint16(i)
					a.send(uint16(i>>16), label+".example.test.", typeA)
					events = append(events, s.events...)
					s.events = s.events[:0]
				}
				c := NewCorrelator(CorrelatorOptions{Timeout: 24 * time.Hour, MaxLookups: open}, func(*Lookup) {})
				at, turns := 0, uint64(0)
				add := func() {
					e := *events[at]
					e.Time += turns * (s.now - sceneStart)
					e.Packet += turns << 32
					c.Add(&e)
					if at++; at == len(events) {
						at, turns = 0, turns+1
					}
				}
				for range open {
					add()
				}
				b.ReportAllocs()
				for b.Loop() {
					add()
				}
			})
		}
	}
}
