package diagnose

import (
	"errors"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

// strayLookup is a lookup whose query node-a redirected, and whose reply came to
// the client by the given hops, as it left the server.
func strayLookup(reply ...tracer.Hop) *tracer.Lookup {
	l := fakeLookup(tracer.OutcomeUnexpectedSource, tracer.Hop{
		Name: "nat", NetNS: nsNodeA, Src: client, Dst: backend,
		Change: &tracer.Change{Kind: tracer.ChangeDNAT, From: service, To: backend, By: byRule("iptables nat PREROUTING → KUBE-SERVICES", "")},
	})
	for i := range reply {
		h := &reply[i]
		h.Time = uint64(10 + i)
		if h.TTL == 0 {
			h.TTL = 64
		}
		if !h.Src.IsValid() {
			h.Src, h.Dst = backend, client
		}
	}
	l.Legs = append(l.Legs, tracer.Leg{Response: true, Attempt: 1, Hops: reply})
	return l
}

func TestReplyNotUntranslated(t *testing.T) {
	in := tracer.Hop{Name: "rx", Layer: "device", NetNS: nsNodeA, Ifindex: 5, Dev: "veth-dns"}
	out := tracer.Hop{Name: "tx", Layer: "device", NetNS: nsNodeA, Ifindex: 4, Dev: "veth-client"}
	end := tracer.Hop{Name: "drop", NetNS: nsClient, Drop: &tracer.Drop{Reason: "NO_SOCKET", Function: "__udp4_lib_rcv"}}
	routed, tracked, hooked, home := out, out, in, end
	routed.TTL = 63
	tracked.CT = &tracer.Conntrack{}
	hooked.Name, hooked.Layer = "hook", "netfilter"
	home.Src, home.Dst = service, client

	links := []Link{{Index: 3, Name: "cni0"}, {Index: 4, Master: 3}, {Index: 5, Master: 3}}
	off := &fakeNS{name: "node-a", links: links, sysctls: map[string]string{"net/bridge/bridge-nf-call-iptables": "0"}}
	on := &fakeNS{name: "node-a", links: links, sysctls: map[string]string{"net/bridge/bridge-nf-call-iptables": "1"}}
	absent := &fakeNS{name: "node-a", links: links}
	unread := &fakeNS{name: "node-a", err: errors.New("no permission")}
	for _, c := range []struct {
		name       string
		node       *fakeNS
		reply      []tracer.Hop
		want       string
		confidence tracer.Confidence
	}{
		{"bridged", off, []tracer.Hop{in, out, end}, "reply-not-untranslated", tracer.ConfidenceConfirmed},
		{"no br_netfilter", absent, []tracer.Hop{in, out, end}, "reply-not-untranslated", tracer.ConfidenceConfirmed},
		{"the sysctl says otherwise now", on, []tracer.Hop{in, out, end}, "reply-not-untranslated", tracer.ConfidenceSeen},
		{"state unreadable", unread, []tracer.Hop{in, out, end}, "reply-not-untranslated", tracer.ConfidenceSeen},
		{"another way", off, []tracer.Hop{end}, "reply-not-untranslated", tracer.ConfidenceSeen},
		{"routed", off, []tracer.Hop{in, routed, end}, Unexplained, tracer.ConfidenceSeen},
		{"conntrack knows it", off, []tracer.Hop{in, tracked, end}, Unexplained, tracer.ConfidenceSeen},
		{"netfilter saw it", off, []tracer.Hop{in, hooked, out, end}, Unexplained, tracer.ConfidenceSeen},
		{"translated", off, []tracer.Hop{in, out, home}, Unexplained, tracer.ConfidenceSeen},
		{"not at the client", off, []tracer.Hop{in, out}, Unexplained, tracer.ConfidenceSeen},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := strayLookup(c.reply...)
			checkDiagnosis(t, fakeNode{nsNodeA: c.node}, l, c.want)
			if got := l.Findings[0].Confidence; got != c.confidence {
				t.Errorf("confidence %s, want %s", got, c.confidence)
			}
		})
	}
}
