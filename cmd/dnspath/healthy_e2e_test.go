//go:build e2e

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
)

// No checksum of lookups that are answered is said to be wrong, whatever devices
// are told to do of checksums and segments: a small "dnslab healthy".
func TestHealthy(t *testing.T) {
	onGuests(t, lab.AnotherGuest)
	const count = 240
	both := []string{lab.DNSA, lab.DNSB}
	for _, c := range []struct {
		name string
		lab  lab.Topology
		here bool // guests need not do what the host did
	}{
		{"iptables", lab.Topology{Config: lab.Config{Service: lab.ServiceIPTables, Endpoints: both, BridgeNF: true, Overlay: lab.OverlayVXLAN, Under: lab.OverlayVXLAN}}, true},
		{"nftables", lab.Topology{Config: lab.Config{Service: lab.ServiceNFTables, Endpoints: both[1:], Overlay: lab.OverlayVXLAN, Underlay6: true}}, true},
		{"ipvs", lab.Topology{Config: lab.Config{Service: lab.ServiceIPVS, Endpoints: both, BridgeNF: true, Overlay: lab.OverlayIPIP}}, false},
		{"geneve", lab.Topology{Config: lab.Config{Service: lab.ServiceIPVS, Endpoints: both[1:], Overlay: lab.OverlayGeneve, Under: lab.OverlayGRE}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.here {
				sameEverywhere(t, "counted on this machine")
			}
			res, err := lab.Healthy(t.Context(), c.lab, lab.HealthyRun{
				Bin: bin, Args: []string{"--ring-size", "64M"}, ToolTimeout: lab.Patience(2 * time.Second),
				Count: count, Rate: lab.Share(400), Seed: 1, Settings: lab.EachOffload(),
			})
			if errors.Is(err, lab.ErrNotSupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			if err := res.Write(&b); err != nil {
				t.Fatal(err)
			}
			sums := res.Sums()
			t.Logf("%s\n%s%s", lab.HealthyColumns(), b.String(), sums.Summary())
			if sums.Wrong() > 0 {
				t.Errorf("%d of %d checksums are said to be wrong", sums.Wrong(), sums.All())
			}
			// In a guest time stands still now and then: connections time out, and events come late.
			if lab.Slowness() == 1 && !res.Good() {
				t.Error("lookups were missed, or events lost")
			}
			if sums.Lookups < count*9/10 {
				t.Errorf("%d of %d lookups were told", sums.Lookups, count)
			}
			// One that says nothing is never wrong.
			if said := sums.Verdicts["ok"] + sums.Verdicts["partial"] + sums.Verdicts["none"]; said < sums.All()*3/4 {
				t.Errorf("of %d verdicts %d say something", sums.All(), said)
			}
		})
	}
}
