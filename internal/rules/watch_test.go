package rules

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dnspath/dnspath/internal/kernel"
	"github.com/dnspath/dnspath/tracer"
)

func TestForeseen(t *testing.T) {
	gateway := addrPort("192.0.2.1:1025")
	translated := &tracer.Conntrack{Info: 2, Orig: tracer.Flow{Src: pod, Dst: service}, Reply: tracer.Flow{Src: backendB, Dst: gateway}}
	back := *translated
	back.Info = 3
	plain := &tracer.Conntrack{Info: 2, Orig: tracer.Flow{Src: pod, Dst: backendB}, Reply: tracer.Flow{Src: backendB, Dst: pod}}
	first := Tracked{State: stateNew}
	for _, tt := range []struct {
		name string
		e    tracer.Event
		want []Question
	}{
		{"a packet that goes on", tracer.Event{CT: plain}, nil},
		{"a drop elsewhere", tracer.Event{Freed: &tracer.Freed{Reason: "NO_SOCKET"}}, nil},
		{"a drop in netfilter", tracer.Event{Freed: &tracer.Freed{Reason: "NETFILTER_DROP"}, Hook: tracer.HookForward}, []Question{
			{Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: udp, Src: pod, Dst: backendB},
		}},
		{"a drop in netfilter without a reason", tracer.Event{Freed: &tracer.Freed{Function: "nf_hook_slow"}, Hook: tracer.HookForward}, []Question{
			{Deed: Drop, Hook: tracer.HookForward, Seen: true, Protocol: udp, Src: pod, Dst: backendB},
		}},
		{"a drop of a tunnel's packet", tracer.Event{
			Freed: &tracer.Freed{Reason: "NETFILTER_DROP"}, Hook: tracer.HookInput, Tunnel: &tracer.Tunnel{Src: gateway, Dst: service},
		}, []Question{{Deed: Drop, Hook: tracer.HookInput, Seen: true, Protocol: udp, Src: gateway, Dst: service}}},
		{"a table that refuses", tracer.Event{Verdict: tracer.VerdictDrop, Table: &tracer.Table{Tool: "iptables"}, Hook: tracer.HookInput}, []Question{
			{Deed: Drop, Hook: tracer.HookInput, Seen: true, Protocol: udp, Src: pod, Dst: backendB},
		}},
		{"a drop by a program", tracer.Event{Freed: &tracer.Freed{Reason: "TC_EGRESS"}, Ifindex: cni}, []Question{
			{Programs: Device{cni, kernel.PlaceEgress}},
		}},
		{"a drop by XDP", tracer.Event{Freed: &tracer.Freed{Function: "do_xdp_generic"}, Ifindex: cni}, []Question{
			{Programs: Device{cni, kernel.PlaceXDP}},
		}},
		{"a translation", tracer.Event{CT: translated}, []Question{
			{Deed: DNAT, Hook: tracer.HookPrerouting, Protocol: udp, Src: pod, Dst: service, To: backendB, Tracked: first},
			{Deed: DNAT, Hook: tracer.HookOutput, Protocol: udp, Src: pod, Dst: service, To: backendB, Tracked: first},
			{Deed: SNAT, Hook: tracer.HookPostrouting, Protocol: udp, Src: pod, Dst: backendB, To: gateway, Tracked: first},
			{Deed: SNAT, Hook: tracer.HookInput, Protocol: udp, Src: pod, Dst: backendB, To: gateway, Tracked: first},
		}},
		{"a translation back", tracer.Event{CT: &back}, nil},
		{"a translation by IPVS", tracer.Event{Probe: tracer.ProbeIPVSNat}, []Question{
			{Deed: DNAT, Protocol: udp, Src: pod, Dst: backendB},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.e.NetNS, tt.e.Src, tt.e.Dst = node, pod, backendB
			var got []Question
			if _, ok := sightingOf(&tt.e); ok {
				got = foreseen(&tt.e)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("questions (-want +got):\n%s", diff)
			}
		})
	}
}

// fakeForeseer has read the rules at some time, and keeps what it was asked.
type fakeForeseer struct {
	at    uint64
	times []uint64
}

func (f *fakeForeseer) Foresee(_ uint32, q *Question) bool {
	f.times = append(f.times, q.Time)
	return f.at >= q.Time
}

// TestWatch holds that an event waits until rules were read after it, and that
// of events of the same kind the newest does.
func TestWatch(t *testing.T) {
	r := &fakeForeseer{at: 2}
	w := newWatch(r)
	drop := func(at uint64) *tracer.Event {
		return &tracer.Event{Time: at, NetNS: node, Src: pod, Dst: backendB, Hook: tracer.HookForward, Freed: &tracer.Freed{Reason: "NETFILTER_DROP"}}
	}
	for _, at := range []uint64{1, 4, 3} {
		w.Event(drop(at))
	}
	w.read()
	w.read()
	r.at = 5
	w.read()
	w.read()
	if diff := cmp.Diff([]uint64{4, 4, 4}, r.times); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestWatchIsBounded(t *testing.T) {
	w := newWatch(&fakeForeseer{})
	for i := range 2 * maxWaiting {
		for port := range 2 * maxSightings {
			w.Event(&tracer.Event{
				NetNS: uint32(i + 1), Src: pod, Dst: netip.AddrPortFrom(backendB.Addr(), uint16(port)), Freed: &tracer.Freed{Reason: "NETFILTER_DROP"},
			})
		}
	}
	if len(w.waiting) != maxWaiting || len(w.waiting[1]) != maxSightings {
		t.Errorf("%d namespaces, %d events of one wait; want %d and %d", len(w.waiting), len(w.waiting[1]), maxWaiting, maxSightings)
	}
}

func TestWatchEnds(t *testing.T) {
	w := NewWatch(NewReader(func(uint32) string { return "" }, time.Second))
	w.Close()
}
