//go:build e2e

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// stream asks over one connection and fails the test if the error is not the one
// wanted.
func stream(t *testing.T, ns *lab.NS, opts lab.StreamOptions, wantErr error) lab.StreamResult {
	t.Helper()
	res, err := ns.Stream(t.Context(), opts)
	if !errors.Is(err, wantErr) {
		t.Fatalf("stream of %s: error %v, want %v", opts.Names, err, wantErr)
	}
	return res
}

// segments lists the legs of a lookup over TCP by what they carry, with "again"
// for a repetition.
func segments(r *render.Record) (lines []string) {
	for _, leg := range r.Legs {
		line := leg.Direction + " " + leg.Segment
		if leg.Again {
			line += " again"
		}
		lines = append(lines, line)
	}
	return lines
}

// checkTCP checks what all lookups over TCP say of themselves.
func checkTCP(t *testing.T, r *render.Record) {
	t.Helper()
	again := slices.ContainsFunc(segments(r), func(s string) bool { return strings.HasPrefix(s, "query") && strings.HasSuffix(s, "again") })
	if r.Transport != "tcp" || (r.Attempts != 1) != again || again && lab.Slowness() == 1 || r.Incomplete { // a slow machine is late with its ACK
		t.Errorf("%s: over %s, %d attempts, incomplete %v %q; want tcp, 1", r.Name, r.Transport, r.Attempts, r.Incomplete, r.Why)
	}
}

// One lookup over TCP to a service: each segment is translated as the first.
func TestTCP(t *testing.T) {
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	for _, server := range []netip.AddrPort{lab.Service(), lab.Service6()} {
		ask(t, l.Client, server, "warm.example.test.", nil) // a SYN that waits for a neighbour's address may be sent twice
	}
	o := observe(t, labOnly(l)...)
	res, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: lab.Service(), Name: "a.example.test.", TCP: true})
	if err != nil {
		t.Fatal(err)
	}
	res6, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: lab.Service6(), Name: "six.example.test.", TCP: true, Type: dns.TypeAAAA})
	if err != nil {
		t.Fatal(err)
	}
	x := end(t, o)
	for name, res := range map[string]lab.Result{"a.example.test.": res, "six.example.test.": res6} {
		r := x.only(t, name)
		checkTCP(t, r)
		checkVerdict(t, r, "answered")
		if diff := cmp.Diff(res.Answers, r.Answers); diff != "" {
			t.Errorf("answers (-client +trace):\n%s", diff)
		}
		if r.DNSID != res.ID || r.Client.String() != res.Local.String() || r.Client.NetNSName != lab.Client || r.LatencyNS == 0 {
			t.Errorf("ID %d, client %s in %q, latency %d; the client says %d, %s", r.DNSID, r.Client, r.Client.NetNSName, r.LatencyNS, res.ID, res.Local)
		}
		want := []string{"query SYN", "reply SYN-ACK", "query data", "reply data"}
		if got := segments(r); len(got) < len(want) || !cmp.Equal(want, got[:len(want)]) {
			t.Errorf("%s: segments %q, want %q first", name, got, want)
		}
		service, backend := "10.96.0.10:53", "10.244.2.53:53"
		if name != "a.example.test." {
			service, backend = "[fd00:10:96::10]:53", "[fd00:10:244:2::53]:53"
		}
		if r.Server.String() != service || r.Backend == nil || r.Backend.String() != backend {
			t.Errorf("server %v, backend %v", r.Server, r.Backend)
		}
		changes := map[string]string{"query": "node-a dnat " + service + ">" + backend, "reply": "node-a un-dnat " + backend + ">" + service}
		for leg := range r.Legs {
			if r.Legs[leg].Segment == "RST" || r.Legs[leg].Segment == "FIN" {
				continue // the observer may have ended before it arrived
			}
			if diff := cmp.Diff([]string{changes[r.Legs[leg].Direction]}, rewrites(r, leg)); diff != "" {
				t.Errorf("%s: rewrites of %s (-want +got):\n%s%q", name, segments(r)[leg], diff, way(r, leg))
			}
		}
	}
}

// Several queries over one connection are several lookups, however the stream is cut.
func TestTCPStreams(t *testing.T) {
	sameEverywhere(t, "streams are read in user space")
	l := raise(t, lab.Config{})
	cases := []struct {
		name   string
		labels []string
		qtype  uint16
		cuts   []int
	}{
		{name: "pipelined in one segment", labels: []string{"a", "b", "c"}},
		{name: "answers overtake each other", labels: []string{"slow50", "b"}},
		{name: "the length alone", labels: []string{"a"}, cuts: []int{2}},
		{name: "cut in the midst of each", labels: []string{"a", "b"}, cuts: []int{20, 36, 52}},
		{name: "byte by byte", labels: []string{"a"}, cuts: []int{1, 2, 3, 4, 5, 6, 7, 8}},
		{name: "answer split", labels: []string{"split"}},
		{name: "big answers", labels: []string{"big3000", "big20000"}, qtype: dns.TypeTXT},
	}
	o := observe(t, labOnly(l)...)
	results := make([]lab.StreamResult, len(cases))
	name := func(i int, label string) string { return fmt.Sprintf("%s.case%d.example.test.", label, i) }
	for i, c := range cases {
		opts := lab.StreamOptions{Server: netip.AddrPortFrom(l.DNSB.Addr, 53), Type: c.qtype, Cuts: c.cuts, Timeout: lab.Patience(2 * time.Second)}
		for _, label := range c.labels {
			opts.Names = append(opts.Names, name(i, label))
		}
		results[i] = stream(t, l.Client, opts, nil)
	}
	x := end(t, o)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for k, label := range c.labels {
				r := x.only(t, name(i, label))
				checkTCP(t, r)
				checkVerdict(t, r, "answered")
				if r.DNSID != results[i].IDs[k] || r.Client.String() != results[i].Local.String() {
					t.Errorf("%s: ID %d from %s, want %d from %s", label, r.DNSID, r.Client, results[i].IDs[k], results[i].Local)
				}
				if r.Rcode != "NOERROR" || c.qtype == 0 && !slices.Equal(r.Answers, []string{lab.Answer().String()}) {
					t.Errorf("%s: %s %q", label, r.Rcode, r.Answers)
				}
				if hasSYN := slices.Contains(segments(r), "query SYN"); hasSYN != (k == 0) {
					t.Errorf("%s: segments %q; the handshake belongs to the first lookup", label, segments(r))
				}
			}
		})
	}
}

// What goes wrong with a connection: where the handshake ends, who closes, what
// is dropped and sent again.
func TestTCPFaults(t *testing.T) {
	sameEverywhere(t, "TestTCP goes the same ways")
	l := raise(t, lab.Config{})
	dnsB := netip.AddrPortFrom(l.DNSB.Addr, 53)
	short := lab.Patience(200 * time.Millisecond)
	cases := []struct {
		name    string
		label   string
		server  netip.AddrPort
		from    *lab.NS
		rule    string // of nftables, on node-b, for the client's port
		timeout time.Duration
		err     error
		outcome string
		detail  string
		lookup  string // its name, if it has one
	}{
		{"SYN dropped", "a", dnsB, l.Client, "tcp sport PORT tcp flags & (syn|ack) == syn drop", 1200*time.Millisecond + lab.Patience(100*time.Millisecond), // it is repeated after a second, however slow the machine

			os.ErrDeadlineExceeded, "dropped", "the SYN: ", ""},
		{"SYN-ACK dropped", "a", dnsB, l.Client, "tcp dport PORT tcp flags & (syn|ack) == (syn|ack) drop", short,
			os.ErrDeadlineExceeded, "dropped", "the SYN-ACK: ", ""},
		{"query dropped", "a", dnsB, l.Client, "tcp sport PORT ip length > 60 drop", short,
			os.ErrDeadlineExceeded, "dropped", "the query: ", "a"},
		{"reply dropped", "a", dnsB, l.Client, "tcp dport PORT ip length > 60 drop", short,
			os.ErrDeadlineExceeded, "dropped", "the reply: ", "a"},
		{"query lost once", "a", dnsB, l.Client, "tcp sport PORT ip length > 60 limit rate 1/hour burst 1 packets drop", lab.Patience(time.Second),
			nil, "answered", "", "a"},
		{"nobody listens", "a", netip.AddrPortFrom(l.Client.Addr, 53), l.DNSB, "", short,
			syscall.ECONNREFUSED, "rejected", "TCP reset by 10.244.1.10:53", ""},
		{"closed without an answer", "close", dnsB, l.Client, "", short,
			io.EOF, "rejected", "the server closed the connection without an answer", "close"},
		{"reset without an answer", "reset", dnsB, l.Client, "", short,
			syscall.ECONNRESET, "rejected", "TCP reset by 10.244.2.53:53", "reset"},
		{"half an answer", "half", dnsB, l.Client, "", short,
			io.ErrUnexpectedEOF, "rejected", "the server closed the connection", "half"},
		{"no answer", "silent", dnsB, l.Client, "", short,
			os.ErrDeadlineExceeded, "lost", "the client closed the connection without an answer", "silent"},
		{"rejected by a firewall", "a", dnsB, l.Client, "tcp sport PORT reject with tcp reset", short,
			syscall.ECONNREFUSED, "rejected", "TCP reset by 10.244.2.53:53", ""},
		{"rejected by a router", "a", dnsB, l.Client, "tcp sport PORT reject with icmp type admin-prohibited", short,
			syscall.EHOSTUNREACH, "rejected", "ICMP administratively prohibited", ""},
	}
	port := func(i int) uint16 { return uint16(20000 + i) }
	chain := "type filter hook forward priority 7;\n"
	for i, c := range cases {
		chain += strings.ReplaceAll(c.rule, "PORT", fmt.Sprint(port(i))) + "\n"
	}
	defer fence(t, l.NodeB, nil, chain)()
	o := observe(t, append(labOnly(l), "--count", fmt.Sprint(len(cases)))...)
	for i, c := range cases {
		stream(t, c.from, lab.StreamOptions{
			Server: c.server, Names: []string{c.label + ".example.test."}, LocalPort: port(i), Timeout: c.timeout,
		}, c.err)
	}
	x := wait(t, o)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			found := slices.DeleteFunc(slices.Clone(x.lookups), func(r *render.Record) bool { return r.Client.Port != port(i) })
			if len(found) != 1 {
				for _, r := range x.lookups {
					t.Logf("%s: %q %s %q, %q", r.Client, r.Name, r.Outcome, r.Detail, segments(r))
				}
				t.Fatalf("%d lookups from port %d, want 1", len(found), port(i))
			}
			r := found[0]
			checkVerdict(t, r, c.outcome, c.detail)
			name := ""
			if c.lookup != "" {
				name = c.lookup + ".example.test."
			}
			if r.Name != name || r.Transport != "tcp" || r.Server.String() != c.server.String() {
				t.Errorf("lookup of %q at %s over %s, want %q at %s over tcp", r.Name, r.Server, r.Transport, name, c.server)
			}
			if c.name == "SYN dropped" && !slices.Contains(segments(r), "query SYN again") {
				t.Errorf("segments %q, want a SYN again", segments(r))
			}
			if c.name == "query lost once" && !slices.Contains(segments(r), "query data again") {
				t.Errorf("segments %q, want data again", segments(r))
			}
		})
	}
}

// Over TCP a handshake that is answered from the pod's own address is reset by
// the client, which knows no such connection.
func TestTCPUnexpectedSource(t *testing.T) {
	sameEverywhere(t, "TestBridgeWithoutIPTables goes the same way")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSA}})
	o := observe(t, labOnly(l)...)
	stream(t, l.Client, lab.StreamOptions{
		Server: lab.Service(), Names: []string{"a.example.test."}, Timeout: lab.Patience(200 * time.Millisecond),
	}, os.ErrDeadlineExceeded)
	x := end(t, o)
	if len(x.lookups) != 1 {
		t.Fatalf("%d lookups, want 1", len(x.lookups))
	}
	checkVerdict(t, x.lookups[0], "unexpected-source", "came from 10.244.1.53:53, the client had asked 10.96.0.10:53")
}

// A forwarder keeps its connection upstream: its later lookups have no handshake.
func TestTCPUpstream(t *testing.T) {
	sameEverywhere(t, "another client")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	mustStart(t)(lab.StartNodeLocal(t.Context(), l.NodeA, lab.DaemonOptions{UpstreamTCP: true}))
	dig(t, l.Client, lab.NodeLocal(), "before.example.test")
	o := observe(t, labOnly(l)...)
	dig(t, l.Client, lab.NodeLocal(), "one.example.test")
	dig(t, l.Client, lab.NodeLocal(), "+tcp", "two.example.test")
	x := end(t, o)
	for name, transport := range map[string]string{"one.example.test.": "udp", "two.example.test.": "tcp"} {
		r, caused := x.one(t, lab.Client, name), x.one(t, lab.NodeA, name)
		checkVerdict(t, r, "answered")
		checkVerdict(t, caused, "answered")
		if r.Transport != transport || caused.Transport != "tcp" || caused.Server.String() != "10.96.0.10:53" {
			t.Errorf("%s: over %s, then over %s to %s; want %s, then tcp to 10.96.0.10:53", name, r.Transport, caused.Transport, caused.Server, transport)
		}
		checkTied(t, caused, "parent", r, "child")
		if slices.Contains(segments(caused), "query SYN") {
			t.Errorf("%s: %q, but the connection was there before", name, segments(caused))
		}
	}
}

// An answer that is too long for UDP is asked for again over TCP, which a
// firewall may have been told nothing about.
func TestTruncated(t *testing.T) {
	sameEverywhere(t, "dig decides")
	l := raise(t, lab.Config{})
	digBig := func(ctx context.Context, name string) error {
		return l.Client.Command(ctx, "dig", "@"+l.DNSB.Addr.String(), "+tries=1", "+time=1", "+bufsize=512", name, "TXT").Run()
	}
	o := observe(t, labOnly(l)...)
	if err := digBig(t.Context(), "big1500.open.example.test"); err != nil {
		t.Fatal(err)
	}
	remove := fence(t, l.NodeB, nil, "type filter hook forward priority 7; tcp dport 53 drop;")
	if err := digBig(t.Context(), "big1500.blocked.example.test"); err == nil {
		t.Fatal("TCP is blocked, and dig got an answer")
	}
	remove()
	x := end(t, o)
	byTransport := func(name string) map[string]*render.Record {
		found := map[string]*render.Record{}
		for _, r := range x.lookups {
			if r.Name == name || r.Name == "" {
				found[r.Transport+r.Name] = r
			}
		}
		return found
	}
	open := byTransport("big1500.open.example.test.")
	udp, tcp := open["udpbig1500.open.example.test."], open["tcpbig1500.open.example.test."]
	if udp == nil || tcp == nil {
		t.Fatalf("lookups %v, want one over udp, one over tcp", open)
	}
	checkVerdict(t, udp, "answered")
	checkVerdict(t, tcp, "answered")
	checkTied(t, tcp, "truncation-of", udp, "over-tcp")
	if !udp.Truncated || tcp.Truncated {
		t.Errorf("truncated: udp %v, tcp %v; want true, false", udp.Truncated, tcp.Truncated)
	}
	if udp.EDNSSize != 512 || udp.ReplySize > 512 || tcp.ReplySize < 1500 {
		t.Errorf("client takes %d bytes, replies of %d and %d; want 512, 512 at most, 1500 at least", udp.EDNSSize, udp.ReplySize, tcp.ReplySize)
	}
	blocked := byTransport("big1500.blocked.example.test.")
	udp, tcp = blocked["udpbig1500.blocked.example.test."], blocked["tcp"]
	if udp == nil || tcp == nil || !udp.Truncated {
		t.Fatalf("lookups %v, want a truncated one over udp, a handshake over tcp", blocked)
	}
	checkVerdict(t, tcp, "dropped", "the SYN")
	if len(tcp.Links) != 1 || tcp.Links[0].Kind != "truncation-of" || tcp.Links[0].ID != udp.ID || tcp.Links[0].How != "inferred" {
		t.Errorf("the connection that was not made has links %+v, want one to the truncated answer to ID %s", tcp.Links, udp.ID)
	}
}
