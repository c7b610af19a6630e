//go:build e2e

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// Answers over TCP that meet a smaller MTU are dropped once, and sent again in
// segments that fit: all lookups of the connection are answered.
func TestTCPPathMTU(t *testing.T) {
	sameEverywhere(t, "the same decides on every kernel")
	for _, server := range []string{"10.244.2.53", "fd00:10:244:2::53"} {
		t.Run(server, func(t *testing.T) {
			l := raise(t, lab.Config{})
			if err := l.NodeB.IP(t.Context(), "link", "set", lab.VXLANDev, "mtu", "1280"); err != nil {
				t.Fatal(err)
			}
			var names []string
			for i, label := range []string{"big20000", "big1500", "big100", "big5000", "big200"} {
				names = append(names, fmt.Sprintf("%s.n%d.example.test.", label, i))
			}
			o := observe(t, labOnly(l)...)
			stream(t, l.Client, lab.StreamOptions{
				Server: netip.AddrPortFrom(netip.MustParseAddr(server), 53), Names: names, Type: dns.TypeTXT, Timeout: lab.Patience(5 * time.Second),
			}, nil)
			x := end(t, o)
			dropped := false
			for _, name := range names {
				r := x.only(t, name)
				checkVerdict(t, r, "answered")
				if r.Incomplete || len(r.Findings) > 0 {
					t.Errorf("%s: incomplete %v %q, findings %v", name, r.Incomplete, r.Why, r.Findings)
				}
				dropped = dropped || slices.ContainsFunc(r.Legs, func(leg render.Leg) bool {
					return leg.Direction == "reply" && slices.ContainsFunc(leg.Hops, func(h render.Hop) bool { return h.Drop != nil })
				})
			}
			if !dropped {
				t.Error("no segment was dropped: the MTU was not met")
			}
		})
	}
}
