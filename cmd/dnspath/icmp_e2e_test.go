//go:build e2e

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// errorLeg returns the leg of the one ICMP error of a lookup.
func errorLeg(t *testing.T, r *render.Record) *render.Leg {
	t.Helper()
	var found []*render.Leg
	for i := range r.Legs {
		if r.Legs[i].ICMP != nil {
			found = append(found, &r.Legs[i])
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d legs of ICMP errors, want 1: %+v", len(found), r.Legs)
	}
	return found[0]
}

// An ICMP error belongs to the lookup whose packet it quotes, with who sent it.
// It is seen on its way to who sent that packet.
func TestICMP(t *testing.T) {
	onGuests(t, lab.SomeGuests)
	l := raise(t, lab.Config{})
	for _, c := range []struct {
		ns   *lab.NS
		args string
	}{
		{l.NodeB, "route add unreachable 10.244.2.99"},
		{l.NodeA, "route add 198.51.100.0/24 via 192.0.2.2"}, // the nodes send it to and fro
		{l.NodeB, "route add 198.51.100.0/24 via 192.0.2.1"},
		{l.NodeB, "link set vxlan.calico mtu 1280"}, // less than the pods', on the way back
	} {
		if err := c.ns.IP(t.Context(), strings.Fields(c.args)...); err != nil {
			t.Fatal(err)
		}
	}
	big := lab.LookupOptions{Name: "big1300.", Type: dns.TypeTXT, EDNSSize: 4096}
	cases := []struct {
		name      string
		from      string // namespace of who asks
		server    string
		opts      lab.LookupOptions
		err       error
		outcome   string
		detail    string
		icmp      render.Quote
		direction string
		path      []string // namespaces, in order
	}{
		{
			"nobody listens", lab.DNSB, "10.244.1.10", lab.LookupOptions{}, syscall.ECONNREFUSED, "rejected", "ICMP port unreachable",
			render.Quote{Type: 3, Code: 3, From: "10.244.1.10", To: "10.244.2.53"}, "reply", []string{lab.Client, lab.NodeA, lab.NodeB, lab.DNSB},
		},
		{
			"a router without a way", lab.Client, "10.244.2.99", lab.LookupOptions{}, os.ErrDeadlineExceeded, "rejected", "ICMP host unreachable",
			render.Quote{Type: 3, Code: 1, From: "10.244.2.0", To: "10.244.1.10"}, "reply", []string{lab.NodeB, lab.NodeA, lab.Client},
		},
		{
			"at the end of its TTL", lab.Client, "10.244.2.53", lab.LookupOptions{TTL: 1}, os.ErrDeadlineExceeded, "dropped", "hop limit",
			render.Quote{Type: 11, Code: 0, From: "10.244.1.1", To: "10.244.1.10"}, "reply", []string{lab.NodeA, lab.Client},
		},
		{
			"routing loop", lab.Client, "198.51.100.53", lab.LookupOptions{TTL: 6}, os.ErrDeadlineExceeded, "dropped", "hop limit",
			render.Quote{Type: 11, Code: 0, To: "10.244.1.10"}, "reply", nil,
		},
		{
			"reply too big", lab.Client, "10.244.2.53", big, os.ErrDeadlineExceeded, "dropped", "the reply",
			render.Quote{Type: 3, Code: 4, From: "10.244.2.1", To: "10.244.2.53", MTU: 1280}, "query", []string{lab.NodeB, lab.DNSB},
		},
		{
			"reply too big, IPv6", lab.Client, "fd00:10:244:2::53", big, os.ErrDeadlineExceeded, "dropped", "the reply",
			render.Quote{Type: 2, Code: 0, From: "fd00:10:244:2::1", To: "fd00:10:244:2::53", MTU: 1280}, "query", []string{lab.NodeB, lab.DNSB},
		},
	}
	name := func(i int) string { return cases[i].opts.Name + fmt.Sprintf("icmp%d.example.test.", i) }
	o := observe(t, labOnly(l)...)
	for i, c := range cases {
		c.opts.Name, c.opts.Server = name(i), netip.AddrPortFrom(netip.MustParseAddr(c.server), 53)
		c.opts.Timeout = lab.Patience(100 * time.Millisecond)
		if _, err := l.NS(c.from).Lookup(t.Context(), c.opts); !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.err)
		}
	}
	x := end(t, o)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := x.only(t, name(i))
			checkVerdict(t, r, c.outcome, c.detail)
			leg := errorLeg(t, r)
			got := *leg.ICMP
			got.Meaning = ""
			if c.icmp.From == "" {
				got.From = ""
			}
			if got != c.icmp || leg.Direction != c.direction {
				t.Errorf("%s of %+v, want %s of %+v", leg.Direction, got, c.direction, c.icmp)
			}
			var path []string
			for _, h := range leg.Hops {
				path = append(path, h.NetNSName)
			}
			if path = slices.Compact(path); c.path != nil && !slices.Equal(path, c.path) {
				t.Errorf("it went by %q, want %q", path, c.path)
			}
		})
	}
}

// Where only the client's end is seen, the error tells what happened elsewhere.
func TestICMPFromElsewhere(t *testing.T) {
	sameEverywhere(t, "TestICMP sees the same errors")
	l := raise(t, lab.Config{})
	if err := l.NodeB.IP(t.Context(), "route", "add", "unreachable", "10.244.2.99"); err != nil {
		t.Fatal(err)
	}
	o := observe(t, "--netns", lab.Client)
	askShort(t, l.Client, netip.MustParseAddrPort("10.244.2.99:53"), "elsewhere.example.test.", os.ErrDeadlineExceeded)
	_, err := l.Client.Stream(t.Context(), lab.StreamOptions{
		Server: netip.MustParseAddrPort("10.244.2.99:53"), Names: []string{"a."}, LocalPort: 20000, Timeout: lab.Patience(200 * time.Millisecond),
	})
	if err == nil {
		t.Fatal("somebody answered")
	}
	x := end(t, o)
	udp := x.only(t, "elsewhere.example.test.")
	at := slices.IndexFunc(x.lookups, func(r *render.Record) bool { return r.Client.Port == 20000 })
	if at < 0 {
		t.Fatal("the handshake was not seen")
	}
	for _, r := range []*render.Record{udp, x.lookups[at]} {
		checkVerdict(t, r, "rejected", "ICMP host unreachable", "10.244.2.0")
		if got := errorLeg(t, r).ICMP; got.From != "10.244.2.0" || got.To != "10.244.1.10" {
			t.Errorf("from %s to %s", got.From, got.To)
		}
	}
}
