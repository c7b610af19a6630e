//go:build e2e

package lab

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// count has a namespace count the packets that come in and match each rule, and
// returns what reads the counts.
func count(t *testing.T, ns *NS, rules ...string) (counts func() []string) {
	t.Helper()
	text := "table inet seen { chain pre { type filter hook prerouting priority -500\n"
	for _, rule := range rules {
		text += rule + " counter\n"
	}
	if err := ns.NFT(t.Context(), text+"}\n}"); err != nil {
		t.Fatal(err)
	}
	return func() (found []string) {
		t.Helper()
		out, err := ns.Command(t.Context(), "nft", "list", "table", "inet", "seen").Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if _, n, ok := strings.Cut(line, " counter packets "); ok {
				n, _, _ = strings.Cut(n, " ")
				found = append(found, n)
			}
		}
		return found
	}
}

// Of TCP segments, those with payload, which is what has more than the headers
// with a timestamp option.
const (
	toServer   = "tcp dport 53 tcp flags & (syn|rst) == 0 ip length > 52"
	fromServer = "tcp sport 53 tcp flags & (syn|rst) == 0 ip length > 52"
	synToDNS   = "tcp dport 53 tcp flags & (syn|ack) == syn"
)

func TestStream(t *testing.T) {
	l := raise(t, Config{})
	server := netip.AddrPortFrom(l.DNSB.Addr, dnsPort)
	queries := count(t, l.DNSB, toServer)
	answers := count(t, l.Client, fromServer)
	last := [2]int{}
	for _, c := range []struct {
		name     string
		names    []string
		cuts     []int
		answered string // first labels, in the order of arrival
		err      error
		segments [2]int // with payload: of queries, of answers
	}{
		{"one", []string{"a"}, nil, "a", nil, [2]int{1, 1}},
		{"pipelined in one segment", []string{"a", "b"}, nil, "a b", nil, [2]int{1, 0}},
		{"the first is slow", []string{"slow50", "b"}, nil, "b slow50", nil, [2]int{1, 2}},
		{"length on its own", []string{"a"}, []int{2}, "a", nil, [2]int{2, 1}},
		{"three segments for two", []string{"a", "b"}, []int{20, 40}, "a b", nil, [2]int{3, 0}},
		{"answer split", []string{"split"}, nil, "split", nil, [2]int{1, 2}},
		{"big answer", []string{"big3000"}, nil, "big3000", nil, [2]int{1, 0}},
		{"half an answer", []string{"half"}, nil, "", io.ErrUnexpectedEOF, [2]int{1, 1}},
		{"closed", []string{"close"}, nil, "", io.EOF, [2]int{1, 0}},
		{"reset", []string{"reset"}, nil, "", syscall.ECONNRESET, [2]int{1, 0}},
		{"silent", []string{"silent"}, nil, "", os.ErrDeadlineExceeded, [2]int{1, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := StreamOptions{Server: server, Cuts: c.cuts}
			for _, label := range c.names {
				opts.Names = append(opts.Names, label+"."+Zone)
			}
			if errors.Is(c.err, os.ErrDeadlineExceeded) {
				opts.Timeout = Patience(50 * time.Millisecond)
			}
			res, err := l.Client.Stream(t.Context(), opts)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			var got []string
			for _, r := range res.Responses {
				label, _, _ := strings.Cut(r.Question[0].Name, ".")
				got = append(got, label)
			}
			if diff := cmp.Diff(c.answered, strings.Join(got, " ")); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			if len(res.IDs) != len(c.names) || res.Local.Addr() != l.Client.Addr {
				t.Errorf("%d queries from %s", len(res.IDs), res.Local)
			}
			now := [2]int{number(t, queries()[0]), number(t, answers()[0])}
			for i, want := range c.segments {
				if got := now[i] - last[i]; want != 0 && got != want {
					t.Errorf("%s in %d segments, want %d", []string{"queries", "answers"}[i], got, want)
				}
			}
			last = now
		})
	}
}

func number(t *testing.T, s string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A handshake that gets no answer is repeated, a data segment too; and where
// nobody listens it is reset.
func TestStreamFaults(t *testing.T) {
	sameEverywhere(t, "the end-to-end tests raise each")
	l := raise(t, Config{})
	server := netip.AddrPortFrom(l.DNSB.Addr, dnsPort)
	counts := count(t, l.NodeB, synToDNS, toServer)
	lost := func(what string) {
		t.Helper()
		err := l.NodeB.NFT(t.Context(), `table inet fault
			delete table inet fault
			table inet fault { chain fence { type filter hook forward priority 0; `+what+`; }
			}`)
		if err != nil {
			t.Fatal(err)
		}
	}
	ask := StreamOptions{Server: server, Names: []string{"a." + Zone}, Timeout: Patience(1300 * time.Millisecond)}

	lost("tcp dport 53 tcp flags & (syn|ack) == syn drop")
	if _, err := l.Client.Stream(t.Context(), ask); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("without SYN: error %v, want a timeout", err)
	}
	if n := number(t, counts()[0]); n < 2 {
		t.Errorf("%d SYN, want at least 2", n)
	}
	lost("tcp dport 53 ip length > 60 limit rate 1/hour burst 1 packets drop")
	if _, err := l.Client.Stream(t.Context(), ask); err != nil {
		t.Errorf("with a query that was lost once: %v", err)
	}
	if n := number(t, counts()[1]); n < 2 {
		t.Errorf("%d segments with the query, want at least 2", n)
	}
	_, err := l.DNSB.Stream(t.Context(), StreamOptions{Server: netip.AddrPortFrom(l.Client.Addr, dnsPort), Names: ask.Names})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: error %v, want ECONNREFUSED", err)
	}
}

// Past conntrack the SYN-ACK bears the pod's address: the client resets what it
// has not opened, and its own handshake gets no answer.
func TestStreamUnexpectedSource(t *testing.T) {
	l := raise(t, Config{Service: ServiceIPTables, Endpoints: []string{DNSA}})
	counts := count(t, l.DNSA, "tcp dport 53 tcp flags & rst == rst", synToDNS)
	_, err := l.Client.Stream(t.Context(), StreamOptions{Server: Service(), Names: []string{"a." + Zone}, Timeout: Patience(200 * time.Millisecond)})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want a timeout", err)
	}
	if got := counts(); got[0] == "0" || got[1] == "0" {
		t.Errorf("%s resets after %s SYN came to the server", got[0], got[1])
	}
}
