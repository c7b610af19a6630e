//go:build e2e

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// bigAnswer asks for an answer of 3000 bytes, which comes in three fragments.
func bigAnswer(t *testing.T, l *lab.Lab, server netip.AddrPort, name string) error {
	t.Helper()
	res, err := l.Client.Lookup(t.Context(), lab.LookupOptions{
		Server: server, Name: name, Type: dns.TypeTXT, EDNSSize: 4096, Timeout: lab.Patience(200 * time.Millisecond),
	})
	if err == nil && len(res.Answers) != 12 {
		t.Errorf("%s: %d texts, want 12", name, len(res.Answers))
	}
	return err
}

// fragments lists the legs of a reply in pieces: the offset of each, where it was
// last seen, and what became of it there.
func fragments(r *render.Record) (lines []string) {
	for _, leg := range r.Legs {
		if leg.Direction == "reply" && leg.ICMP == nil && len(leg.Hops) > 0 {
			last := leg.Hops[len(leg.Hops)-1]
			line, end := "0", "" // or the datagram in one piece
			if f := leg.Fragment; f != nil {
				line = fmt.Sprint(f.Offset)
				if f.Last {
					end = " last"
				}
			}
			if last.Hop == "drop" {
				end += " dropped"
			}
			lines = append(lines, line+end+" in "+last.NetNSName)
		}
	}
	return lines
}

// A big answer in fragments is one reply. Each piece has a way of its own, and
// where one gets lost the reply is.
func TestFragments(t *testing.T) {
	onGuests(t, lab.SomeGuests)
	l := raise(t, lab.Config{}) // nothing tracks connections, or the nodes would put the pieces together
	dnsB, dnsB6 := netip.AddrPortFrom(l.DNSB.Addr, 53), netip.AddrPortFrom(l.DNSB.Addr6, 53)
	o := observe(t, labOnly(l)...)
	for name, server := range map[string]netip.AddrPort{"big3000.a.example.test.": dnsB, "big3000.six.example.test.": dnsB6} {
		if err := bigAnswer(t, l, server, name); err != nil {
			t.Fatal(err)
		}
	}
	lost := func(name, chain string) {
		t.Helper()
		defer fence(t, l.NodeB, nil, "type filter hook prerouting priority -450; "+chain+" drop;")()
		if err := bigAnswer(t, l, dnsB, name); err == nil {
			t.Fatal("it was answered without all its fragments")
		}
	}
	lost("big3000.second.example.test.", "ip frag-off & 0x1fff == 178") // in units of 8 bytes
	lost("big3000.first.example.test.", "ip frag-off & 0x3fff == 0x2000")
	x := end(t, o)

	for _, c := range []struct {
		name      string
		fragments []string
		outcome   string
		phrases   []string
	}{
		// 1424 and 1400 are what the pods' MTU of 1450 leaves for payload, in units of 8 bytes
		{"big3000.a.example.test.", []string{"0 in client", "1424 in client", "2848 last in client"}, "answered", nil},
		{"big3000.six.example.test.", []string{"0 in client", "1400 in client", "2800 last in client"}, "answered", nil},
		{"big3000.second.example.test.", []string{"0 in client", "1424 dropped in node-b", "2848 last in client"}, "dropped",
			[]string{"the reply's fragment at offset 1424", "in node-b"}},
		{"big3000.first.example.test.", []string{"0 dropped in node-b", "1424 in client", "2848 last in client"}, "dropped",
			[]string{"the reply", "in node-b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := x.only(t, c.name)
			checkVerdict(t, r, c.outcome, c.phrases...)
			if diff := cmp.Diff(c.fragments, fragments(r)); diff != "" {
				t.Errorf("the reply's pieces (-want +got):\n%s", diff)
			}
			if c.outcome == "answered" && (r.Rcode != "NOERROR" || r.LatencyNS == 0) {
				t.Errorf("%s after %d ns", r.Rcode, r.LatencyNS)
			}
		})
	}
}

// Where connections are tracked, a node puts the pieces together, translates the
// reply and takes it to pieces again.
func TestFragmentsOfService(t *testing.T) {
	sameEverywhere(t, "TestFragments has the same pieces")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	o := observe(t, labOnly(l)...)
	if err := bigAnswer(t, l, lab.Service(), "big3000.whole.example.test."); err != nil {
		t.Fatal(err)
	}
	remove := fence(t, l.NodeA, nil, "type filter hook prerouting priority -450; ip frag-off & 0x1fff != 0 drop;")
	if err := bigAnswer(t, l, lab.Service(), "big3000.torn.example.test."); err == nil {
		t.Fatal("it was answered without all its fragments")
	}
	remove()
	x := end(t, o)
	r := x.only(t, "big3000.whole.example.test.")
	checkVerdict(t, r, "answered")
	var changes []string
	for leg := range r.Legs {
		if r.Legs[leg].Direction == "reply" {
			changes = append(changes, rewrites(r, leg)...)
		}
	}
	if len(changes) == 0 || changes[0] != "node-a un-dnat 10.244.2.53:53>10.96.0.10:53" {
		t.Errorf("rewrites of the reply %q, want un-dnat in node-a", changes)
	}
	for _, line := range fragments(r) {
		if strings.Contains(line, "dropped") {
			t.Errorf("the reply's pieces: %q", fragments(r))
		}
	}
	checkVerdict(t, x.only(t, "big3000.torn.example.test."), "dropped", "the reply's fragment", "in node-a")
}

// The underlay's MTU may be too small for what a tunnel makes of a big answer:
// the outer packet is what is in pieces then.
func TestFragmentsOfTunnel(t *testing.T) {
	sameEverywhere(t, "TestFragments has pieces too, and half a minute is dear")
	l := raise(t, lab.Config{})
	for _, ns := range []*lab.NS{l.NodeA, l.NodeB} {
		if err := ns.IP(t.Context(), "link", "set", lab.WireDev, "mtu", "1400"); err != nil {
			t.Fatal(err)
		}
	}
	opts := lab.LookupOptions{
		Server: netip.AddrPortFrom(l.DNSB.Addr, 53), Name: "big1300.a.example.test.", Type: dns.TypeTXT, EDNSSize: 4096, Timeout: lab.Patience(200 * time.Millisecond),
	}
	o := observe(t, labOnly(l)...)
	if _, err := l.Client.Lookup(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	remove := fence(t, l.NodeA, nil, "type filter hook prerouting priority -450; ip frag-off & 0x1fff != 0 drop;")
	opts.Name = "big1300.torn.example.test."
	if _, err := l.Client.Lookup(t.Context(), opts); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("error %v, want a timeout", err)
	}
	remove()
	x := end(t, o)
	r := x.only(t, "big1300.a.example.test.")
	checkVerdict(t, r, "answered")
	// 1376 is what the wire's MTU of 1400 leaves for payload, in units of 8 bytes
	if diff := cmp.Diff([]string{"0 in client", "1376 last in node-a"}, fragments(r)); diff != "" {
		t.Errorf("the reply's pieces (-want +got):\n%s", diff)
	}
	r = x.only(t, "big1300.torn.example.test.")
	checkVerdict(t, r, "dropped", "the reply's fragment at offset 1376", "in node-a")
	if diff := cmp.Diff([]string{"0 in node-a", "1376 last dropped in node-a"}, fragments(r)); diff != "" {
		t.Errorf("the torn reply's pieces (-want +got):\n%s", diff)
	}
}
