package tracer

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sighting is an event about a packet; change alters it.
func sighting(probe Probe, p []byte, f *sumFacts, change ...func(*Event)) *Event {
	e := &Event{
		Probe: probe, Packet: 1, NetNS: nsNodeA, Ifindex: 2, Dev: "eth0", Len: uint32(len(p)), TTL: 64, IPID: 7,
		Src: netip.MustParseAddrPort("10.244.1.10:41522"), Dst: netip.MustParseAddrPort("10.96.0.10:53"),
		Checksum: f.kernel, DNSLen: uint16(len(p) - f.payload), DNSOffset: uint16(f.payload), Captured: bytes.Clone(p),
	}
	e.Checksum.Field = be16(p, f.payload-2)
	if len(f.tunnels) > 0 {
		e.Tunnel = &Tunnel{
			Kind: f.tunnels[0], VNI: 4096, TTL: 64,
			Src: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), be16(p, outerUDP)), Dst: netip.MustParseAddrPort("192.0.2.2:4789"),
		}
		e.Checksum.Outer = be16(p, outerUDP+6)
	}
	for _, c := range change {
		c(e)
	}
	return e
}

func again(e *Event) { e.Captured = nil }

func atHook(h Hook) func(*Event) {
	return func(e *Event) { e.Hook = h }
}

// legOf puts events in order, 10 µs apart.
func legOf(events ...*Event) *legState {
	for i, e := range events {
		e.Time = sceneStart + uint64(i)*sceneStep
	}
	return &legState{events: events}
}

// sumsOf describes the hops of a leg and what became wrong there.
func sumsOf(l *legState) (lines []string) {
	for _, h := range buildHops(l) {
		line := fmt.Sprintf("%s %s", h.Name, h.Hook)
		for _, s := range describeSums(h.Sums) {
			line += "; " + s
		}
		for _, b := range h.Breaks {
			line += fmt.Sprintf("; BREAK %s/%d was %q", b.Header, b.Depth, b.Was)
			if b.WasAt != nil {
				line += fmt.Sprintf(" at %s %s", b.WasAt.Name, b.WasAt.Hook)
			}
			if b.From.IsValid() {
				line += fmt.Sprintf(", %s became %s", b.From, b.To)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// TestSumsOnTheWay has a checksum break on the way, and what follows of a
// packet's bytes where they are not captured.
func TestSumsOnTheWay(t *testing.T) {
	pending := factsOf(20, pendingAt(20, 6))
	seeded := put(udp4(t), 26, seedService)
	overlaid := factsOf(innerUDP, in("vxlan"), pendingAt(innerUDP, 6))
	wrapped := put(overlayPacket(t), innerUDP+6, seedService)
	outer := be16(wrapped, outerUDP+6)
	rewritten := put(bytes.Clone(wrapped), outerUDP, 12345)
	bad := fmt.Sprintf("udp/1 bad %04x want %04x", outer, fold(uint64(outer)+50741+uint64(^uint16(12345))))
	over := put(udp4(t), 40, 0x6262)
	written := fmt.Sprintf("tx ; ipv4/0 ok; udp/0 bad %04x want %04x", be16(over, 26), ^fold(uint64(^be16(over, 26))+0x6262+uint64(^be16(udp4(t), 40))))
	tests := []struct {
		name   string
		events []*Event
		want   []string
	}{
		{"outer port rewritten", []*Event{
			sighting(ProbeNetDevQueue, seeded, pending),
			sighting(ProbeNFEnter, wrapped, overlaid, atHook(HookOutput)),
			sighting(ProbeNFEnter, wrapped, overlaid, atHook(HookPostrouting), again),
			sighting(ProbeNFLeave, rewritten, overlaid, atHook(HookPostrouting)),
			sighting(ProbeNetDevQueue, rewritten, overlaid, again),
			sighting(ProbeKfreeSkb, rewritten, overlaid, again, func(e *Event) { e.Freed = &Freed{Reason: "UDP_CSUM"} }),
		}, []string{
			"tx ; ipv4/0 ok; udp/0 partial",
			"hook OUTPUT; ipv4/1 ok; udp/1 ok; ipv4/0 ok; udp/0 partial",
			"hook POSTROUTING; ipv4/1 ok; " + bad + "; ipv4/0 ok; udp/0 partial; BREAK udp/1 was \"ok\" at hook OUTPUT, 192.0.2.1:50741 became 192.0.2.1:12345",
			"tx ; ipv4/1 ok; " + bad + "; ipv4/0 ok; udp/0 partial",
			"drop ; ipv4/1 ok; " + bad + "; ipv4/0 ok; udp/0 partial",
		}},
		{"wrong from the beginning", []*Event{
			sighting(ProbeNetDevQueue, put(udp4(t), 26, 0xbad), factsOf(20)),
			sighting(ProbeNetifReceiveSkb, put(udp4(t), 26, 0xbad), factsOf(20), again),
		}, []string{
			fmt.Sprintf("tx ; ipv4/0 ok; udp/0 bad 0bad want %04x; BREAK udp/0 was \"\"", be16(udp4(t), 26)),
			fmt.Sprintf("rx ; ipv4/0 ok; udp/0 bad 0bad want %04x", be16(udp4(t), 26)),
		}},
		{"completed by the driver's side", []*Event{
			sighting(ProbeNetDevQueue, seeded, pending),
			sighting(ProbeNetDevStartXmit, udp4(t), factsOf(20)),
		}, []string{"tx ; ipv4/0 ok; udp/0 ok"}},
		{"no more pending, and not completed", []*Event{
			sighting(ProbeNetDevQueue, seeded, pending),
			sighting(ProbeNetifReceiveSkb, seeded, factsOf(20), again),
		}, []string{
			"tx ; ipv4/0 ok; udp/0 partial",
			fmt.Sprintf("rx ; ipv4/0 ok; udp/0 bad %04x want %04x: it holds the sum of its pseudo-header alone, and is not pending; BREAK udp/0 was \"partial\" at tx ", seedService, be16(udp4(t), 26)),
		}},
		{"read by a socket", []*Event{
			sighting(ProbeNetifReceiveSkb, seeded, pending),
			sighting(ProbeUDPConsume, seeded, factsOf(20), again),
		}, []string{"rx ; ipv4/0 ok; udp/0 partial", "read ; ipv4/0 ok; udp/0 partial"}},
		{"at a socket, captured again", []*Event{
			sighting(ProbeUDPFail, seeded, factsOf(20)),
		}, []string{"socket-full ; ipv4/0 ok; udp/0 unknown: what was pending is not known any more"}},
		{"forwarded", []*Event{
			sighting(ProbeNetifReceiveSkb, udp4(t), factsOf(20)),
			sighting(ProbeNFEnter, udp4(t), factsOf(20), atHook(HookForward), again, func(e *Event) { e.TTL = 63 }),
		}, []string{"rx ; ipv4/0 ok; udp/0 ok", "hook FORWARD; ipv4/0 unknown: its hop limit has changed since it was captured; udp/0 ok"}},
		{"a capture was lost", []*Event{
			sighting(ProbeNetifReceiveSkb, udp4(t), factsOf(20)),
			sighting(ProbeNFEnter, udp4(t), factsOf(20), atHook(HookForward), again, func(e *Event) { e.Dst = backend }),
			sighting(ProbeNetDevQueue, udp4(t), factsOf(20)),
		}, []string{
			"rx ; ipv4/0 ok; udp/0 ok",
			"hook FORWARD; ipv4/0 unknown: its headers were not captured again; udp/0 unknown: its headers were not captured again",
			"tx ; ipv4/0 ok; udp/0 ok",
		}},
		{"payload written over", []*Event{
			sighting(ProbeNetDevQueue, udp4(t), factsOf(20)),
			sighting(ProbeNetifReceiveSkb, udp4(t), factsOf(20), again),
			sighting(ProbeNFEnter, udp4(t), factsOf(20), atHook(HookForward), again),
			sighting(ProbeNetDevQueue, put(udp4(t), 40, 0x6262), factsOf(20)),
			sighting(ProbeNetDevQueue, put(udp4(t), 40, 0x6262), factsOf(20), again),
		}, []string{
			"tx ; ipv4/0 ok; udp/0 ok",
			"rx ; ipv4/0 ok; udp/0 unknown: its payload was written over about here",
			"hook FORWARD; ipv4/0 ok; udp/0 unknown: its payload was written over about here",
			written + "; BREAK udp/0 was \"ok\" at tx ",
			written,
		}},
		{"payload captured later", []*Event{
			sighting(ProbeNetDevQueue, udp4(t), factsOf(20), func(e *Event) { e.Captured = e.Captured[:28] }),
			sighting(ProbeNetifReceiveSkb, udp4(t), factsOf(20)),
		}, []string{"tx ; ipv4/0 ok; udp/0 ok", "rx ; ipv4/0 ok; udp/0 ok"}},
		{"payload captured later, and it does not fit", []*Event{
			sighting(ProbeNetDevQueue, put(udp4(t), 26, 0xbad), factsOf(20), func(e *Event) { e.Captured = e.Captured[:28] }),
			sighting(ProbeNetifReceiveSkb, udp4(t), factsOf(20)),
		}, []string{"tx ; ipv4/0 ok; udp/0 unknown: its payload was not captured again", "rx ; ipv4/0 ok; udp/0 ok"}},
		{"before the IP header is complete", []*Event{
			sighting(ProbeIPSendSkb, put(put(bytes.Clone(seeded), 2, 0), 10, 0), pending),
			sighting(ProbeNFEnter, seeded, pending, atHook(HookOutput), again),
			sighting(ProbeNetDevQueue, seeded, pending),
		}, []string{
			"send ; ipv4/0 unknown: the kernel has not filled it in yet; udp/0 partial",
			"hook OUTPUT; ipv4/0 unknown: it was captured before the kernel had filled it in; udp/0 partial",
			"tx ; ipv4/0 ok; udp/0 partial",
		}},
		{"nothing captured", []*Event{sighting(ProbeNetDevQueue, udp4(t), factsOf(20), again)}, []string{"tx "}},
		{"out of the tunnel, and in another", []*Event{
			sighting(ProbeNetifReceiveSkb, rewritten, overlaid),
			sighting(ProbeNetifRx, seeded, pending),
			sighting(ProbeNetDevQueue, rewritten, overlaid),
		}, []string{
			"rx ; ipv4/1 ok; " + bad + "; ipv4/0 ok; udp/0 partial; BREAK udp/1 was \"\"",
			"rx ; ipv4/0 ok; udp/0 partial",
			"tx ; ipv4/1 ok; " + bad + "; ipv4/0 ok; udp/0 partial; BREAK udp/1 was \"\"",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, sumsOf(legOf(tt.events...))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
