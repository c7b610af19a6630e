package tracer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// capturedMost is how many bytes of a packet are captured at most (bpf/event.h, CAPTURE_LARGE).
const capturedMost = 1856

// answersTo is what a server sends at once: a long answer to the first question,
// then a short one to the second.
func answersTo(q1, q2 *packet) []byte {
	long := new(dns.Msg)
	if err := long.Unpack(q1.reply().message); err != nil {
		panic(err)
	}
	for range 20 {
		long.Answer = append(long.Answer, &dns.TXT{
			Hdr: dns.RR_Header{Name: long.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 30},
			Txt: []string{string(slices.Repeat([]byte{'x'}, 240))},
		})
	}
	return slices.Concat(framed(&packet{message: mustPack(long)}), framed(q2.reply()))
}

// tooBig is a segment that a router on its way drops, and tells the server so.
func (p *packet) tooBig(reason, function string) {
	p.tx(dnsEth0).rx(bVeth).device(ProbeNetifReceiveSkb, bBridge).hooks(bBridge, HookPrerouting, HookForward)
	p.icmp(bBridge, icmpUnreachable, icmpFragNeeded)
	p.told().tx(bBridge).tx(bVeth).rx(dnsEth0)
	p.drop(bBridge, reason, function)
	p.s.pass(time.Millisecond)
}

// told is a router's word that a packet from the server is too big.
func (p *packet) told() *packet {
	return p.quoteIt(Quote{Type: icmpUnreachable, Code: icmpFragNeeded, MTU: 1280, From: nodeAddr.Addr(), To: backend.Addr()})
}

// inSegments are a segment's bytes once more, in segments of a smaller size.
func (p *packet) inSegments(size int) []*packet {
	var all []*packet
	for at := 0; at < len(p.message); at += size {
		part, t := p.again(), *p.tcp
		part.message = p.message[at:min(at+size, len(p.message))]
		t.Seq, t.Len = t.Seq+uint32(at), uint16(len(part.message))
		part.tcp = &t
		all = append(all, part)
	}
	return all
}

// TestPathMTU has answers that meet a smaller MTU: TCP sends them again in
// segments that fit, which is no failure.
func TestPathMTU(t *testing.T) {
	const (
		size      = 1228
		answered  = "answered"
		unread    = "incomplete: no reply was seen, but events were lost; not all that the connection carried could be read"
		tooBig    = "dropped: the reply: PKT_TOO_BIG in ip_forward: it is too big for its way (MTU)"
		unknown   = "the reply was too big for its way (MTU), and it is not known whether what was sent again arrived"
		elsewhere = "lost: a reply was on its way and did not arrive"
	)
	drop := func(p *packet) { p.tooBig("PKT_TOO_BIG", "ip_forward") }
	home := func(p *packet) { each(p.inSegments(size), func(p *packet) { p.comeHome() }) }
	for _, tt := range []struct {
		name     string
		captured int // bytes of each packet from the server
		scene    func(first *packet)
		want     map[string]string // by name: outcome, what more is told, and what makes it incomplete
	}{
		{"sent again in segments that fit", capturedMost, func(p *packet) { drop(p); home(p) }, verdicts(answered, answered)},
		{"no reason", capturedMost, func(p *packet) { p.tooBig("", "ip_fragment"); home(p) }, verdicts(answered, answered)},
		{"joined by the receiver", capturedMost, func(p *packet) {
			drop(p)
			parts := p.inSegments(size)
			for _, part := range parts {
				part.leaveServer().enterNodeA(service)
			}
			whole := *parts[0]
			whole.message, whole.tcp = p.message, p.tcp
			whole.untranslate(service).enterPod()
		}, verdicts(answered, answered)},
		{"the end first", capturedMost, func(p *packet) {
			drop(p)
			parts := p.inSegments(size)
			slices.Reverse(parts)
			each(parts, func(p *packet) { p.comeHome() })
		}, verdicts(answered, answered)},
		{"in two packets, the second as it is", capturedMost, func(p *packet) {
			halves := p.inSegments(4000)
			drop(halves[0])
			halves[1].comeHome()
			home(halves[0])
		}, verdicts(answered, answered)},
		{"the second answer's length was never captured", ipHeaders + 200, func(p *packet) { drop(p); home(p) }, verdicts(answered, unread)},
		{"nothing could be read", ipHeaders, func(p *packet) { drop(p); home(p) }, verdicts(unread, unread)},
		{"a part is not seen to arrive", capturedMost, func(p *packet) {
			drop(p)
			parts := p.inSegments(size)
			parts[1].tx(dnsEth0)
			each(slices.Delete(parts, 1, 2), func(p *packet) { p.comeHome() })
		}, verdicts("incomplete: "+unknown+"; "+unknown, answered)},
		{"not sent again", capturedMost, drop, verdicts(tooBig, unread)},
		{"sent again as it was", capturedMost, func(p *packet) { drop(p); drop(p.again()) }, verdicts(tooBig, unread)},
		{"sent again, and dropped for another reason", capturedMost, func(p *packet) {
			drop(p)
			each(p.inSegments(size), func(p *packet) { p.leaveServer().drop(aEth0, "SOME_REASON", "some_function") })
		}, verdicts("dropped: the reply: SOME_REASON in some_function", "dropped: the reply: SOME_REASON in some_function")},
		{"dropped where nobody looks", capturedMost, func(p *packet) {
			p.tx(dnsEth0)
			p.told().tx(bVeth).rx(dnsEth0)
			each(p.inSegments(size), func(p *packet) { p.tx(dnsEth0) })
		}, verdicts(elsewhere, elsewhere)},
		{"the router's word is dropped", capturedMost, func(p *packet) {
			p.tx(dnsEth0)
			p.told().rx(bEth0).drop(bEth0, "NETFILTER_DROP", "nf_hook_slow")
		}, verdicts("rejected: the reply: ICMP fragmentation needed (MTU 1280) from 192.0.2.1, which was itself dropped: "+
			"NETFILTER_DROP in nf_hook_slow: a netfilter hook refused it", unread)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			st := s.stream()
			q1, q2 := s.query(st.addr, st.to, 1, "a.example.test.", dns.TypeTXT), s.query(st.addr, st.to, 2, "b.example.test.", dns.TypeA)
			st.open()
			st.fromClient(TCP{ACK: true}, framed(q1)).reachServer()
			st.fromClient(TCP{ACK: true}, framed(q2)).reachServer()
			tt.scene(st.fromServer(TCP{}, answersTo(q1, q2)))
			for _, e := range s.events {
				if e.Response {
					e.Captured = e.Captured[:min(len(e.Captured), tt.captured)]
				}
			}
			got := map[string]string{}
			for _, l := range correlate(t, CorrelatorOptions{}, s.events) {
				got[l.Question.Name] += verdictAndWhy(l)
			}
			if diff := gocmp.Diff(tt.want, got); diff != "" {
				t.Errorf("lookups (-want +got):\n%s", diff)
			}
		})
	}
}

// verdicts are the verdicts on the question with the long answer, and on the other.
func verdicts(long, short string) map[string]string {
	return map[string]string{"a.example.test.": long, "b.example.test.": short}
}

func each(all []*packet, do func(*packet)) {
	for _, p := range all {
		do(p)
	}
}

// verdictAndWhy is a lookup's outcome, what more is told of it, and what makes it incomplete.
func verdictAndWhy(l *Lookup) string {
	s := string(l.Outcome)
	if l.Detail != "" {
		s += ": " + l.Detail
	}
	for _, why := range l.Why {
		s += "; " + why
	}
	return s
}

// TestPathMTUAnyhow holds that nothing is made of large segments that are dropped,
// if all their bytes arrive in the end, whatever was captured, and in any order.
func TestPathMTUAnyhow(t *testing.T) {
	answered := 0
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 2))
		s := newScene()
		st := s.stream()
		st.server = random.Uint32()
		var queries, replies []byte
		for i := range 1 + random.IntN(4) {
			long := s.query(st.addr, st.to, uint16(2*i), fmt.Sprintf("long%d.example.test.", i), dns.TypeTXT)
			short := s.query(st.addr, st.to, uint16(2*i+1), fmt.Sprintf("short%d.example.test.", i), dns.TypeA)
			queries, replies = slices.Concat(queries, framed(long), framed(short)), slices.Concat(replies, answersTo(long, short))
		}
		st.open()
		st.fromClient(TCP{ACK: true}, queries).reachServer()
		var again []*packet
		for len(replies) > 0 {
			n := min(1+random.IntN(8000), len(replies))
			p := st.fromServer(TCP{}, replies[:n])
			p.tooBig("PKT_TOO_BIG", "ip_forward")
			again, replies = append(again, p.inSegments(500+random.IntN(1000))...), replies[n:]
		}
		if random.IntN(2) == 0 {
			random.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		}
		each(again, func(p *packet) { p.comeHome() })
		captured := ipHeaders + random.IntN(capturedMost)
		for _, e := range s.events {
			if e.Response {
				e.Captured = e.Captured[:min(len(e.Captured), captured)]
			}
		}
		for _, l := range correlate(t, CorrelatorOptions{}, s.events) {
			switch {
			case l.Outcome == OutcomeAnswered:
				answered++
			case l.Outcome != OutcomeIncomplete:
				t.Errorf("seed %d, %d captured: %s %s", seed, captured, l.Question.Name, verdictAndWhy(l))
			}
		}
	}
	if answered < 500 {
		t.Errorf("%d lookups are answered, want most of 1000", answered)
	}
}
