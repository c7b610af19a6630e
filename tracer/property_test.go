package tracer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// crowdSize is how many lookups a crowd has.
const crowdSize = 60

// tcpPort is the client's port of a crowd's lookup number 0, if that is over TCP.
const tcpPort = 40000

// crowd returns the events of lookups whose DNS ID, or over TCP whose client's
// port, is their number, all under way at one time, in order of time; and how each
// of them ends. Over UDP two have one socket. No two events have the same time.
func crowd(random *rand.Rand) (events []*Event, truth map[uint16]Outcome) {
	truth = map[uint16]Outcome{}
	for i := range uint16(crowdSize) {
		s := newScene()
		s.blind = random.IntN(2) == 0
		s.now += random.Uint64N(uint64(20 * time.Millisecond))
		s.ids = uint64(i) << 32
		if i%3 == 0 {
			truth[i] = s.crowdStream(random, i)
		} else {
			truth[i] = s.crowdDatagram(random, i)
		}
		events = append(events, s.events...)
	}
	slices.SortStableFunc(events, func(a, b *Event) int { return int(int64(a.Time) - int64(b.Time)) })
	for i := 1; i < len(events); i++ {
		events[i].Time = max(events[i].Time, events[i-1].Time+1)
	}
	return events, truth
}

func (s *scene) crowdDatagram(random *rand.Rand, i uint16) Outcome {
	name, client := fmt.Sprintf("n%d.example.test.", i/2), netip.AddrPortFrom(webPod.Addr(), 20000+i/2)
	q := s.query(client, service, i, name, dns.TypeA+i%2*27)
	switch random.IntN(7) {
	case 0:
		q.leavePod().translate().hooks(aBridge, HookForward).inHook().drop(aBridge, "NETFILTER_DROP", "nf_hook_slow")
		return OutcomeDropped
	case 1:
		q.toServer().reply().leaveServer()
		return OutcomeLost
	case 2: // the first is dropped, the second answered
		q.leavePod().drop(aVeth, "QDISC_DROP", "qdisc")
		s.pass(10 * time.Millisecond)
		s.whole(s.query(client, service, i, name, dns.TypeA+i%2*27))
	case 3:
		q.leavePod().translate()
		s.pass(10 * time.Millisecond)
		s.whole(s.query(client, service, i, name, dns.TypeA+i%2*27))
	case 4:
		q.leavePod().translate().tx(aEth0)
		q.quoteIt(Quote{Type: 3, Code: 1, From: nodeAddr.Addr(), To: client.Addr()}).rx(aEth0).rx(podEth0)
		return OutcomeRejected
	default:
		s.whole(q)
	}
	return OutcomeAnswered
}

func (s *scene) crowdStream(random *rand.Rand, i uint16) Outcome {
	st := s.stream()
	st.addr = netip.AddrPortFrom(webPod.Addr(), tcpPort+i)
	st.client, st.server = random.Uint32(), random.Uint32()
	q, r := st.question(i, "a.example.test.", dns.TypeA)
	data := TCP{ACK: true}
	switch random.IntN(6) {
	case 0:
		st.fromClient(TCP{SYN: true}, nil).leavePod().drop(aVeth, "NETFILTER_DROP", "nf_hook_slow")
		return OutcomeDropped
	case 1:
		st.fromClient(TCP{SYN: true}, nil).reachServer()
		st.fromServer(TCP{RST: true}, nil).comeHome()
		return OutcomeRejected
	case 2:
		st.open()
		st.fromClient(data, q).reachServer()
		return OutcomeLost
	case 3: // cut into segments, of which one is dropped once
		st.open()
		st.fromClient(data, q).reachServer()
		first, second := st.fromServer(data, r[:9]), st.fromServer(data, r[9:])
		first.leaveServer().drop(bVeth, "QDISC_DROP", "qdisc")
		second.comeHome()
		s.pass(10 * time.Millisecond)
		first.again().comeHome()
	default:
		st.open()
		st.fromClient(data, q).reachServer()
		st.fromServer(data, r).comeHome()
		st.fromClient(TCP{FIN: true, ACK: true}, nil).reachServer()
		st.fromServer(TCP{FIN: true}, nil).comeHome()
	}
	return OutcomeAnswered
}

// number returns which lookup of a crowd e is of, in which l was made of it.
func (l *Lookup) number() uint16 {
	if l.Transport == TransportTCP {
		return l.Client.Port() - tcpPort
	}
	return l.DNSID
}

func (e *Event) number() uint16 {
	switch {
	case e.TCP == nil:
		return e.DNSID
	case e.Response:
		return e.Dst.Port() - tcpPort
	}
	return e.Src.Port() - tcpPort
}

// damage is what may happen to events between the kernel and the Correlator,
// each as a chance in a hundred.
type damage struct {
	name                            string
	loss, twice, forgotten, renamed int
	delay                           time.Duration
	blurred                         bool // packets of like content can't be told apart any more: outcomes are not compared
}

func (d *damage) apply(random *rand.Rand, events []*Event) []*Event {
	var out []*Event
	for _, e := range events {
		chance := func(percent int) bool { return random.IntN(100) < percent }
		if chance(d.loss) {
			continue
		}
		changed := *e
		switch {
		case chance(d.forgotten):
			changed.Packet = 0
		case chance(d.renamed):
			changed.Packet = random.Uint64()
		}
		out = append(out, &changed)
		if chance(d.twice) {
			out = append(out, &changed)
		}
	}
	if d.delay > 0 {
		out = shuffle(out, random.Uint64(), d.delay)
	}
	return out
}

// TestCrowd holds what must be true whatever happens to the events of many
// lookups: no panic, no hop in a foreign lookup, no lookup and no memory lost; and
// no wrong outcome: what lost events leave open is incomplete.
func TestCrowd(t *testing.T) {
	for _, d := range []damage{
		{name: "none"},
		{name: "reordered", delay: 8 * time.Millisecond},
		{name: "late", delay: time.Second, blurred: true},
		{name: "few lost", loss: 3, delay: 8 * time.Millisecond},
		{name: "lost", loss: 30, delay: 8 * time.Millisecond},
		{name: "most lost", loss: 90},
		{name: "twice", twice: 30, delay: 8 * time.Millisecond},
		{name: "identities unknown", forgotten: 100},
		{name: "identities changed", forgotten: 20, renamed: 20, delay: 8 * time.Millisecond, blurred: true},
		{name: "all", loss: 20, twice: 20, forgotten: 20, renamed: 20, delay: 30 * time.Millisecond, blurred: true},
	} {
		t.Run(d.name, func(t *testing.T) {
			for seed := range uint64(60) {
				random := rand.New(rand.NewPCG(seed, 0))
				checkCrowd(t, seed, &d, random)
			}
		})
	}
}

func checkCrowd(t *testing.T, seed uint64, d *damage, random *rand.Rand) {
	t.Helper()
	events, truth := crowd(random)
	events = d.apply(random, events)
	owner := map[uint64]uint16{} // by time
	missing := map[uint16]bool{} // that begin in a way that opens a lookup
	for _, e := range events {
		owner[e.Time] = e.number()
		if e.Freed == nil && e.Probe != ProbeRead && e.Quote == nil && (e.TCP == nil || d.loss == 0 && !d.blurred) {
			missing[e.number()] = true
		}
	}
	var done []*Lookup
	c := NewCorrelator(CorrelatorOptions{Linger: 5 * time.Millisecond}, func(l *Lookup) {
		done = append(done, l)
		delete(missing, l.number())
		checkOwner(t, seed, l, owner)
		if want := truth[l.number()]; l.Outcome != want && !d.blurred && (d.loss == 0 || l.Outcome != OutcomeIncomplete || !l.Incomplete) {
			t.Errorf("seed %d: %s lookup %d is %s: %s (%q), want %s", seed, l.Transport, l.number(), l.Outcome, l.Detail, l.Why, want)
		}
	})
	if d.loss > 0 {
		c.Lost(sceneStart, sceneStart+uint64(time.Minute))
	}
	for _, e := range events {
		c.Add(e)
		if random.IntN(50) == 0 {
			c.Advance(0)
		}
	}
	c.Advance(sceneStart + uint64(time.Hour))
	wantEmpty(t, c)
	c.Flush()
	wantEmpty(t, c)
	if len(missing) > 0 {
		t.Errorf("seed %d: no lookup was handed out for numbers %v", seed, missing)
	}
	if got := c.Counters(); got.Lookups != uint64(len(done)) || got.Events != uint64(len(events)) {
		t.Errorf("seed %d: counted %d lookups and %d events, want %d and %d", seed, got.Lookups, got.Events, len(done), len(events))
	}
	checkOnce(t, seed, done)
}

// checkOwner reports the first hop of l that is not its own.
func checkOwner(t *testing.T, seed uint64, l *Lookup, owner map[uint64]uint16) {
	t.Helper()
	for _, leg := range l.Legs {
		for i := range leg.Hops {
			h := &leg.Hops[i]
			if n := owner[h.Time]; n != l.number() {
				t.Errorf("seed %d: %s lookup %d has a hop of %d: %s", seed, l.Transport, l.number(), n, describeHop(h))
				return
			}
			if h.Time < l.Start || h.Time > l.End {
				t.Errorf("seed %d: lookup %d has a hop outside its time: %s", seed, l.number(), describeHop(h))
				return
			}
		}
	}
}

// BenchmarkCorrelatorAdd measures one event, a copy of it included, of lookups
// that are answered while many others stay open: those have sent a query, of which
// one event is known. Events come 10 µs apart. B/open is what an open one takes.
func BenchmarkCorrelatorAdd(b *testing.B) {
	for _, open := range []int{1e4, 1e5, 1e6} {
		b.Run(fmt.Sprintf("open=%d", open), func(b *testing.B) {
			s := newScene()
			s.whole(s.ask())
			before := heap()
			c := NewCorrelator(CorrelatorOptions{Timeout: 24 * time.Hour, MaxLookups: 2 * open, MaxEvents: 4 * open}, func(*Lookup) {})
			for i := range open {
				e := *s.events[0]
				e.Time, e.Packet, e.Captured = uint64(i)*1000, uint64(1<<32+i), slices.Clone(e.Captured)
				e.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 16), byte(i >> 8)}), uint16(i&0xff))
				c.Add(&e)
			}
			c.Advance(sceneStart - 1)
			size := heap() - before
			n := uint64(len(s.events))
			span := s.now - sceneStart
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				e := *s.events[i%n]
				e.Time += i / n * span
				e.Packet += i / n << 8
				e.DNSID = uint16(i / n)
				c.Add(&e)
				if i%n == 0 {
					c.Advance(0)
				}
			}
			b.ReportMetric(float64(size)/float64(open), "B/open")
			if got := c.Open(); got < open {
				b.Errorf("%d lookups are open, want %d at least", got, open)
			}
		})
	}
}

// heap returns how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
