package diagnose

import (
	"strings"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestTruncatedNoTCP(t *testing.T) {
	node := fakeNode{nsClient: {name: "client"}, nsNodeA: {name: "node-a"}}
	lookups := func(outcome tracer.Outcome, kind tracer.LinkKind) (udp, tcp *tracer.Lookup) {
		udp = fakeLookup(tracer.OutcomeAnswered)
		udp.Reply, udp.ReplyLen = &tracer.Message{TC: true}, 31
		tcp = fakeLookup(outcome, tracer.Hop{Name: "tx", NetNS: nsClient})
		tcp.Legs[0].Segment, tcp.Transport, tcp.Start = "SYN", tracer.TransportTCP, 1000
		tcp.Links = []tracer.Link{{Kind: kind, Ref: udp.Ref()}}
		return udp, tcp
	}
	for _, tt := range []struct {
		name    string
		outcome tracer.Outcome
		kind    tracer.LinkKind
		want    string
	}{
		{"lost", tracer.OutcomeLost, tracer.LinkTruncationOf, "truncated-no-tcp"},
		{"answered", tracer.OutcomeAnswered, tracer.LinkTruncationOf, ""},
		{"for another reason", tracer.OutcomeLost, tracer.LinkRetryOf, Unexplained},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := New(node)
			udp, tcp := lookups(tt.outcome, tt.kind)
			d.Diagnose(udp)
			d.Diagnose(tcp)
			if got := idsOf(tcp); got != tt.want || len(udp.Findings) > 0 {
				t.Fatalf("finding %q, want %q; over UDP %+v", got, tt.want, udp.Findings)
			}
			if tt.want == "truncated-no-tcp" && !strings.Contains(tcp.Findings[0].Evidence[0], "a.example.test. was truncated to 31 bytes") {
				t.Errorf("evidence %q", tcp.Findings[0].Evidence)
			}
		})
	}
}
