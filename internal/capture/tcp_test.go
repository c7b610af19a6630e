package capture

import (
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

// tcp makes a lookup over TCP of what begin wrote.
func (w *world) tcp(node string, at time.Duration, l look, kinds ...string) {
	for i := range l.legs {
		l.legs[i].Segment = kinds[i]
	}
	w.see(at, l)
	text := strings.TrimSuffix(w.files[node].String(), "\n")
	i := strings.LastIndex(text, "\n") + 1
	w.files[node].Reset()
	w.files[node].WriteString(text[:i] + strings.Replace(text[i:], `"transport":"udp"`, `"transport":"tcp"`, 1) + "\n")
}

// TestTCP holds that segments of one connection, which bear the same addresses,
// are joined each with its own.
func TestTCP(t *testing.T) {
	w := newWorld()
	w.off["b"] = time.Hour
	w.begin("a")
	w.begin("b")
	ms := uint64(time.Millisecond)
	w.tcp("a", time.Second, look{node: "a", name: "x.", id: 1, local: true, outcome: "answered", legs: []render.Leg{
		asked(0, pod, 1), answer(0, pod, 1), asked(ms, pod, 1), answer(ms, pod, 1),
	}}, "SYN", "SYN-ACK", "data", "data")
	w.tcp("b", time.Second, look{node: "b", name: "x.", id: 1, outcome: "answered", legs: []render.Leg{
		served(0, pod, 1), replied(0, pod, 1), served(ms, pod, 1), replied(ms, pod, 1),
	}}, "SYN", "SYN-ACK", "data", "data")
	// the handshake is seen on both nodes, the question on the first alone
	const other = "10.244.1.10:40001"
	w.tcp("a", 2*time.Second, look{node: "a", name: "y.", id: 2, local: true, outcome: "lost", detail: "no reply was seen", legs: []render.Leg{
		asked(0, other, 1), answer(0, other, 1), asked(ms, other, 1),
	}}, "SYN", "SYN-ACK", "data")
	w.tcp("b", 2*time.Second, look{node: "b", id: 0, outcome: "lost", detail: "no query was seen", legs: []render.Leg{served(0, other, 1), replied(0, other, 1)}}, "SYN", "SYN-ACK")
	// not even the SYN arrives
	w.tcp("a", 3*time.Second, look{node: "a", local: true, outcome: "lost", detail: "no SYN-ACK", legs: []render.Leg{asked(0, "10.244.1.10:40002", 1)}}, "SYN")
	w.end("a")
	w.end("b")
	records, _ := joined(t, w.sources())
	check(t, "lookups", []string{
		"x. answered", "  query 1: a:tx a:tx > b:rx b:socket", "  reply 1: b:tx b:tx > a:rx a:socket",
		"  query 1: a:tx a:tx > b:rx b:socket", "  reply 1: b:tx b:tx > a:rx a:socket",
		"y. lost: no reply was seen; the newest packet of the query (data) was last seen on a: tx eth0 in host",
		"  query 1: a:tx a:tx > b:rx b:socket", "  reply 1: b:tx b:tx > a:rx a:socket", "  query 1: a:tx a:tx",
		"  incomplete: b's export has this connection, and not this packet of it",
		" lost: no SYN-ACK; the newest packet of the query (SYN) was last seen on a: tx eth0 in host; b's export covers that time and has not seen it",
		"  query 1: a:tx a:tx",
	}, lines(records))
}

// TestICMP holds that an error is followed to the client's node, and says
// nothing of a reply.
func TestICMP(t *testing.T) {
	w := newWorld()
	w.begin("a")
	w.begin("b")
	w.healthy(time.Second, "w.", 9)
	refusal := func(hops ...render.Hop) render.Leg {
		g := way("reply", 1, hops...)
		g.ICMP = &render.Quote{Type: 3, Code: 3, From: "10.244.2.53", To: "10.244.1.10", Meaning: "port unreachable"}
		return g
	}
	w.see(2*time.Second, look{node: "a", name: "x.", id: 1, local: true, outcome: "lost", detail: "no reply was seen", legs: []render.Leg{
		asked(0, pod, 1), refusal(hop(500*us, "rx", "eth0", pod, dnsPod)),
	}})
	w.see(2*time.Second, look{node: "b", name: "x.", id: 1, outcome: "rejected", detail: "ICMP port unreachable", legs: []render.Leg{
		way("query", 1, hop(220*us, "rx", "eth0", pod, dnsPod, inTunnel(nodeA, nodeB)), hop(230*us, "icmp", "eth0", pod, dnsPod, func(h *render.Hop) {
			h.ICMP = &render.ICMP{Type: 3, Code: 3, Meaning: "port unreachable"}
		})),
		refusal(hop(300*us, "tx", "eth0", pod, dnsPod)),
	}})
	w.end("a")
	w.end("b")
	records, _ := joined(t, w.sources())
	check(t, "lookup", []string{
		"x. rejected: ICMP port unreachable, on b", "  query 1: a:tx a:tx > b:rx b:icmp", "  reply 1: b:tx > a:rx",
	}, lines(records[1:]))
}
