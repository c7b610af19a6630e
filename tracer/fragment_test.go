package tracer

import (
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// pieces returns the fragments of a packet, each of size bytes but for the last.
func (p *packet) pieces(total, size int) []*packet {
	var all []*packet
	for at := 0; at < total; at += size {
		f := *p
		f.piece, f.offset, f.last = true, uint16(at), at+size >= total
		f.length = min(size, total-at)
		if at > 0 {
			f.id, f.fresh = p.s.id(), true
			f.message = p.message[:headerLen]
		}
		all = append(all, &f)
	}
	return all
}

// describeParts says of each leg which packet it is and where that was last seen.
func describeParts(l *Lookup) []string {
	var lines []string
	for _, leg := range l.Legs {
		name := legName(leg)
		if leg.Fragment != nil {
			name += fmt.Sprintf(" fragment %d", leg.Fragment.Offset)
		}
		if leg.Error != nil {
			name = fmt.Sprintf("%s, response %t", leg.Error, leg.Response)
		}
		hops := hopsOf(leg)
		lines = append(lines, name+": "+hops[len(hops)-1])
	}
	return lines
}

type parts struct {
	Outcome    Outcome
	Detail     string
	Incomplete bool
	Legs       []string
}

func partsOf(lookups []*Lookup) []parts {
	var all []parts
	for _, l := range lookups {
		all = append(all, parts{l.Outcome, l.Detail, l.Incomplete, describeParts(l)})
	}
	return all
}

// TestFragments has replies in three fragments, on a network without conntrack.
func TestFragments(t *testing.T) {
	const total, size = 3008, 1480
	back := func(f *packet) *packet { return f.tx(dnsEth0).rx(bVeth).rx(podEth0) }
	for _, tt := range []struct {
		name  string
		reply func(*packet)
		want  parts
	}{
		{"all arrive", func(r *packet) {
			for _, f := range r.pieces(total, size) {
				back(f)
			}
		}, parts{OutcomeAnswered, "", false, []string{
			"query 1: read dns/ coredns[99]", "reply 1: rx pod/eth0",
			"reply 1 fragment 1480: rx pod/eth0", "reply 1 fragment 2960: rx pod/eth0",
		}}},
		{"the second is dropped", func(r *packet) {
			f := r.pieces(total, size)
			back(f[0])
			f[1].tx(dnsEth0).rx(bVeth).drop(bVeth, "NETFILTER_DROP", "nf_hook_slow")
			back(f[2])
		}, parts{OutcomeDropped, "the reply's fragment at offset 1480: NETFILTER_DROP in nf_hook_slow: a netfilter hook refused it", false, []string{
			"query 1: read dns/ coredns[99]", "reply 1: rx pod/eth0",
			"reply 1 fragment 1480: drop node-b/veth1 NETFILTER_DROP in nf_hook_slow", "reply 1 fragment 2960: rx pod/eth0",
		}}},
		{"the last does not arrive", func(r *packet) {
			f := r.pieces(total, size)
			back(f[0])
			back(f[1])
			f[2].tx(dnsEth0)
		}, parts{OutcomeLost, "of the reply's 3 fragments 2 arrived; that at offset 2960 did not", false, []string{
			"query 1: read dns/ coredns[99]", "reply 1: rx pod/eth0",
			"reply 1 fragment 1480: rx pod/eth0", "reply 1 fragment 2960: tx dns/eth0",
		}}},
		{"whole behind the last hop", func(r *packet) {
			for _, f := range r.pieces(total, size) {
				back(f)
			}
			r.fresh = true
			r.hooks(podEth0, HookInput).see(ProbeSkDataReady, place{ns: nsPod})
		}, parts{OutcomeAnswered, "", false, []string{
			"query 1: read dns/ coredns[99]", "reply 1: socket pod/",
			"reply 1 fragment 1480: rx pod/eth0", "reply 1 fragment 2960: rx pod/eth0",
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			q := s.query(webPod, backend, 4711, "big.example.test.", 16)
			q.tx(podEth0).rx(dnsEth0).read(dnsEth0, 99, "coredns")
			tt.reply(q.reply())
			if diff := gocmp.Diff([]parts{tt.want}, partsOf(correlate(t, CorrelatorOptions{}, s.events))); diff != "" {
				t.Errorf("lookups (-want +got):\n%s", diff)
			}
		})
	}
}

// quote is an ICMP error about a packet as it is now, from a router.
func (p *packet) quoteIt(q Quote) *packet {
	e := *p
	e.id, e.ipid, e.fresh, e.sender = p.s.id(), p.ipid, true, 0
	e.quote, e.hook, e.ttl = &q, "", 64
	return &e
}

// TestQuotes has ICMP errors that come back to the client.
func TestQuotes(t *testing.T) {
	unreachable := Quote{Type: 3, Code: 1, From: nodeAddr.Addr(), To: webPod.Addr()}
	tooBig := Quote{Type: 3, Code: 4, MTU: 1300, From: nodeAddr.Addr(), To: backend.Addr()}
	for _, tt := range []struct {
		name  string
		scene func(*scene)
		want  []parts
	}{
		{"host unreachable, untranslated on the way", func(s *scene) {
			q := s.ask()
			q.leavePod().translate().tx(aEth0)
			e := q.quoteIt(unreachable)
			e.rx(aEth0).nat(aBridge, HookPostrouting, func(p *packet) { p.dst = service }).tx(aVeth).rx(podEth0)
		}, []parts{{OutcomeRejected, "ICMP host unreachable from 192.0.2.1", false, []string{
			"query 1: tx node-a/eth0", "ICMP host unreachable, response true: rx pod/eth0",
		}}}},
		{"no DNS ID quoted, told by the IP ID", func(s *scene) {
			a := s.query(webPod, service, 1, "a.example.test.", 1)
			b := s.query(webPod, service, 2, "a.example.test.", 28)
			a.leavePod()
			b.leavePod()
			e := a.quoteIt(unreachable)
			e.see(ProbeNetifRx, podEth0, func(e *Event) { e.Short, e.DNSID = true, 0 })
		}, []parts{
			{OutcomeRejected, "ICMP host unreachable from 192.0.2.1", false, []string{
				"query 1: rx node-a/veth1", "ICMP host unreachable, response true: rx pod/eth0",
			}},
			{OutcomeLost, "no reply was seen", false, []string{"query 1: rx node-a/veth1"}},
		}},
		{"about the reply", func(s *scene) {
			q := s.query(webPod, backend, 4711, "big.example.test.", 16)
			q.tx(podEth0).rx(dnsEth0).read(dnsEth0, 99, "coredns")
			r := q.reply()
			r.tx(dnsEth0)
			r.quoteIt(tooBig).rx(dnsEth0)
		}, []parts{{OutcomeRejected, "the reply: ICMP fragmentation needed (MTU 1300) from 192.0.2.1", false, []string{
			"query 1: read dns/ coredns[99]", "reply 1: tx dns/eth0", "ICMP fragmentation needed (MTU 1300), response false: rx dns/eth0",
		}}}},
		{"answered all the same", func(s *scene) {
			q := s.ask()
			q.toServer()
			q.quoteIt(unreachable).rx(podEth0)
			q.reply().toClient()
		}, []parts{{OutcomeAnswered, "", false, []string{
			"query 1: read dns/ coredns[99]", "ICMP host unreachable, response true: rx pod/eth0", "reply 1: read pod/ dig[4242]",
		}}}},
		{"about a SYN", func(s *scene) {
			syn := s.stream().fromClient(TCP{SYN: true}, nil)
			syn.leavePod()
			syn.quoteIt(unreachable).rx(podEth0)
		}, []parts{{OutcomeRejected, "ICMP host unreachable from 192.0.2.1", false, []string{
			"query 1: rx node-a/veth1", "ICMP host unreachable, response true: rx pod/eth0",
		}}}},
		{"about nothing that was asked", func(s *scene) {
			s.ask().quoteIt(unreachable).rx(podEth0)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			tt.scene(s)
			if diff := gocmp.Diff(tt.want, partsOf(correlate(t, CorrelatorOptions{}, s.events))); diff != "" {
				t.Errorf("lookups (-want +got):\n%s", diff)
			}
		})
	}
}
