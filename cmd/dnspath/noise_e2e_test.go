//go:build e2e

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
)

// Nobody is blamed for what is nobody's fault: NXDOMAIN, servers that refuse or are
// slow, clients that give up, packets that are lost. A small "dnslab noise".
func TestNoise(t *testing.T) {
	onGuests(t, lab.OneGuest)
	both := []string{lab.DNSA, lab.DNSB}
	for _, c := range []struct {
		name string
		lab  lab.Topology
		loss lab.Loss
		one  bool // only one node is watched
		here bool // guests need not do what the host did
	}{
		{"wire", lab.Topology{Config: lab.Config{Service: lab.ServiceIPTables, Endpoints: both, BridgeNF: true, Overlay: lab.OverlayVXLAN}}, lab.LossWire, false, true},
		{"one node", lab.Topology{Config: lab.Config{Service: lab.ServiceNFTables, Endpoints: both[1:], Overlay: lab.OverlayVXLAN}}, lab.LossWire, true, true},
		{"forwarder", lab.Forwarding(), lab.LossWire, false, true},
		{"netem", lab.Topology{Config: lab.Config{Service: lab.ServiceIPTables, Endpoints: both, BridgeNF: true, Overlay: lab.OverlayVXLAN}}, lab.LossNetem, false, false},
		{"ipvs", lab.Topology{Config: lab.Config{Service: lab.ServiceIPVS, Endpoints: both[1:], BridgeNF: true, Overlay: lab.OverlayIPIP}}, lab.LossNetem, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.here {
				sameEverywhere(t, "counted on this machine")
			}
			res, err := lab.Noise(t.Context(), c.lab, lab.NoiseRun{
				Bin: bin, Args: []string{"--ring-size", "64M"}, ToolTimeout: lab.Patience(time.Second),
				Count: 300, Rate: lab.Share(400), Seed: 1, Loss: c.loss, Part: 0.03, OneNode: c.one,
			})
			if errors.Is(err, lab.ErrNotSupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			checkNoise(t, res)
		})
	}
}

// checkNoise checks that all was told, that no finding is wrong, and that there was
// something to find.
func checkNoise(t *testing.T, res *lab.NoiseResult) {
	t.Helper()
	var b strings.Builder
	if err := errors.Join(res.Write(&b), res.Blame.Write(&b)); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", b.String())
	total := res.Blame.Total()
	if !res.Blame.Good() {
		t.Errorf("%d findings are wrong, of %d failed lookups nothing is said; want none", total.Wrong, res.Blame.Silent)
	}
	if res.Blame.Missed > total.Lookups/10 {
		t.Errorf("%d of %d lookups were missed", res.Blame.Missed, total.Lookups)
	}
	for _, id := range []string{"server-refused", "client-gone"} {
		if total.Findings[id] == 0 && !res.Run.OneNode {
			t.Errorf("no finding %s of %v", id, total.Findings)
		}
	}
	lost := total.Findings["lost-beyond-node"] + total.Findings["unexplained"] + total.Findings["qdisc-drop"]
	if lost == 0 {
		t.Errorf("of the packets that were lost nothing is said: %v", total.Findings)
	}
}
