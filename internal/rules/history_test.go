package rules

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/tracer"
)

// readAt is what was read at some second, and answers one question.
func readAt(second uint64, q *Question, a *Answer) *space {
	s := &space{bornAt: second * uint64(time.Second), born: time.Unix(int64(second), 0), answers: map[memo]*Answer{}}
	if q != nil {
		s.answers[memoOf(q)] = a
	}
	return s
}

func TestAsk(t *testing.T) {
	one := &Answer{Name: "nftables inet filter forward handle 7", Rule: "udp dport 53 drop"}
	again := &Answer{Name: "nftables inet filter forward handle 9", Rule: "udp dport 53 drop"}
	other := &Answer{Name: "nftables inet filter forward handle 8", Rule: "drop"}
	many := &Answer{Name: "one of 2 rules of nftables inet filter forward"}
	q := dropOf()
	q.Time = uint64(5500 * time.Millisecond)
	for _, tt := range []struct {
		name   string
		spaces history
		want   *Answer
	}{
		{"after it", history{readAt(6, q, one), readAt(7, q, other)}, one},
		{"long before, and after it", history{readAt(4, q, other), readAt(6, q, one)}, one},
		{"the same before and after", history{readAt(5, q, one), readAt(6, q, one)}, one},
		{"the same, made anew", history{readAt(5, q, again), readAt(6, q, one)}, one},
		{"changed meanwhile", history{readAt(5, q, other), readAt(6, q, one)}, nil},
		{"no rule before", history{readAt(5, q, nil), readAt(6, q, one)}, one},
		{"no rule after", history{readAt(5, q, one), readAt(6, q, nil)}, one},
		{"nothing read before", history{readAt(5, nil, nil), readAt(6, q, one)}, one},
		{"several before", history{readAt(5, q, many), readAt(6, q, one)}, one},
		{"several after", history{readAt(5, q, one), readAt(6, q, many)}, many},
		{"not read in time, and the namespace has gone", history{readAt(6, nil, nil)}, nil},
		{"never read, and the namespace has gone", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(func(uint32) string { return "" }, time.Second)
			r.spaces[node] = tt.spaces
			got, err := r.Ask(node, q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAskIPVS holds that rules which can't be read leave IPVS its answer.
func TestAskIPVS(t *testing.T) {
	broken := errors.New("broken")
	s := readAt(0, nil, nil)
	s.born, s.err, s.ipvsRead = time.Now(), broken, true
	s.ipvs = []ipvsService{{protocol: udp, addr: service, scheduler: "rr", destinations: []netip.AddrPort{backendB}}}
	q := &Question{Deed: DNAT, Protocol: udp, Src: pod, Dst: service, To: backendB}
	a, err := s.ask(q)
	if want := "IPVS 10.96.0.10:53 → 10.244.2.53:53 rr"; err != nil || a == nil || a.Name != want {
		t.Errorf("answer %v, error %v; want %s", a, err, want)
	}
	q.Hook = tracer.HookPrerouting
	if a, err := s.ask(q); a != nil || !errors.Is(err, broken) {
		t.Errorf("a question about rules: answer %v, error %v; want %v", a, err, broken)
	}
}

// TestHistory holds that what was read is kept as long as it may be asked for,
// with the one before that.
func TestHistory(t *testing.T) {
	var h history
	for second := range uint64(10) {
		h = h.add(readAt(second, nil, nil), 3*time.Second)
	}
	var kept []uint64
	for _, s := range h {
		kept = append(kept, s.bornAt/uint64(time.Second))
	}
	if diff := cmp.Diff([]uint64{5, 6, 7, 8, 9}, kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	for range 2 * maxHistory {
		h = h.add(readAt(9, nil, nil), time.Hour)
	}
	if len(h) != maxHistory {
		t.Errorf("%d kept, want %d", len(h), maxHistory)
	}
}

// TestUpToDate holds that rules which have changed are read anew, though not when
// that was done a moment ago and took long. Without nftables their version is 0.
func TestUpToDate(t *testing.T) {
	for _, tt := range []struct {
		name    string
		version uint32
		spent   time.Duration
		anew    bool
	}{
		{"as they were", 0, 100 * time.Millisecond, false},
		{"changed", 5, 100 * time.Millisecond, true},
		{"changed, and reading takes long", 5, 2 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(func(uint32) string { return "/nowhere" }, time.Second)
			r.have.asked = time.Now() // no symbols are read
			s := &space{born: time.Now().Add(-time.Second), spent: tt.spent, version: tt.version}
			r.spaces[node] = history{s}
			if anew := r.upToDate(node) != s; anew != tt.anew {
				t.Errorf("read anew: %v, want %v", anew, tt.anew)
			}
		})
	}
}
