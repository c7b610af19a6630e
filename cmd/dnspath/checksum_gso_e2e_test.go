//go:build e2e

package main

import (
	"slices"
	"testing"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// An answer over TCP that is several segments in one (GSO) goes through a tunnel
// so: each gets its checksum when they are parted, and till then none is wrong.
func TestChecksumsGSO(t *testing.T) {
	onGuests(t, lab.SomeGuests)
	for _, overlay := range []lab.Overlay{lab.OverlayVXLAN, lab.OverlayIPIP} {
		t.Run(string(overlay), func(t *testing.T) {
			if overlay == lab.OverlayVXLAN {
				sameEverywhere(t, "IPIP is the harder one, and not here")
			}
			l := raise(t, lab.Config{Overlay: overlay})
			ask(t, l.Client, addrPort(l.DNSB), "warm.example.test.", nil)
			o := observe(t, labOnly(l)...)
			cases := []struct {
				name string
				wire []string // verdicts where the device between the nodes has them
			}{
				{"big20000.whole.example.test.", []string{"partial", "unknown"}},
				{"big20000.parted.example.test.", []string{"ok"}},
			}
			for i, c := range cases {
				if i == 1 { // the kernel parts them before the device has them, and sums up
					for _, feature := range []string{"gso", "tso", "tx"} {
						must(t, l.NodeB.Command(t.Context(), "ethtool", "-K", lab.WireDev, feature, "off").Run())
					}
				}
				if _, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: addrPort(l.DNSB), Name: c.name, Type: dns.TypeTXT, TCP: true}); err != nil {
					t.Fatal(err)
				}
			}
			x := end(t, o)
			for _, c := range cases {
				r := x.only(t, c.name)
				checkVerdict(t, r, "answered")
				checkBigSums(t, r, overlay.Device(), "partial", "unknown")
				checkBigSums(t, r, lab.WireDev, c.wire...)
			}
		})
	}
}

// checkBigSums checks that packets of several segments were given to a device of
// node-b, and what is said of their checksums there.
func checkBigSums(t *testing.T, r *render.Record, dev string, want ...string) {
	t.Helper()
	seen := 0
	for _, leg := range r.Legs {
		for _, h := range leg.Hops {
			if h.Len < 2000 || h.Checksum == nil || h.NetNSName != lab.NodeB || h.Dev != dev || h.Hop != "tx" {
				continue
			}
			if seen++; !slices.Contains(want, h.Checksum.Inner) || h.Tunnel != nil && h.Checksum.Outer == "bad" {
				t.Errorf("%s at %s: checksums %+v, want the inner one to be any of %q", r.Name, dev, *h.Checksum, want)
			}
		}
	}
	if seen == 0 {
		t.Errorf("%s: no packet of several segments at %s", r.Name, dev)
	}
}
