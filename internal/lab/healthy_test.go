package lab

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A healthy plan has answers alone, in equal parts, and asks who it is told to.
func TestPlanHealthy(t *testing.T) {
	const count, parts = 12000, 12
	topology := Topology{Config: Config{Overlay: OverlayIPIP, Service: ServiceIPVS, Endpoints: []string{DNSB}}}
	opts := MixedOptions{Count: count, Rate: 1000, TCP: 0.3, Seed: 7, Healthy: true, Servers: topology.servers(), Parts: make([]func() error, parts)}
	made, large := make([]int, parts), map[string]int{}
	last := 0
	for _, l := range planMixed(opts).log {
		made[l.Part]++
		if l.Part < last {
			t.Errorf("%v comes after a later part", l)
		}
		last = l.Part
		if l.Plan != "NOERROR" && l.Plan != "NXDOMAIN" {
			t.Errorf("%v is not healthy", l)
		}
		if l.Server.Addr().Is6() && l.Server.Addr() != ipv6.host(0, 53) {
			t.Errorf("%v: IPIP carries no IPv6", l)
		}
		if l.Server.Addr() == l.Client.Addr() {
			t.Errorf("%v asks itself", l)
		}
		if label, _, _ := strings.Cut(l.Name, "."); strings.HasPrefix(label, "big") {
			large[l.Transport+" "+label]++
		}
	}
	for part, n := range made {
		if n != count/parts {
			t.Errorf("part %d has %d lookups, want %d", part, n, count/parts)
		}
	}
	for _, kind := range []string{"udp big900", "udp big2000", "tcp big5000"} {
		if large[kind] < count/200 {
			t.Errorf("%d lookups of %s, want more", large[kind], kind)
		}
	}
}

// Each overlay meets each service once, and the first few labs have all of both.
func TestCombine(t *testing.T) {
	for _, size := range [][2]int{{4, 10}, {3, 5}, {1, 7}, {8, 8}, {21, 14}} {
		var overlays, services []Topology
		for i := range size[0] {
			overlays = append(overlays, Topology{Config: Config{VXLAN: VXLAN{VNI: i}}})
		}
		for i := range size[1] {
			services = append(services, Topology{Config: Config{Service: ServiceMode(fmt.Sprint(i))}})
		}
		pairs, of, early := map[string]bool{}, map[string]bool{}, max(size[0], size[1])
		for i, c := range combine(overlays, services) {
			pairs[fmt.Sprint(c.VXLAN.VNI, " ", c.Service)] = true
			if i < early {
				of[fmt.Sprint("overlay ", c.VXLAN.VNI)], of["service "+string(c.Service)] = true, true
			}
		}
		if len(pairs) != size[0]*size[1] || len(of) != size[0]+size[1] {
			t.Errorf("%v: %d pairs, and %d of both in the first %d", size, len(pairs), len(of), early)
		}
	}
}

func TestCountSums(t *testing.T) {
	r := &mixedRecord{}
	text := `{"type":"lookup","name":"a.","legs":[{"direction":"query","hops":[
		{"hop":"tx","checksum":{"inner":"ok","inner_ip":"unknown","why":[{"header":"inner_ip","why":"17 bytes were not captured"}]}},
		{"hop":"tx","checksum":{"inner":"partial","outer":"none","inner_ip":"ok","why":[{"header":"inner","why":"no reason for unknown"}]}},
		{"hop":"rx"}]},
		{"direction":"reply","hops":[{"hop":"rx","dev":"eth0","checksum":{"outer":"bad","inner":"novel","outer_ip":"ok","wrong":[{"header":"outer"}]}}]}]}`
	if err := json.Unmarshal([]byte(text), r); err != nil {
		t.Fatal(err)
	}
	r.countSums()
	want := &SumTally{
		Lookups: 1, Hops: 4, Silent: 1,
		Verdicts: map[string]int{"ok": 3, "unknown": 1, "partial": 1, "none": 1, "bad": 1, "novel": 1},
		Unknown:  map[string]int{"N bytes were not captured": 1},
		Faults:   []string{`reply of  a.  (invalid AddrPort),  eth0 rx: [{"header":"outer"}]`},
	}
	if diff := cmp.Diff(want, r.sums); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var all SumTally
	all.Add(r.sums)
	all.Add(r.sums)
	if all.Wrong() != 4 || all.All() != 16 || all.Hops != 8 || all.Unknown["N bytes were not captured"] != 2 {
		t.Errorf("two of it are %+v, %d wrong", all, all.Wrong())
	}
}

// A result is good if all was told, and nothing is said to be wrong.
func TestHealthyGood(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*HealthyResult)
		want   bool
	}{
		{"all is well", func(*HealthyResult) {}, true},
		{"one is said to be wrong", func(r *HealthyResult) { r.Parts[0].Sums.Verdicts["partial-bad"] = 1 }, false},
		{"fewer told than made", func(r *HealthyResult) { r.Parts[0].Made = 101 }, false},
		{"one was missed", func(r *HealthyResult) { r.Verdict.Missed = 1 }, false},
		{"events were lost", func(r *HealthyResult) { r.Verdict.Losses.Late = 1 }, false},
		{"the return of a function was missed", func(r *HealthyResult) { r.Verdict.Losses.Lost = map[string]uint64{"return": 1} }, true},
		{"the ring was full", func(r *HealthyResult) { r.Verdict.Losses.Lost = map[string]uint64{"ring_full": 1} }, false},
		{"one timed out", func(r *HealthyResult) { r.Verdict.Unplanned = 1 }, true},
		{"two timed out", func(r *HealthyResult) { r.Verdict.Unplanned = 2 }, false},
	} {
		r := &HealthyResult{
			Verdict: &MixedVerdict{Lookups: 100},
			Parts:   []HealthyPart{{Made: 100, Sums: SumTally{Lookups: 100, Verdicts: map[string]int{"ok": 900}}}},
		}
		if c.change(r); r.Good() != c.want {
			t.Errorf("%s: good is %v", c.name, r.Good())
		}
	}
}
