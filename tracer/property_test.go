package tracer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// crowdSize is how many lookups a crowd has: two on each socket.
const crowdSize = 50

// crowd returns the events of lookups whose DNS ID is their number, all under
// way at one time, in order of time. No two events have the same time.
func crowd(random *rand.Rand) []*Event {
	var events []*Event
	for i := range uint16(crowdSize) {
		s := newScene()
		s.blind = random.IntN(2) == 0
		s.now += random.Uint64N(uint64(20 * time.Millisecond))
		s.ids = uint64(i) << 32
		q := s.query(netip.AddrPortFrom(webPod.Addr(), 20000+i/2), service, i, fmt.Sprintf("n%d.example.test.", i/2), dns.TypeA+i%2*27)
		switch random.IntN(6) {
		case 0:
			q.leavePod().translate().hooks(aBridge, HookForward).inHook().drop(aBridge, "NETFILTER_DROP", "nf_hook_slow")
		case 1:
			q.toServer().reply().leaveServer()
		case 2:
			q.leavePod().translate()
			s.pass(10 * time.Millisecond)
			s.whole(s.query(q.src, service, i, fmt.Sprintf("n%d.example.test.", i/2), dns.TypeA+i%2*27))
		default:
			s.whole(q)
		}
		events = append(events, s.events...)
	}
	slices.SortStableFunc(events, func(a, b *Event) int { return int(int64(a.Time) - int64(b.Time)) })
	for i := 1; i < len(events); i++ {
		events[i].Time = max(events[i].Time, events[i-1].Time+1)
	}
	return events
}

// damage is what may happen to events between the kernel and the Correlator,
// each as a chance in a hundred.
type damage struct {
	name                            string
	loss, twice, forgotten, renamed int
	delay                           time.Duration
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
// lookups: no panic, no hop in a foreign lookup, no lookup and no memory lost.
func TestCrowd(t *testing.T) {
	for _, d := range []damage{
		{name: "none"},
		{name: "reordered", delay: 8 * time.Millisecond},
		{name: "late", delay: time.Second},
		{name: "lost", loss: 30, delay: 8 * time.Millisecond},
		{name: "twice", twice: 30, delay: 8 * time.Millisecond},
		{name: "identities unknown", forgotten: 100},
		{name: "identities changed", forgotten: 20, renamed: 20, delay: 8 * time.Millisecond},
		{name: "all", loss: 20, twice: 20, forgotten: 20, renamed: 20, delay: 30 * time.Millisecond},
	} {
		t.Run(d.name, func(t *testing.T) {
			for seed := range uint64(20) {
				random := rand.New(rand.NewPCG(seed, 0))
				checkCrowd(t, seed, d.apply(random, crowd(random)), random)
			}
		})
	}
}

func checkCrowd(t *testing.T, seed uint64, events []*Event, random *rand.Rand) {
	t.Helper()
	owner := map[uint64]uint16{} // by time
	missing := map[uint16]bool{} // that begin in a way that opens a lookup
	for _, e := range events {
		owner[e.Time] = e.DNSID
		if e.Freed == nil && e.Probe != ProbeRead {
			missing[e.DNSID] = true
		}
	}
	var done uint64
	c := NewCorrelator(CorrelatorOptions{Linger: 5 * time.Millisecond}, func(l *Lookup) {
		done++
		delete(missing, l.DNSID)
		checkOwner(t, seed, l, owner)
	})
	for _, e := range events {
		c.Add(e)
		if random.IntN(50) == 0 {
			c.Advance(0)
		}
	}
	c.Flush()
	wantEmpty(t, c)
	if len(missing) > 0 {
		t.Errorf("seed %d: no lookup was handed out for IDs %v", seed, missing)
	}
	if got := c.Counters(); got.Lookups != done || got.Events != uint64(len(events)) {
		t.Errorf("seed %d: counted %d lookups and %d events, want %d and %d", seed, got.Lookups, got.Events, done, len(events))
	}
}

// checkOwner reports the first hop of l that is not its own.
func checkOwner(t *testing.T, seed uint64, l *Lookup, owner map[uint64]uint16) {
	t.Helper()
	for _, leg := range l.Legs {
		for i := range leg.Hops {
			h := &leg.Hops[i]
			if id := owner[h.Time]; id != l.DNSID {
				t.Errorf("seed %d: lookup %d has a hop of %d: %s", seed, l.DNSID, id, describeHop(h))
				return
			}
			if h.Time < l.Start || h.Time > l.End {
				t.Errorf("seed %d: lookup %d has a hop outside its time: %s", seed, l.DNSID, describeHop(h))
				return
			}
		}
	}
}

// BenchmarkCorrelatorAdd measures one event, a copy of it included, of lookups
// that are answered while many others stay open. Events come 10 µs apart.
func BenchmarkCorrelatorAdd(b *testing.B) {
	for _, open := range []int{1e3, 1e4, 1e5} {
		b.Run(fmt.Sprintf("open=%d", open), func(b *testing.B) {
			s := newScene()
			s.whole(s.ask())
			c := NewCorrelator(CorrelatorOptions{Timeout: 24 * time.Hour, MaxLookups: 1 << 20}, func(*Lookup) {})
			for i := range open {
				e := *s.events[0]
				e.Time, e.Packet = uint64(i), uint64(1<<32+i)
				e.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 16), byte(i >> 8)}), uint16(i&0xff))
				c.Add(&e)
			}
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
			if got := c.Open(); got < open {
				b.Errorf("%d lookups are open, want %d at least", got, open)
			}
		})
	}
}
