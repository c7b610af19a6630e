package nodestate

import (
	"fmt"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/names"
	"github.com/dnspath/dnspath/tracer"
)

func TestParseCounters(t *testing.T) {
	s := &sample{}
	s.parsePairs([]byte("Ip: Forwarding InReceives\nIp: 1 7\nIcmpMsg: InType3\nIcmpMsg: 6\nTcp: MaxConn InErrs\nTcp: -1 2\nUdp: NoPorts InCsumErrors\nUdp: 3 18446744073709551615\n"))
	s.parsePairs([]byte("TcpExt: IPReversePathFilter\nTcpExt: 4\nIpExt: InCsumErrors\nIpExt: 5\nMPTcpExt: A\nMPTcpExt: 1\nBroken: A B\nBroken: 1\nLast: A\n"))
	s.parseLines([]byte("Ip6InReceives                   \t4\nIcmp6OutType133\t9\nUdp6NoPorts x\nUdp6InErrors 6"))
	want := map[string]uint64{
		"IpInReceives": 7, "TcpInErrs": 2, "UdpNoPorts": 3, "UdpInCsumErrors": 1<<64 - 1, "TcpExtIPReversePathFilter": 4,
		"IpExtInCsumErrors": 5, "Ip6InReceives": 4, "Udp6InErrors": 6,
	}
	got := map[string]uint64{}
	for i, name := range s.names {
		got[name] = s.values[i]
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counters are %v, want %v", got, want)
	}
}

func FuzzCounters(f *testing.F) {
	f.Add([]byte("Ip: A\nIp: 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := &sample{}
		s.parsePairs(text)
		s.parseLines(text)
		if len(s.names) != len(s.values) {
			t.Errorf("%d names of %d values", len(s.names), len(s.values))
		}
	})
}

// count is a sample of one counter that took a tenth of a second to read.
func count(at time.Duration, value uint64) *sample {
	return &sample{begin: uint64(at), end: uint64(at + time.Second/10), names: []string{"UdpInErrors"}, values: []uint64{value}}
}

func TestBetween(t *testing.T) {
	h := &history{}
	for i, n := range []uint64{5, 5, 6, 8} {
		h.add(count(time.Duration(i+1)*time.Second, n), time.Minute)
	}
	h.refresh(count(4500*time.Millisecond, 9))
	for _, c := range []struct {
		name       string
		from, to   time.Duration
		rose       uint64
		start, end time.Duration
		unknown    bool
	}{
		{name: "between two", from: 2500 * time.Millisecond, to: 2600 * time.Millisecond, rose: 1, start: 2100 * time.Millisecond, end: 3 * time.Second},
		{name: "nothing rose", from: 1200 * time.Millisecond, to: 1900 * time.Millisecond, rose: 0, start: 1100 * time.Millisecond, end: 2 * time.Second},
		{name: "while one was read", from: 3050 * time.Millisecond, to: 3060 * time.Millisecond, rose: 3, start: 2100 * time.Millisecond, end: 4 * time.Second},
		{name: "several", from: 1200 * time.Millisecond, to: 3900 * time.Millisecond, rose: 3, start: 1100 * time.Millisecond, end: 4 * time.Second},
		{name: "until the newest", from: 3500 * time.Millisecond, to: 4200 * time.Millisecond, rose: 3, start: 3100 * time.Millisecond, end: 4500 * time.Millisecond},
		{name: "from before all", from: 0, to: 1500 * time.Millisecond, rose: 0, start: 1100 * time.Millisecond, end: 2 * time.Second},
		{name: "all before", from: 0, to: time.Second / 2, unknown: true},
		{name: "later than all", from: 4 * time.Second, to: 6 * time.Second, unknown: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := h.between(uint64(c.from), uint64(c.to))
			if ok == c.unknown {
				t.Fatalf("got %+v, %v", got, ok)
			}
			if ok && (got.Rose["UdpInErrors"] != c.rose || got.From != uint64(c.start) || got.To != uint64(c.end)) {
				t.Errorf("got %+v, want %+v", got, c)
			}
		})
	}
}

// TestHistoryForgets keeps what is asked for, and one sample from before that.
func TestHistoryForgets(t *testing.T) {
	h := &history{}
	for i := range 1000 {
		h.add(count(time.Duration(i)*time.Second, uint64(i)), 10*time.Second)
	}
	if n := len(h.samples); n != 12 {
		t.Errorf("%d samples are kept, want 12", n)
	}
	h.add(count(5000*time.Second, 1000), 10*time.Second)
	if got, ok := h.between(uint64(4000*time.Second), uint64(4001*time.Second)); !ok || got.Rose["UdpInErrors"] != 1 {
		t.Errorf("after a pause got %+v, %v", got, ok)
	}
}

// TestOtherNamespace has a namespace's inode be given to a new one.
func TestOtherNamespace(t *testing.T) {
	h := &history{}
	h.add(count(1*time.Second, 100), time.Minute)
	h.add(count(2*time.Second, 3), time.Minute)
	if got, ok := h.between(uint64(1500*time.Millisecond), uint64(1600*time.Millisecond)); ok {
		t.Errorf("got %+v, over both", got)
	}
	h.refresh(count(1500*time.Millisecond, 50)) // read before, and late
	h.add(count(3*time.Second, 4), time.Minute)
	if got, ok := h.between(uint64(2500*time.Millisecond), uint64(2600*time.Millisecond)); !ok || got.Rose["UdpInErrors"] != 1 {
		t.Errorf("of the new one got %+v, %v", got, ok)
	}
}

// TestWatchIsBounded has packets in more namespaces than are watched.
func TestWatchIsBounded(t *testing.T) {
	var all []names.NetNS
	for i := range 1000 {
		all = append(all, names.NetNS{Inode: uint32(i + 1)})
	}
	w := newWatch(NewReader(Options{All: func() []names.NetNS { return all }}), time.Minute)
	for i := range 1000 {
		w.Event(&tracer.Event{NetNS: uint32(i), Time: uint64(time.Second)})
	}
	list := w.due(uint64(2 * time.Second))
	if n := len(list); n < maxWatched || n > maxWatched+maxOthers {
		t.Errorf("%d namespaces are read in a second", n)
	}
	turns := map[uint32]bool{}
	for range len(all) / maxOthers {
		for _, inode := range w.due(uint64(seenFor + 2*time.Second)) {
			turns[inode] = true
		}
	}
	if len(turns) != len(all) {
		t.Errorf("%d of %d namespaces had their turn", len(turns), len(all))
	}
}

func BenchmarkReadCounters(b *testing.B) {
	for b.Loop() {
		if _, err := readCounters(); err != nil {
			b.Fatal(err)
		}
	}
}
