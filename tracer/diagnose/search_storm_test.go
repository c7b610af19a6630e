package diagnose

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/tracer"
)

func TestSearchStorm(t *testing.T) {
	node := fakeNode{nsClient: {name: "web", resolver: &Resolver{Path: "/etc/resolv.conf", NDots: 5, Search: []string{"a.test"}}}}
	// walk is a walk through search domains, A and AAAA each.
	walk := func(domains []string, itself bool) (story []*tracer.Lookup) {
		st := &tracer.Story{Name: "www.example.test"}
		if itself {
			domains = append(domains[:len(domains):len(domains)], "")
		}
		for i, domain := range domains {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
				l := fakeLookup(tracer.OutcomeAnswered)
				l.Start, l.Question = uint64(1000*i)+uint64(qtype), &tracer.Message{Name: st.Name + "." + domain, Type: qtype}
				l.Reply, l.Story = &tracer.Message{Rcode: dns.RcodeNameError}, st
				st.NXDomain++
				if domain == "" {
					l.Reply.Rcode = dns.RcodeSuccess
					st.NXDomain--
				}
				story = append(story, l)
			}
		}
		st.First, st.Lookups = story[0].Ref(), len(story)
		return story
	}
	cluster := []string{"default.svc.cluster.local.", "svc.cluster.local.", "cluster.local."}
	for _, tt := range []struct {
		name    string
		lookups []*tracer.Lookup
		want    string
	}{
		{"all in vain", walk(cluster, true), "search-storm"},
		{"two domains", walk(cluster[:2], true), ""},
		{"the list has it, or the walk goes on", walk(cluster, false), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := New(node)
			d.Diagnose(tt.lookups...)
			if got := idsOf(tt.lookups[0]); got != tt.want {
				t.Fatalf("finding %q, want %q", got, tt.want)
			}
			for _, l := range tt.lookups[1:] {
				if len(l.Findings) > 0 {
					t.Errorf("findings %+v of a later step", l.Findings)
				}
			}
			again := walk(cluster, true)
			d.Diagnose(again...)
			if got := idsOf(again[0]); tt.want != "" && got != "" {
				t.Errorf("the client is told of again: %q", got)
			}
		})
	}
	l := walk(cluster, true)
	New(fakeNode{}).Diagnose(l...)
	if idsOf(l[0]) != "search-storm" || l[0].Findings[0].Confidence != tracer.ConfidenceSeen {
		t.Errorf("without resolv.conf: %+v", l[0].Findings)
	}
}
