package capture

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

var answeredLegs = []string{"  query 1: a:tx a:tx > b:rx b:socket", "  reply 1: b:tx b:tx > a:rx a:socket"}

// dropQuery adds a lookup that node b dropped.
func (w *world) dropQuery(at time.Duration, name string, id uint16) {
	w.see(at, look{node: "a", name: name, id: id, local: true, outcome: "lost", detail: "no reply was seen", legs: []render.Leg{asked(0, pod, 1)}})
	w.see(at, look{node: "b", name: name, id: id, outcome: "dropped", detail: "the query: NETFILTER_DROP in nft_do_chain (FORWARD)", legs: []render.Leg{
		way("query", 1, hop(220*us, "rx", "eth0", pod, dnsPod, inTunnel(nodeA, nodeB)), hop(230*us, "drop", "eth0", pod, dnsPod, dropped)),
	}})
}

// loseQuery adds a lookup that left node a, and that nobody saw again.
func (w *world) loseQuery(at time.Duration, name string, id uint16) {
	w.see(at, look{node: "a", name: name, id: id, local: true, outcome: "lost", detail: "no reply was seen", legs: []render.Leg{asked(0, pod, 1)}})
}

const lostOnA = "no reply was seen; the query was last seen on a: tx eth0 in host"

func TestJoin(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(w *world)
		want []string
	}{
		{"healthy", func(w *world) { w.healthy(time.Second, "x.", 1) }, append([]string{"x. answered"}, answeredLegs...)},
		{"dropped on the other node", func(w *world) {
			w.healthy(time.Second, "x.", 1)
			w.dropQuery(2*time.Second, "y.", 2)
		}, append(append([]string{"x. answered"}, answeredLegs...),
			"y. dropped: the query: NETFILTER_DROP in nft_do_chain (FORWARD), on b", "  query 1: a:tx a:tx > b:rx b:drop")},
		{"dropped on the other node, clock unknown", func(w *world) { w.dropQuery(2*time.Second, "y.", 2) },
			[]string{"y. dropped: the query: NETFILTER_DROP in nft_do_chain (FORWARD), on b", "  query 1: a:tx a:tx > b:rx b:drop"}},
		{"reply dropped on the other node, though the client's trace is incomplete", func(w *world) {
			w.see(time.Second, look{node: "a", name: "x.", id: 1, local: true, outcome: "incomplete", detail: "events were lost while it was under way", legs: []render.Leg{asked(0, pod, 1)}})
			w.see(time.Second, look{node: "b", name: "x.", id: 1, outcome: "dropped", detail: "the reply: TC_INGRESS", legs: []render.Leg{
				served(0, pod, 1), way("reply", 1, hop(400*us, "tx", "eth0", dnsPod, pod), hop(410*us, "drop", "eth0", dnsPod, pod, dropped)),
			}})
		}, []string{
			"x. dropped: the reply: TC_INGRESS, on b", "  query 1: a:tx a:tx > b:rx b:socket", "  reply 1: b:tx b:drop",
			"  incomplete: events were lost while it was under way",
		}},
		{"the server is silent", func(w *world) {
			w.loseQuery(time.Second, "x.", 1)
			w.see(time.Second, look{node: "b", name: "x.", id: 1, outcome: "lost", detail: "the server read the query and sent no reply", legs: []render.Leg{served(0, pod, 1)}})
		}, []string{
			"x. lost: the server read the query and sent no reply; the query was last seen on b: socket in host",
			"  query 1: a:tx a:tx > b:rx b:socket",
		}},
		{"the second attempt is answered", func(w *world) {
			w.healthy(time.Second, "w.", 9)
			w.see(2*time.Second, look{node: "a", name: "x.", id: 1, local: true, outcome: "answered", legs: []render.Leg{
				asked(0, pod, 1), asked(uint64(5*time.Second), pod, 2), answer(uint64(5*time.Second), pod, 2),
			}})
			w.see(2*time.Second, look{node: "b", name: "x.", id: 1, outcome: "answered", legs: []render.Leg{
				served(uint64(5*time.Second), pod, 1), replied(uint64(5*time.Second), pod, 1),
			}})
		}, append(append([]string{"w. answered"}, answeredLegs...),
			"x. answered", "  query 1: a:tx a:tx", "  query 2: a:tx a:tx > b:rx b:socket", "  reply 2: b:tx b:tx > a:rx a:socket")},
		{"which attempt came is not known without a clock", func(w *world) {
			w.see(2*time.Second, look{node: "a", name: "x.", id: 1, local: true, outcome: "lost", detail: "no reply was seen", legs: []render.Leg{
				asked(0, pod, 1), asked(uint64(5*time.Second), pod, 2),
			}})
			w.see(2*time.Second, look{node: "b", name: "x.", id: 1, outcome: "lost", detail: "the server read the query and sent no reply", legs: []render.Leg{served(0, pod, 1)}})
		}, []string{
			"x. lost: " + lostOnA, "  query 1: a:tx a:tx", "  query 2: a:tx a:tx", "  incomplete: b's export has not seen it, but the two clocks can't be compared",
			"x. lost: the server read the query and sent no reply; the query was last seen on b: socket in host", "  query 1: b:rx b:socket",
		}},
		{"two records of one node, whose timeout was shorter", func(w *world) {
			w.healthy(time.Second, "w.", 9)
			w.see(2*time.Second, look{node: "a", name: "x.", id: 1, local: true, outcome: "lost", detail: "no reply was seen", legs: []render.Leg{
				asked(0, pod, 1), asked(uint64(5*time.Second), pod, 2),
			}})
			for _, at := range []uint64{0, uint64(5 * time.Second)} {
				w.see(2*time.Second, look{node: "b", name: "x.", id: 1, outcome: "lost", detail: "the server read the query and sent no reply", legs: []render.Leg{served(at, pod, 1)}})
			}
		}, append(append([]string{"w. answered"}, answeredLegs...),
			"x. lost: the server read the query and sent no reply; the query was last seen on b: socket in host",
			"  query 1: a:tx a:tx > b:rx b:socket", "  query 2: a:tx a:tx > b:rx b:socket")},
		{"same port and ID again", func(w *world) {
			w.healthy(time.Second, "w.", 9)
			w.healthy(2*time.Second, "x.", 1)
			w.loseQuery(3*time.Second, "x.", 1)
			w.healthy(4*time.Second, "x.", 1)
		}, append(append(append(append(append([]string{"w. answered"}, answeredLegs...), "x. answered"), answeredLegs...),
			"x. lost: "+lostOnA+"; b's export covers that time and has not seen it", "  query 1: a:tx a:tx", "x. answered"), answeredLegs...)},
		{"other question under the same port and ID", func(w *world) {
			w.healthy(time.Second, "w.", 9)
			w.loseQuery(2*time.Second, "x.", 1)
			w.see(2*time.Second, look{node: "b", name: "y.", id: 1, outcome: "answered", legs: []render.Leg{served(0, pod, 1), replied(0, pod, 1)}})
		}, append(append([]string{"w. answered"}, answeredLegs...),
			"x. lost: "+lostOnA, "  query 1: a:tx a:tx", "  incomplete: b's export has packets like it that can't be told apart",
			"y. answered", "  query 1: b:rx b:socket", "  reply 1: b:tx b:tx")},
		{"the reply is lost on the wire", func(w *world) {
			w.healthy(time.Second, "w.", 9)
			w.loseQuery(2*time.Second, "x.", 1)
			w.see(2*time.Second, look{node: "b", name: "x.", id: 1, outcome: "answered", legs: []render.Leg{served(0, pod, 1), replied(0, pod, 1)}})
		}, append(append([]string{"w. answered"}, answeredLegs...),
			"x. lost: a reply was on its way and did not arrive; a reply was last seen on b: tx eth0 in host; a's export covers that time and has not seen it",
			"  query 1: a:tx a:tx > b:rx b:socket", "  reply 1: b:tx b:tx")},
		{"masqueraded", func(w *world) {
			const from, server = "192.0.2.1:61000", "198.51.100.53:53"
			w.see(time.Second, look{node: "a", name: "x.", id: 1, local: true, outcome: "answered", legs: []render.Leg{
				way("query", 1, hop(0, "tx", "eth0", pod, server), hop(10*us, "tx", "eth0", from, server)),
				way("reply", 1, hop(500*us, "rx", "eth0", server, from), hop(510*us, "socket", "", server, pod)),
			}})
			w.see(time.Second, look{node: "b", name: "x.", id: 1, outcome: "answered", legs: []render.Leg{
				way("query", 1, hop(100*us, "rx", "eth0", from, server), hop(110*us, "socket", "", from, server)),
				way("reply", 1, hop(300*us, "tx", "eth0", server, from)),
			}})
		}, []string{"x. answered", "  query 1: a:tx a:tx > b:rx b:socket", "  reply 1: b:tx > a:rx a:socket"}},
		{"both nodes saw their host's namespace alone", func(w *world) {
			through := func(node string, at, back uint64, in, out uint8) {
				w.see(time.Second, look{node: node, name: "x.", id: 1, outcome: "answered", legs: []render.Leg{
					way("query", 1, hop(at, "rx", "eth0", pod, dnsPod, ttl(in)), hop(at+10*us, "tx", "eth1", pod, dnsPod, ttl(out))),
					way("reply", 1, hop(back, "rx", "eth1", dnsPod, pod, ttl(127-in)), hop(back+10*us, "tx", "eth0", dnsPod, pod, ttl(127-in-1))),
				}})
			}
			through("b", 100*us, 300*us, 63, 62)
			through("a", 0, 400*us, 64, 63)
		}, []string{"x. answered", "  query 1: a:rx a:tx > b:rx b:tx", "  reply 1: b:rx b:tx > a:rx a:tx"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, off := range []time.Duration{0, 3 * time.Hour, 1200 * time.Microsecond} {
				w := newWorld()
				w.off["b"] = off
				w.begin("a")
				w.begin("b")
				tt.make(w)
				w.end("a")
				w.end("b")
				records, _ := joined(t, w.sources())
				want := strings.Join(tt.want, "\n")
				got := strings.Join(lines(records), "\n")
				check(t, fmt.Sprintf("lookups, clock off by %s", off), want, got)
			}
		})
	}
}
