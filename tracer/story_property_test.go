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

// family is lookups that belong together, for names that begin with its label.
type family struct {
	label string
	story int // lookups in its story; 0: they are no story
	links int // of LinkRetryOf
}

// families makes up families of several clients, all under way at one time, and
// returns their events in order of time.
func families(random *rand.Rand) ([]*Event, []family) {
	var all []family
	var events []*Event
	for i := range uint16(30) {
		s := newScene()
		s.now += random.Uint64N(uint64(50 * time.Millisecond))
		s.ids = uint64(i) << 32
		a, f := newAsker(s), forwarder(s)
		a.addr = netip.AddrFrom4([4]byte{10, 244, 1, byte(20 + i%5)})
		a.pid, a.port, a.id = uint32(1000+i), 1000*(i+1), 200*i
		f.port, f.id = a.port+500, a.id+100
		fam := family{label: fmt.Sprintf("g%d", i)}
		fam.story, fam.links = makeFamily(random.IntN(5), fam.label, a, f)
		all = append(all, fam)
		events = append(events, s.events...)
	}
	slices.SortStableFunc(events, func(a, b *Event) int { return int(int64(a.Time) - int64(b.Time)) })
	return events, all
}

// makeFamily makes up one family of a kind.
func makeFamily(kind int, label string, a, f *asker) (story, links int) {
	name := label + ".example.test."
	switch kind {
	case 0:
		a.answer(a.ask(name, typeA))
		a.answered(name, typeAAAA)
		return 2, 0
	case 1:
		for _, domain := range clusterSearch {
			q4, q6 := a.ask(label+"."+domain, typeA), a.again(label+"."+domain, typeAAAA)
			a.served(q4, f, func() { f.answered(label+"."+domain, typeA, nxdomain) }, nxdomain)
			a.answer(q6, nxdomain)
		}
		return 3 * len(clusterSearch), 0
	case 2:
		a.served(a.ask(name, dns.TypeMX), f, func() {
			f.answered(name, dns.TypeMX, truncate)
			f.overTCP(name, dns.TypeMX)
		})
		return 3, 0
	case 3:
		for range 3 {
			a.ask(name, typeA)
			a.pass(time.Second)
		}
		return 0, 2
	}
	a.answered(name, typeA)
	a.pass(10 * time.Millisecond)
	a.answered(name, typeA)
	return 0, 0
}

// TestFamilies holds that whatever happens to the events of many lookups, none is
// tied to those of another family, held back at the end, or handed out twice; and
// that each family is told as what it is, if nothing happens to them.
func TestFamilies(t *testing.T) {
	for _, d := range []damage{
		{name: "none"},
		{name: "reordered", delay: 8 * time.Millisecond},
		{name: "lost", loss: 30},
		{name: "twice", twice: 30},
		{name: "all", loss: 10, twice: 10, forgotten: 10, renamed: 10, delay: 30 * time.Millisecond, blurred: true},
	} {
		t.Run(d.name, func(t *testing.T) {
			for seed := range uint64(40) {
				random := rand.New(rand.NewPCG(seed, 2))
				events, all := families(random)
				done := correlateLive(t, d.apply(random, events))
				checkOnce(t, seed, done)
				checkFamilies(t, seed, done, all, d.name == "none")
			}
		})
	}
}

func checkFamilies(t *testing.T, seed uint64, lookups []*Lookup, all []family, whole bool) {
	t.Helper()
	label := func(l *Lookup) string { return l.Question.Name[:labelEnd(l.Question.Name)] }
	stories, tries, owner := map[string]int{}, map[string]int{}, map[*Story]string{}
	for _, l := range lookups {
		if st := l.Story; st != nil {
			if owner[st] == "" {
				owner[st] = label(l)
			}
			if owner[st] != label(l) {
				t.Errorf("seed %d: lookup for %s is in the story of %s", seed, l.Question.Name, owner[st])
			}
			stories[label(l)]++
		}
		for _, link := range l.Links {
			if link.Kind == LinkRetryOf {
				tries[label(l)]++
			}
		}
	}
	if !whole {
		return
	}
	for _, fam := range all {
		if stories[fam.label] != fam.story || tries[fam.label] != fam.links {
			t.Errorf("seed %d: %s has %d lookups in stories and %d retries, want %d and %d",
				seed, fam.label, stories[fam.label], tries[fam.label], fam.story, fam.links)
		}
	}
	told := map[string]bool{}
	for _, label := range owner {
		if told[label] {
			t.Errorf("seed %d: %s is told as two stories", seed, label)
		}
		told[label] = true
	}
}
