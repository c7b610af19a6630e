package diagnose

import (
	"strings"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestMismatchedReply(t *testing.T) {
	node := fakeNode{nsServer: {name: "dns-b"}, nsNodeA: {name: "node-a"}}
	sent := tracer.Hop{Name: "tx", Dev: "eth0", NetNS: nsServer, Src: backend, Dst: client}
	came := tracer.Hop{Name: "rx", Dev: "eth1", NetNS: nsNodeA, Src: service, Dst: client}
	for _, tt := range []struct {
		name    string
		outcome tracer.Outcome
		stray   tracer.Stray
		want    string
		summary string
		mend    string
	}{
		{"ID", tracer.OutcomeLost, tracer.Stray{Message: &tracer.Message{ID: 7, Name: "a.example.test.", Type: 1}, First: sent},
			"spoofed-or-mismatched-reply", "has ID 7, the query had 4711", "in dns-b"},
		{"question", tracer.OutcomeLost, tracer.Stray{Message: &tracer.Message{ID: 4711, Name: "b.example.test.", Type: 1}, First: came},
			"spoofed-or-mismatched-reply", "is about b.example.test. A, the query asked for a.example.test. A", "by eth1 of node-a"},
		{"and the right one", tracer.OutcomeAnswered, tracer.Stray{Message: &tracer.Message{ID: 7}, First: sent}, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := fakeLookup(tt.outcome, tracer.Hop{Name: "socket", NetNS: nsServer})
			l.DNSID, l.Strays = 4711, []tracer.Stray{tt.stray}
			if tt.want == "" {
				checkDiagnosis(t, node, l)
				return
			}
			checkDiagnosis(t, node, l, tt.want)
			if f := l.Findings[0]; !strings.Contains(f.Summary, tt.summary) || !strings.Contains(f.Mend[0], tt.mend) {
				t.Errorf("%q, mend %q", f.Summary, f.Mend)
			}
		})
	}
}
