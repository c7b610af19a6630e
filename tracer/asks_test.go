package tracer

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestServerAsked(t *testing.T) {
	servfail := rcode(dns.RcodeServerFailure)
	cacheAddr := netip.MustParseAddrPort("169.254.20.10:53")
	nothing := func() {}
	tests := []struct {
		name  string
		scene func(a, b, cache *asker) // of two pods
		want  map[string]bool          // by name, of lookups whose reply refuses
	}{
		{"by itself", func(a, _, cache *asker) {
			a.served(a.ask("a.test.", typeA), cache, nothing, servfail)
		}, map[string]bool{"a.test.": false}},
		{"it was told so", func(a, _, cache *asker) {
			a.served(a.ask("a.test.", typeA), cache, func() { cache.answered("a.test.", typeA) }, servfail)
		}, map[string]bool{"a.test.": true}},
		{"by another name", func(a, _, cache *asker) {
			a.served(a.ask("a.test.", typeA), cache, func() { cache.answered("ns.test.", typeA) }, servfail)
		}, map[string]bool{"a.test.": true}},
		{"for another client by another name, before", func(a, _, cache *asker) {
			cache.answered("ns.test.", typeA)
			a.served(a.ask("a.test.", typeA), cache, nothing, servfail)
		}, map[string]bool{"a.test.": false}},
		{"nobody asked it, and it answers well", func(a, _, cache *asker) {
			a.served(a.ask("a.test.", typeA), cache, func() { cache.answered("ns.test.", typeA) })
		}, map[string]bool{"a.test.": false}},
		{"from memory, when the first story is not over", func(a, b, cache *asker) {
			first, mate := a.ask("a.test.", typeA), a.again("a.test.", typeAAAA) // the mate gets no answer
			mate.arriveAt(cache.at)
			a.served(first, cache, func() { cache.answered("a.test.", typeA) }, servfail)
			a.pass(time.Second)
			b.port = 41000
			b.served(b.ask("A.test.", typeA), cache, nothing, servfail)
		}, map[string]bool{"a.test.": true, "A.test.": true}},
		{"who asks the same server is its client", func(a, b, cache *asker) {
			b.at, b.addr = cache.at, cache.addr
			b.served(b.ask("a.test.", typeA), cache, nothing, servfail)
			a.served(a.ask("a.test.", typeA), cache, nothing, servfail)
		}, map[string]bool{"a.test.": false}},
		{"a client beside it asks after it", func(a, b, cache *asker) {
			b.at, b.addr = cache.at, cache.addr
			a.served(a.ask("a.test.", typeA), cache, func() { cache.answered("a.test.", typeA) }, servfail)
			b.served(b.ask("b.test.", typeA), cache, nothing, servfail)
			b.served(b.ask("a.test.", typeA), cache, nothing, servfail)
		}, map[string]bool{"a.test.": true, "b.test.": false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			a, b, cache := newAsker(s), newAsker(s), nodeCache(s)
			a.server, b.server = cacheAddr, cacheAddr
			tt.scene(a, b, cache)
			for _, l := range correlateLive(t, s.events) {
				if want, ok := tt.want[l.Question.Name]; ok && l.Server == cacheAddr && l.Reply != nil && l.ServerAsked != want {
					t.Errorf("%s of %v: the server asked: %v, want %v", l.Question.Name, l.Client, l.ServerAsked, want)
				}
			}
		})
	}
}

// TestAsksForget holds that what is remembered is bounded, and that what is forgotten
// is not found.
func TestAsksForget(t *testing.T) {
	a := newAsks()
	m := &member{}
	m.netns, m.server = nsNodeA, backend
	of := func(name string) *ask { return a.at(a.byName[a.key(nsNodeA, name)]) }
	m.name = "old.test."
	a.add(m, 1)
	m.name = "again.test."
	a.add(m, 2)
	for i := range uint64(maxAsks - 2) {
		m.name = "new.test."
		a.add(m, 3+i)
	}
	if of("old.test.") == nil || of("again.test.") == nil {
		t.Error("what is remembered is not found")
	}
	m.name = "again.test."
	a.add(m, maxAsks+1) // in the place of old.test.
	a.add(m, maxAsks+2) // in that of the first again.test.
	if of("old.test.") != nil {
		t.Error("what was forgotten is found")
	}
	if got := of("again.test."); got == nil || got.time != maxAsks+2 {
		t.Errorf("found %+v, want the newest", got)
	}
	if len(a.ring) != maxAsks || len(a.byName) != 2 {
		t.Errorf("%d asks, %d names, want %d and 2", len(a.ring), len(a.byName), maxAsks)
	}
}
