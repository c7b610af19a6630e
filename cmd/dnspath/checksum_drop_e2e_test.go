//go:build e2e

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// Packets whose checksum the client computes wrongly, or not at all: where the
// kernel looks at it, and what dnspath says of the lookups that it kills.
func TestChecksumDrops(t *testing.T) {
	onGuests(t, lab.SomeGuests)
	l := raise(t, lab.Config{})
	server, server6 := addrPort(l.DNSB), netip.AddrPortFrom(l.DNSB.Addr6, 53)
	long := strings.Repeat(strings.Repeat("x", 60)+".", 2) // more than the 76 bytes that are checked on arrival (CHECKSUM_BREAK, include/net/udp.h)
	for _, dst := range []netip.AddrPort{server, server6} {
		ask(t, l.Client, dst, "warm.example.test.", nil)
	}
	must(t, l.Client.SetTXChecksum(lab.WireDev, false)) // of TCP's queries: else nobody looks at it
	must(t, l.Client.NFT(t.Context(), "table inet corrupt {\nchain corrupt { type filter hook postrouting priority 300; tcp dport 53 ip length > 60 @th,128,16 set 0xbad; }\n}\n"))

	query := func(to netip.AddrPort, checksum uint16) func(name string) error {
		return func(name string) error { return l.Client.SendRawQuery(to, name, checksum) }
	}
	stream := func(name string) error {
		_, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: server, Name: name, TCP: true, Timeout: noAnswer()})
		if err == nil {
			return fmt.Errorf("lookup of %s was answered", name)
		}
		return nil
	}
	cases := []struct {
		name    string // of the lookup, too
		send    func(name string) error
		verdict string // where it leaves the client
		reason  string // "": it is answered
		detail  string
		unnamed bool
	}{
		{"udp", query(server, 0xbad), "bad", "UDP_CSUM", "its UDP checksum is wrong", false},
		{long + "udp", query(server, 0xbad), "bad", "UDP_CSUM", "its UDP checksum is wrong", false},
		{"udp-zero", query(server, 0), "none", "", "", false},
		{"udp6", query(server6, 0xbad), "bad", "UDP_CSUM", "its UDP checksum is wrong", false},
		{long + "udp6", query(server6, 0xbad), "bad", "UDP_CSUM", "its UDP checksum is wrong", false},
		{"udp6-zero", query(server6, 0), "bad", "UDP_CSUM", "its UDP checksum is wrong", false},
		{"syn", func(string) error { return l.Client.SendRawSYN(server, 0xbad) }, "bad", "TCP_CSUM", "its TCP checksum is wrong", true},
		{"tcp", stream, "bad", "TCP_CSUM", "its TCP checksum is wrong", false},
		{long + "tcp", stream, "bad", "TCP_CSUM", "its TCP checksum is wrong", false},
	}
	o := observe(t, labOnly(l)...)
	for i, c := range cases {
		must(t, c.send(fmt.Sprintf("%s.case%d.example.test.", c.name, i)))
	}
	for _, dst := range []netip.AddrPort{server, server6} { // what came before has been read by then
		ask(t, l.Client, dst, "after.example.test.", nil)
	}
	x := endWrong(t, o)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.name == long+"tcp" && reasonHere(t, "TCP_CSUM") == "" {
				needs(t, "tcp_bad_csum") // TCP frees it without a tracepoint
			}
			name := fmt.Sprintf("%s.case%d.example.test.", c.name, i)
			if c.unnamed {
				name = ""
			}
			r := x.only(t, name)
			if got := lastSum(r); got != c.verdict {
				t.Errorf("sent with %q, want %q", got, c.verdict)
			}
			if c.reason == "" {
				if wrong := wrongSums(r); wrong != nil || !slices.ContainsFunc(r.Legs, func(l render.Leg) bool { return l.Direction == "reply" }) {
					t.Errorf("wrong are %q, want none, and a reply: %q", wrong, way(r, 0))
				}
				return
			}
			checkVerdict(t, r, "dropped", c.detail, "in dns-b")
			checkSumDrop(t, lastHop(t, r, "query"), c.reason)
			if wrong := wrongSums(r); len(wrong) == 0 || !strings.HasPrefix(wrong[0], "query client ") {
				t.Errorf("wrong are %q, want one that is so in the client", wrong)
			}
		})
	}
}

// lastSum returns the verdict on the newest query where it leaves the client.
func lastSum(r *render.Record) (verdict string) {
	for _, leg := range r.Legs {
		for _, h := range leg.Hops {
			if leg.Direction == "query" && leg.ICMP == nil && h.NetNSName == lab.Client && h.Dev == lab.WireDev && h.Hop == "tx" && h.Checksum != nil {
				verdict = h.Checksum.Inner
			}
		}
	}
	return verdict
}
