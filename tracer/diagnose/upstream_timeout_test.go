package diagnose

import (
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/tracer"
)

func TestUpstreamTimeout(t *testing.T) {
	node := fakeNode{nsServer: {name: "dns-b"}, nsClient: {name: "client"}}
	silent := tracer.Hop{Name: "socket", NetNS: nsNodeB}
	tests := []struct {
		name    string
		parent  *tracer.Lookup
		child   tracer.Outcome
		want    string
		further string // of a lookup soon after, refused at once
	}{
		{"it says so", fakeAnswer(dns.RcodeServerFailure, 2*time.Second), tracer.OutcomeLost, "upstream-timeout", "upstream-timeout"},
		{"it refuses", fakeAnswer(dns.RcodeRefused, 2*time.Second), tracer.OutcomeRejected, "upstream-timeout", "upstream-timeout"},
		{"it says nothing", fakeLookup(tracer.OutcomeLost, tracer.Hop{Name: "socket", NetNS: nsServer}), tracer.OutcomeLost, "upstream-timeout", ""},
		{"upstream answered", fakeAnswer(dns.RcodeServerFailure, 2*time.Second), tracer.OutcomeAnswered, "", ""},
		{"it is not known what came of it", fakeAnswer(dns.RcodeServerFailure, 2*time.Second), tracer.OutcomeIncomplete, "", ""},
		{"it knew the answer", fakeAnswer(dns.RcodeSuccess, 2*time.Second), tracer.OutcomeLost, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := New(node)
			child := fakeChild(tt.parent, tt.child, silent)
			d.Diagnose(tt.parent, child)
			if got := idsOf(tt.parent); got != tt.want {
				t.Fatalf("finding %q, want %q", got, tt.want)
			}
			if tt.want != "" && tt.child == tracer.OutcomeLost {
				if cause := idsOf(child); cause != "server-silent" || tt.parent.Findings[0].Mend[0] != child.Findings[0].Mend[0] {
					t.Errorf("%q, mend %q: want that of the cause, %q", cause, tt.parent.Findings[0].Mend, child.Findings[0].Mend)
				}
			}
			if tt.further == "" {
				return
			}
			again := fakeAnswer(dns.RcodeServerFailure, time.Millisecond)
			again.Question.Name = "other.example.test."
			again.Start, again.End = tt.parent.End+1, tt.parent.End+2
			if d.Diagnose(again); idsOf(again) != tt.further {
				t.Errorf("then %q, want %q", idsOf(again), tt.further)
			}
		})
	}
}

// What a server remembers is told by what it did itself, and not by what was said
// of it before; and not of one that works.
func TestFailedBefore(t *testing.T) {
	const second = uint64(time.Second)
	at := func(later uint64, rcode int, name string) *tracer.Lookup {
		l := fakeAnswer(rcode, time.Millisecond)
		l.Question.Name, l.Start, l.End = name, l.Start+later, l.End+later
		for _, leg := range l.Legs {
			for i := range leg.Hops {
				leg.Hops[i].Time += later
			}
		}
		return l
	}
	refused := func(name string, later uint64) *tracer.Lookup { return at(later, dns.RcodeServerFailure, name) }
	answered := at(4*second, dns.RcodeSuccess, "well.example.test.")
	for _, tt := range []struct {
		name string
		then []*tracer.Lookup
		want string // of the last
	}{
		{"another name", []*tracer.Lookup{refused("other.example.test.", 5*second)}, "upstream-timeout"},
		{"the same name, of one that works", []*tracer.Lookup{answered, refused("a.example.test.", 5*second)}, "upstream-timeout"},
		{"another, of one that works", []*tracer.Lookup{answered, refused("other.example.test.", 5*second)}, "server-refused"},
		{"as the one before", []*tracer.Lookup{refused("other.example.test.", 25*second), refused("third.example.test.", 45*second)}, "server-refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := New(fakeNode{nsServer: {name: "dns-b"}, nsClient: {name: "client"}})
			parent := fakeAnswer(dns.RcodeServerFailure, 2*time.Second)
			d.Diagnose(parent, fakeChild(parent, tracer.OutcomeLost, tracer.Hop{Name: "socket", NetNS: nsNodeB}))
			for _, l := range tt.then {
				d.Diagnose(l)
			}
			if got := idsOf(tt.then[len(tt.then)-1]); got != tt.want {
				t.Errorf("finding %q, want %q", got, tt.want)
			}
		})
	}
}

// idsOf returns the ID of the one finding of a lookup; "" if it has none.
func idsOf(l *tracer.Lookup) (ids string) {
	for _, f := range l.Findings {
		ids += f.ID
	}
	return ids
}
