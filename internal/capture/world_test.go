package capture

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/internal/render"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestMain fixes the time zone: text has local times.
func TestMain(m *testing.M) {
	time.Local = time.FixedZone("test", 2*60*60)
	os.Exit(m.Run())
}

// epoch is when the exports of tests begin, by a clock that is right.
var epoch = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// The addresses of tests: a pod on node a asks the service, whose pod is on b.
const (
	pod     = "10.244.1.10:40000"
	service = "10.96.0.10:53"
	dnsPod  = "10.244.2.53:53"
)

// world makes exports of nodes whose clocks are off.
type world struct {
	off     map[string]time.Duration
	files   map[string]*bytes.Buffer // by node
	order   []string
	records int
}

func newWorld() *world {
	return &world{off: map[string]time.Duration{}, files: map[string]*bytes.Buffer{}}
}

func (w *world) at(node string, t time.Duration) time.Time { return epoch.Add(t + w.off[node]) }

func (w *world) write(node string, record any) {
	if w.files[node] == nil {
		w.files[node] = &bytes.Buffer{}
		w.order = append(w.order, node)
	}
	if err := render.WriteJSON(w.files[node], record); err != nil {
		panic(err)
	}
}

// begin writes the start of a node's export.
func (w *world) begin(node string, selection ...string) {
	if selection == nil {
		selection = []string{}
	}
	w.write(node, render.Start{
		Type: "start", Schema: 1, Tool: "dnspath", Version: "test", Node: node, Time: w.at(node, 0), Probes: []render.ProbeRecord{},
		Selection: selection,
	})
}

// end writes its stats.
func (w *world) end(node string, change ...func(*render.StatsRecord)) {
	s := render.StatsRecord{
		Type: "stats", Schema: 1, Node: node, Time: w.at(node, time.Hour), Outcomes: map[string]uint64{},
		Lost: map[string]uint64{"ring_full": 0, "return": 7},
	}
	for _, c := range change {
		c(&s)
	}
	w.write(node, s)
}

// look is what a node saw of a lookup. Times of hops are since the test's lookup began.
type look struct {
	node    string
	name    string
	id      uint16
	local   bool
	outcome string
	detail  string
	legs    []render.Leg
}

// see writes a record, of a lookup that began at a time.
func (w *world) see(at time.Duration, l look) {
	first := uint64(1 << 62)
	for _, g := range l.legs {
		for _, h := range g.Hops {
			first = min(first, h.TNS)
		}
	}
	w.records++
	r := &render.Record{
		Type: "lookup", Schema: 1, Node: l.node, ID: fmt.Sprintf("%016x", w.records), Time: w.at(l.node, at+time.Duration(first)),
		Name: l.name, QType: "A", DNSID: l.id, Transport: "udp", Outcome: l.outcome, Detail: l.detail, Findings: []render.Finding{}, Legs: []render.Leg{},
	}
	for _, g := range l.legs {
		shifted := g
		shifted.Hops = nil
		for _, h := range g.Hops {
			h.TNS -= first
			shifted.Hops = append(shifted.Hops, h)
		}
		r.Legs = append(r.Legs, shifted)
		if g.Direction != "query" {
			continue
		}
		if r.Attempts++; r.Attempts == 1 {
			client, server := netip.MustParseAddrPort(g.Hops[0].Src), netip.MustParseAddrPort(g.Hops[0].Dst)
			r.Client.Endpoint = render.Endpoint{Addr: client.Addr(), Port: client.Port()}
			r.Server = &render.Endpoint{Addr: server.Addr(), Port: server.Port()}
		}
	}
	if l.outcome == "answered" {
		r.Rcode, r.LatencyNS = "NOERROR", 700*us
	}
	if l.outcome == "incomplete" {
		r.Incomplete, r.Why = true, []string{l.detail}
	}
	if l.local {
		r.Client.NetNS, r.Client.NetNSName = 4026532101, "web"
	}
	w.write(l.node, r)
}

func way(direction string, attempt int, hops ...render.Hop) render.Leg {
	return render.Leg{Direction: direction, Attempt: attempt, Hops: hops}
}

const us = uint64(time.Microsecond)

func hop(at uint64, name, dev, src, dst string, change ...func(*render.Hop)) render.Hop {
	h := render.Hop{Hop: name, Layer: "device", Probe: "test", TNS: at, NetNS: 4026532000, NetNSName: "host", Dev: dev, Src: src, Dst: dst, Len: 60, TTL: 63}
	if name == "socket" || name == "read" {
		h.Layer = name
		h.Layer, h.Dev = "socket", ""
	}
	for _, c := range change {
		c(&h)
	}
	return h
}

// inTunnel puts a hop into the overlay from one node to another.
func inTunnel(from, to string) func(*render.Hop) {
	return func(h *render.Hop) {
		h.Tunnel = &render.Tunnel{Kind: "vxlan", VNI: 4096, Src: from + ":50000", Dst: to + ":4789"}
	}
}

func ttl(n uint8) func(*render.Hop) { return func(h *render.Hop) { h.TTL = n } }

func dropped(h *render.Hop) {
	h.Layer, h.Drop = "end", &render.Drop{Reason: "NETFILTER_DROP", Function: "nft_do_chain", Hook: "FORWARD"}
}

// The nodes' addresses on the wire.
const nodeA, nodeB = "192.0.2.1", "192.0.2.2"

// asked is a query's way on node a, answer a reply's; served and reply those on
// node b. The wire takes 200 µs.
func asked(at uint64, from string, attempt int) render.Leg {
	return way("query", attempt, hop(at, "tx", "eth0", from, service, ttl(64)), hop(at+20*us, "tx", "eth0", from, dnsPod, inTunnel(nodeA, nodeB)))
}

func served(at uint64, from string, attempt int) render.Leg {
	return way("query", attempt, hop(at+220*us, "rx", "eth0", from, dnsPod, inTunnel(nodeA, nodeB)), hop(at+250*us, "socket", "", from, dnsPod))
}

func replied(at uint64, to string, attempt int) render.Leg {
	return way("reply", attempt, hop(at+450*us, "tx", "eth0", dnsPod, to), hop(at+480*us, "tx", "eth0", dnsPod, to, inTunnel(nodeB, nodeA)))
}

func answer(at uint64, to string, attempt int) render.Leg {
	return way("reply", attempt, hop(at+680*us, "rx", "eth0", dnsPod, to, inTunnel(nodeB, nodeA)), hop(at+700*us, "socket", "", service, to))
}

// healthy adds a lookup that both nodes saw in both directions.
func (w *world) healthy(at time.Duration, name string, id uint16) {
	w.see(at, look{node: "a", name: name, id: id, local: true, outcome: "answered", legs: []render.Leg{asked(0, pod, 1), answer(0, pod, 1)}})
	w.see(at, look{node: "b", name: name, id: id, outcome: "answered", legs: []render.Leg{served(0, pod, 1), replied(0, pod, 1)}})
}

// sources returns the exports in the order in which they were begun.
func (w *world) sources() []Source {
	var list []Source
	for _, node := range w.order {
		list = append(list, source(node+".json", w.files[node].String()))
	}
	return list
}

func source(name, text string) Source {
	return Source{Name: name, Data: strings.NewReader(text), Size: int64(len(text))}
}

// joined reads exports and returns all records, and the warnings.
func joined(t *testing.T, sources []Source) ([]*render.Record, *Joined) {
	t.Helper()
	c, err := Read(sources)
	if err != nil {
		t.Fatal(err)
	}
	j := c.Join()
	var records []*render.Record
	if err := j.Each(Selection{}, func(r *render.Record) error {
		records = append(records, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return records, j
}

// lines writes records in short: how they ended, and each leg's hops by node.
func lines(records []*render.Record) []string {
	var out []string
	for _, r := range records {
		s := r.Name + " " + r.Outcome
		if r.Detail != "" {
			s += ": " + r.Detail
		}
		out = append(out, s)
		for _, g := range r.Legs {
			s := fmt.Sprintf("  %s %d:", g.Direction, g.Attempt)
			for _, h := range g.Hops {
				if h.Wire != nil {
					s += " >"
					continue
				}
				s += " " + h.Node + ":" + h.Hop
			}
			out = append(out, s)
		}
		for _, why := range r.Why {
			out = append(out, "  incomplete: "+why)
		}
	}
	return out
}

func check(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check(t, name, string(want), got)
}
