package tracer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// The packets of these tests are made, and their checksums computed, by
// gopacket, which shares nothing with what is tested.

func ip4(src, dst string, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Id: 7, Protocol: proto, SrcIP: net.ParseIP(src).To4(), DstIP: net.ParseIP(dst).To4()}
}

func ip6(src, dst string, next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

func ether(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: t}
}

func udpTo(port uint16) *layers.UDP {
	return &layers.UDP{SrcPort: 41522, DstPort: layers.UDPPort(port)}
}

func tcpTo(port uint16) *layers.TCP {
	return &layers.TCP{SrcPort: 41522, DstPort: layers.TCPPort(port), Seq: 99, ACK: true, PSH: true, Window: 500}
}

// pack serializes layers. Each UDP and TCP header is summed over the IP header before it.
func pack(t testing.TB, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	var ip gopacket.NetworkLayer
	for _, l := range parts {
		var err error
		switch l := l.(type) {
		case *layers.IPv4:
			ip = l
		case *layers.IPv6:
			ip = l
		case *layers.UDP:
			err = l.SetNetworkLayerForChecksum(ip)
		case *layers.TCP:
			err = l.SetNetworkLayerForChecksum(ip)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(b.Bytes())
}

var query = gopacket.Payload("\x12\x67\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x04test\x00\x00\x01\x00\x01")

func udp4(t testing.TB) []byte {
	return pack(t, ip4("10.244.1.10", "10.96.0.10", layers.IPProtocolUDP), udpTo(53), query)
}

func udp6(t testing.TB) []byte {
	return pack(t, ip6("2001:db8::1", "2001:db8::53", layers.IPProtocolUDP), udpTo(53), query)
}

func tcp4(t testing.TB) []byte {
	return pack(t, ip4("10.244.1.10", "10.96.0.10", layers.IPProtocolTCP), tcpTo(53), query)
}

// Offsets in overlay packets: IPv4, UDP, VXLAN, Ethernet, IPv4, UDP.
const (
	outerUDP = 20
	innerIP  = 20 + 8 + 8 + 14
	innerUDP = innerIP + 20
)

func overlayPacket(t testing.TB) []byte {
	return pack(t, ip4("192.0.2.1", "192.0.2.2", layers.IPProtocolUDP), &layers.UDP{SrcPort: 50741, DstPort: 4789}, &layers.VXLAN{ValidIDFlag: true, VNI: 4096},
		ether(layers.EthernetTypeIPv4), ip4("10.244.1.10", "10.96.0.10", layers.IPProtocolUDP), udpTo(53), query)
}

const headroom = 64 // of the packets of these tests, from skb->head on

// factsOf is what the kernel says of a complete packet without a tunnel; change alters it.
func factsOf(l4 int, change ...func(*sumFacts)) *sumFacts {
	f := &sumFacts{kernel: Checksum{L4: uint16(headroom + l4)}, header: "udp", payload: l4 + 8}
	for _, c := range change {
		c(f)
	}
	return f
}

func overTCP(f *sumFacts) { f.header, f.payload = "tcp", f.payload+12 }

func in(tunnels ...string) func(*sumFacts) {
	return func(f *sumFacts) { f.tunnels = tunnels }
}

// pendingAt says that the checksum of the header at an offset is pending.
func pendingAt(l4, field int) func(*sumFacts) {
	return func(f *sumFacts) {
		f.kernel.Summed, f.kernel.Start, f.kernel.Offset = summedPartial, uint16(headroom+l4), uint16(field)
	}
}

func summed(how, level uint8) func(*sumFacts) {
	return func(f *sumFacts) { f.kernel.Summed, f.kernel.Level = how, level }
}

func gso(f *sumFacts) { f.kernel.GSOSize = 1448 }

func put(p []byte, off int, word uint16) []byte {
	binary.BigEndian.PutUint16(p[off:], word)
	return p
}

// describeSums writes verdicts in short.
func describeSums(sums []HeaderSum) (s []string) {
	for _, h := range sums {
		line := fmt.Sprintf("%s/%d %s", h.Header, h.Depth, h.Verdict)
		if h.Verdict.Wrong() {
			line += fmt.Sprintf(" %04x want %04x", h.Field, h.Want)
		}
		if h.Why != "" {
			line += ": " + h.Why
		}
		s = append(s, line)
	}
	return s
}

type sumTest struct {
	name   string
	packet []byte
	facts  *sumFacts
	want   []string
}

func runSums(t *testing.T, tests []sumTest) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := bytes.Clone(tt.packet)
			if diff := cmp.Diff(tt.want, describeSums(sums(tt.packet, tt.facts))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if !bytes.Equal(before, tt.packet) {
				t.Error("the packet was changed")
			}
		})
	}
}

// The seeds were added up by hand: the pseudo-header of 10.244.1.10 → 10.96.0.10,
// UDP, 40 bytes is 0af4+010a+0a60+000a+0011+0028 = 16a1, that of 10.244.2.53
// 0af4+010a+0af4+0235+0011+0028 = 1960.
const (
	seedService = 0x16a1
	seedBackend = 0x1960
)

func TestSumsUDP(t *testing.T) {
	const check = 26
	good := udp4(t)
	full := binary.BigEndian.Uint16(good[check:])
	wrong := func(field, want uint16, verdict string) string {
		return fmt.Sprintf("udp/0 %s %04x want %04x", verdict, field, want)
	}
	short := good[:40]
	runSums(t, []sumTest{
		{"right", udp4(t), factsOf(20), []string{"ipv4/0 ok", "udp/0 ok"}},
		{"odd length", pack(t, ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolUDP), udpTo(53), query[:27]), factsOf(20), []string{"ipv4/0 ok", "udp/0 ok"}},
		{"bad", put(udp4(t), check, 0xbad), factsOf(20), []string{"ipv4/0 ok", wrong(0xbad, full, "bad")}},
		{"bad, and the device says it is good", put(udp4(t), check, 0xbad), factsOf(20, summed(summedUnnecessary, 0)),
			[]string{"ipv4/0 ok", wrong(0xbad, full, "bad") + ": the kernel takes it for right (CHECKSUM_UNNECESSARY)"}},
		{"IP header bad", put(udp4(t), 10, 0xbad), factsOf(20), []string{fmt.Sprintf("ipv4/0 bad 0bad want %04x", be16(good, 10)), "udp/0 ok"}},
		{"none", put(udp4(t), check, 0), factsOf(20), []string{"ipv4/0 ok", "udp/0 none"}},
		{"bytes behind the packet", append(udp4(t), 1, 2, 3), factsOf(20), []string{"ipv4/0 ok", "udp/0 ok"}},
		{"pending", put(udp4(t), check, seedService), factsOf(20, pendingAt(20, 6)), []string{"ipv4/0 ok", "udp/0 partial"}},
		{"pending, payload missing", put(udp4(t), check, seedService)[:30], factsOf(20, pendingAt(20, 6)), []string{"ipv4/0 ok", "udp/0 partial"}},
		{"pending for other addresses", put(udp4(t), check, seedBackend), factsOf(20, pendingAt(20, 6)), []string{"ipv4/0 ok", wrong(seedBackend, seedService, "partial-bad")}},
		{"pending, and complete", udp4(t), factsOf(20, pendingAt(20, 6)), []string{"ipv4/0 ok", wrong(full, seedService, "partial-bad")}},
		{"pending, and zero", put(udp4(t), check, 0), factsOf(20, pendingAt(20, 6)), []string{"ipv4/0 ok", wrong(0, seedService, "partial-bad")}},
		{"pending of nothing known", udp4(t), factsOf(20, pendingAt(24, 6)), []string{"ipv4/0 ok", "udp/0 unknown: a checksum is pending, of a header that was not found"}},
		{"pending at TCP's offset", udp4(t), factsOf(20, pendingAt(20, 16)), []string{"ipv4/0 ok", "udp/0 unknown: a checksum is pending, of a header that was not found"}},
		{"seed that nobody completes", put(udp4(t), check, seedService), factsOf(20),
			[]string{"ipv4/0 ok", wrong(seedService, full, "bad") + ": it holds the sum of its pseudo-header alone, and is not pending"}},
		{"seed that is trusted", put(udp4(t), check, seedService), factsOf(20, summed(summedUnnecessary, 0)),
			[]string{"ipv4/0 ok", "udp/0 trusted: it holds the sum of its pseudo-header alone, and the kernel takes it for right (CHECKSUM_UNNECESSARY)"}},
		{"seed, pending before", put(udp4(t), check, seedService), factsOf(20, pendingAt(20, 6), summed(0, 0)),
			[]string{"ipv4/0 ok", "udp/0 unknown: it was pending till the kernel took the header off"}},
		{"cut off", short, factsOf(20), []string{"ipv4/0 ok", fmt.Sprintf("udp/0 unknown: %d bytes were not captured", len(good)-40)}},
		{"cut off, trusted", short, factsOf(20, summed(summedUnnecessary, 0)), []string{"ipv4/0 ok", fmt.Sprintf("udp/0 trusted: %d bytes were not captured", len(good)-40)}},
		{"cut off, summed by the device", short, factsOf(20, summed(summedComplete, 0)), []string{"ipv4/0 ok", fmt.Sprintf("udp/0 unknown: %d bytes were not captured", len(good)-40)}},
		{"payload of before, right", udp4(t), factsOf(20, func(f *sumFacts) { f.guessed = 28 }), []string{"ipv4/0 ok", "udp/0 ok"}},
		{"payload of before, wrong", put(udp4(t), check, 0xbad), factsOf(20, func(f *sumFacts) { f.guessed = 28 }), []string{"ipv4/0 ok", "udp/0 unknown: its payload was not captured again"}},
		{"several in one", put(udp4(t), check, 0xbad), factsOf(20, gso), []string{"ipv4/0 ok", "udp/0 unknown: several packets in one (GSO): they get their checksums when they are parted"}},
		{"several in one, pending", put(udp4(t), check, seedService), factsOf(20, gso, pendingAt(20, 6)), []string{"ipv4/0 ok", "udp/0 partial"}},
	})
}

// TestSumsZero has a payload that makes UDP's sum zero, which is sent as 0xffff (RFC 768).
func TestSumsZero(t *testing.T) {
	p := udp4(t)
	payload := bytes.Clone(query)
	sum := fold(uint64(be16(payload, 4)) + uint64(be16(p, 26))) // moves the whole sum to the payload
	put(payload, 4, sum)
	p = pack(t, ip4("10.244.1.10", "10.96.0.10", layers.IPProtocolUDP), udpTo(53), gopacket.Payload(payload))
	put(p, 26, 0xffff)
	runSums(t, []sumTest{{"sum of zero", p, factsOf(20), []string{"ipv4/0 ok", "udp/0 ok"}}})
}

func TestSumsIPv6(t *testing.T) {
	full := binary.BigEndian.Uint16(udp6(t)[46:])
	ext := func(next layers.IPProtocol, header ...byte) []byte {
		p := udp6(t)
		p[6] = byte(next)
		put(p, 4, be16(p, 4)+uint16(len(header)))
		return slices.Insert(p, 40, header...)
	}
	at48 := factsOf(48)
	runSums(t, []sumTest{
		{"right", udp6(t), factsOf(40), []string{"udp/0 ok"}},
		{"zero", put(udp6(t), 46, 0), factsOf(40), []string{fmt.Sprintf("udp/0 bad 0000 want %04x: zero, which IPv6 leaves to tunnels", full)}},
		{"hop-by-hop options", ext(0, 17, 0, 1, 4, 0, 0, 0, 0), at48, []string{"udp/0 ok"}},
		{"destination options", ext(60, 17, 0, 1, 4, 0, 0, 0, 0), at48, []string{"udp/0 ok"}},
		{"home address", ext(60, append([]byte{17, 2, 201, 16}, make([]byte, 20)...)...), factsOf(64), []string{"udp/0 unknown: destination options, whose home address the checksum may be for"}},
		{"route", ext(43, 17, 0, 0, 1, 0, 0, 0, 0), at48, []string{"udp/0 unknown: a routing header: the checksum is that for its last address"}},
		{"route at its end", ext(43, 17, 0, 0, 0, 0, 0, 0, 0), at48, []string{"udp/0 ok"}},
		{"fragment", ext(44, 17, 0, 0, 1, 0, 0, 0, 9), at48, []string{"udp/0 unknown: a fragment: the checksum is that of the whole datagram"}},
		{"only fragment", ext(44, 17, 0, 0, 0, 0, 0, 0, 9), at48, []string{"udp/0 ok"}},
		{"jumbogram with its option", put(ext(0, 17, 0, 194, 4, 0, 1, 0, 0), 4, 0), at48, []string{"udp/0 unknown: a jumbogram, or no length: how far the checksum goes is unknown"}},
		{"UDP length of zero", put(udp6(t), 44, 0), factsOf(40), []string{"udp/0 unknown: its UDP header says 0 bytes"}},
		{"jumbogram", put(udp6(t), 4, 0), factsOf(40), []string{"udp/0 unknown: a jumbogram, or no length: how far the checksum goes is unknown"}},
		{"headers without end", ext(0, 0, 31, 1, 4, 0, 0, 0, 0), at48, []string{"udp/0 unknown: its extension headers were not captured"}},
	})
}

func TestSumsTCP(t *testing.T) {
	const check = 36
	full := be16(tcp4(t), check)
	seed := uint16(seedService - 17 + 6 + 12) // protocol 6, 12 bytes more
	runSums(t, []sumTest{
		{"right", tcp4(t), factsOf(20, overTCP), []string{"ipv4/0 ok", "tcp/0 ok"}},
		{"bad", put(tcp4(t), check, 0xbad), factsOf(20, overTCP), []string{"ipv4/0 ok", fmt.Sprintf("tcp/0 bad 0bad want %04x", full)}},
		{"zero", put(tcp4(t), check, 0), factsOf(20, overTCP), []string{"ipv4/0 ok", fmt.Sprintf("tcp/0 bad 0000 want %04x", full)}},
		{"pending", put(tcp4(t), check, seed), factsOf(20, overTCP, pendingAt(20, 16)), []string{"ipv4/0 ok", "tcp/0 partial"}},
		{"pending, wrong", put(tcp4(t), check, seed+1), factsOf(20, overTCP, pendingAt(20, 16)), []string{"ipv4/0 ok", fmt.Sprintf("tcp/0 partial-bad %04x want %04x", seed+1, seed)}},
		{"total length within its header", put(put(tcp4(t), 2, 30), 10, ^fold(add(0, put(put(tcp4(t), 2, 30), 10, 0)[:20]))), factsOf(20, overTCP), []string{"ipv4/0 ok", "tcp/0 unknown: its TCP header says that it has 20 bytes itself"}},
		{"header shorter than one", func() []byte { p := tcp4(t); p[32] = 0x40; return p }(), factsOf(20, overTCP), []string{"ipv4/0 ok", "tcp/0 unknown: its TCP header says that it has 16 bytes itself"}},
	})
}

// TestSumsLies has packets whose lengths and headers don't tell the truth.
func TestSumsLies(t *testing.T) {
	fixed := func(p []byte) []byte { // with the right IP checksum
		put(p, 10, 0)
		return put(p, 10, ^fold(add(0, p[:int(p[0]&0xf)*4])))
	}
	options := func(o ...byte) []byte {
		p := slices.Insert(udp4(t), 20, o...)
		p[0] += byte(len(o) / 4)
		return fixed(put(p, 2, be16(p, 2)+uint16(len(o))))
	}
	withLen := func(n int) func(*sumFacts) { return func(f *sumFacts) { f.len = n } }
	n := len(udp4(t))
	runSums(t, []sumTest{
		{"total length beyond the packet", fixed(put(udp4(t), 2, 2000)), factsOf(20, withLen(n)), []string{"ipv4/0 ok", fmt.Sprintf("udp/0 unknown: its IP header says 2000 bytes, %d are there", n)}},
		{"total length of zero", fixed(put(udp4(t), 2, 0)), factsOf(20), []string{"ipv4/0 ok", "udp/0 unknown: its IP header says 0 bytes, fewer than it has itself"}},
		{"total length without room for UDP", fixed(put(udp4(t), 2, 24)), factsOf(20), []string{"ipv4/0 ok", "udp/0 unknown: its UDP header says 40 bytes, the IP packet has room for 4"}},
		{"not sent yet", put(put(udp4(t), 2, 0), 10, 0), factsOf(20, func(f *sumFacts) { f.early = true }),
			[]string{"ipv4/0 unknown: the kernel has not filled it in yet", "udp/0 unknown: the kernel has not filled in the IP header yet"}},
		{"header length", func() []byte { p := udp4(t); p[0] = 0x44; return p }(), factsOf(16),
			[]string{"ipv4/0 unknown: its IP header says that it has 16 bytes itself", "udp/0 unknown: its IP header says that it has 16 bytes itself"}},
		{"options cut off", func() []byte { p := udp4(t); p[0] = 0x4f; return p[:56] }(), factsOf(60),
			[]string{"ipv4/0 unknown: its IP options were not captured", "udp/0 unknown: its IP options were not captured"}},
		{"version", func() []byte { p := udp4(t); p[0] = 0x55; return p }(), factsOf(20), []string{"udp/0 unknown: its IP header is neither IPv4's nor IPv6's"}},
		{"UDP length beyond the packet", put(udp4(t), 24, 41), factsOf(20), []string{"ipv4/0 ok", "udp/0 unknown: its UDP header says 41 bytes, the IP packet has room for 40"}},
		{"UDP length of zero", put(udp4(t), 24, 0), factsOf(20), []string{"ipv4/0 ok", "udp/0 unknown: its UDP header says 0 bytes"}},
		{"protocol", fixed(func() []byte { p := udp4(t); p[9] = 6; return p }()), factsOf(20), []string{"ipv4/0 ok", "udp/0 unknown: its IP header says protocol 6"}},
		{"another place", udp4(t), factsOf(24), []string{"ipv4/0 ok", "udp/0 unknown: its headers were not understood"}},
		{"first fragment", fixed(put(udp4(t), 6, 0x2000)), factsOf(20), []string{"ipv4/0 ok", "udp/0 unknown: a fragment: the checksum is that of the whole datagram"}},
		{"later fragment", fixed(put(udp4(t), 6, 5)), factsOf(20), []string{"ipv4/0 ok", "udp/0 unknown: a fragment: the checksum is that of the whole datagram"}},
		{"options", options(1, 1, 1, 0), factsOf(24), []string{"ipv4/0 ok", "udp/0 ok"}},
		{"source route", options(131, 7, 4, 10, 0, 0, 9, 0), factsOf(28), []string{"ipv4/0 ok", "udp/0 unknown: a source route: the checksum is that for its last address"}},
		{"source route at its end", options(131, 7, 8, 10, 0, 0, 9, 0), factsOf(28), []string{"ipv4/0 ok", "udp/0 ok"}},
		{"option without end", options(7, 40, 4, 0), factsOf(24), []string{"ipv4/0 ok", "udp/0 unknown: a source route: the checksum is that for its last address"}},
		{"nothing", nil, factsOf(20), []string{"udp/0 unknown: its IP header was not captured"}},
	})
}

func TestSumsTunnel(t *testing.T) {
	vxlan := in("vxlan")
	outer, inner := be16(overlayPacket(t), outerUDP+6), be16(overlayPacket(t), innerUDP+6)
	pendingInner := func() []byte { return put(overlayPacket(t), innerUDP+6, seedService) }
	// 192.0.2.1 → 192.0.2.2, UDP, 90 bytes: c000+0201+c000+0202+0011+005a = 1846e
	const seedOuter = 0x846f // with the carry brought back
	four := func(a, b, c, d string) []string { return []string{a, b, c, d} }
	rewritten := put(pendingInner(), outerUDP, 12345) // its port, and nothing else
	moved := fold(uint64(outer) + 50741 + uint64(^uint16(12345)))
	runSums(t, []sumTest{
		{"right", overlayPacket(t), factsOf(innerUDP, vxlan), four("ipv4/1 ok", "udp/1 ok", "ipv4/0 ok", "udp/0 ok")},
		{"inner pending", pendingInner(), factsOf(innerUDP, vxlan, pendingAt(innerUDP, 6)), four("ipv4/1 ok", "udp/1 ok", "ipv4/0 ok", "udp/0 partial")},
		{"inner pending, payload missing", pendingInner()[:innerUDP+8], factsOf(innerUDP, vxlan, pendingAt(innerUDP, 6)), four("ipv4/1 ok", "udp/1 ok", "ipv4/0 ok", "udp/0 partial")},
		{"inner pending, no outer one", put(pendingInner(), outerUDP+6, 0), factsOf(innerUDP, vxlan, pendingAt(innerUDP, 6)), four("ipv4/1 ok", "udp/1 none", "ipv4/0 ok", "udp/0 partial")},
		{"outer port rewritten, its checksum not", rewritten, factsOf(innerUDP, vxlan, pendingAt(innerUDP, 6)),
			four("ipv4/1 ok", fmt.Sprintf("udp/1 bad %04x want %04x", outer, moved), "ipv4/0 ok", "udp/0 partial")},
		{"outer pending", put(overlayPacket(t), outerUDP+6, seedOuter), factsOf(innerUDP, vxlan, pendingAt(outerUDP, 6)), four("ipv4/1 ok", "udp/1 partial", "ipv4/0 ok", "udp/0 ok")},
		{"outer pending, inner bad", put(put(overlayPacket(t), outerUDP+6, seedOuter), innerUDP+6, 0xbad), factsOf(innerUDP, vxlan, pendingAt(outerUDP, 6)),
			four("ipv4/1 ok", "udp/1 partial", "ipv4/0 ok", fmt.Sprintf("udp/0 bad 0bad want %04x", inner))},
		{"several in one", put(put(overlayPacket(t), outerUDP+6, seedOuter), innerUDP+6, seedService), factsOf(innerUDP, vxlan, gso, pendingAt(innerUDP, 6)),
			four("ipv4/1 ok", "udp/1 partial", "ipv4/0 ok", "udp/0 partial")},
		{"outer good by the device, inner unsaid", put(put(overlayPacket(t), outerUDP+6, 1), innerUDP+6, 2)[:80], factsOf(innerUDP, vxlan, summed(summedUnnecessary, 0)),
			four("ipv4/1 ok", "udp/1 trusted: 30 bytes were not captured", "ipv4/0 ok", "udp/0 unknown: 30 bytes were not captured")},
		{"both good by the device", put(put(overlayPacket(t), outerUDP+6, 1), innerUDP+6, 2)[:80], factsOf(innerUDP, vxlan, summed(summedUnnecessary, 1)),
			four("ipv4/1 ok", "udp/1 trusted: 30 bytes were not captured", "ipv4/0 ok", "udp/0 trusted: 30 bytes were not captured")},
		{"no outer one, inner good by the device", put(overlayPacket(t), outerUDP+6, 0)[:80], factsOf(innerUDP, vxlan, summed(summedUnnecessary, 0)),
			four("ipv4/1 ok", "udp/1 none", "ipv4/0 ok", "udp/0 trusted: 30 bytes were not captured")},
		{"tunnel ends before what is in it", put(put(overlayPacket(t), outerUDP+4, 20), outerUDP+6, 0), factsOf(innerUDP, vxlan),
			four("ipv4/1 ok", "udp/1 none", "ipv4/0 ok", "udp/0 unknown: its IP header says 60 bytes, 0 are there")},
		{"inner longer than the tunnel's", put(overlayPacket(t), innerIP+2, 500), factsOf(innerUDP, vxlan),
			four("ipv4/1 ok", "udp/1 bad a4d9 want a321", "ipv4/0 bad 6443 want 628b", "udp/0 unknown: its IP header says 500 bytes, 60 are there")},
	})
}

// TestSumsTunnels has each kind of tunnel, with gopacket's checksums.
func TestSumsTunnels(t *testing.T) {
	inner := []gopacket.SerializableLayer{ip4("10.244.1.10", "10.96.0.10", layers.IPProtocolUDP), udpTo(53), query}
	innerV6 := []gopacket.SerializableLayer{ip6("2001:db8::1", "2001:db8::53", layers.IPProtocolTCP), tcpTo(53), query}
	packet := func(in []gopacket.SerializableLayer, outer ...gopacket.SerializableLayer) []byte {
		return pack(t, append(outer, in...)...)
	}
	out := func(p layers.IPProtocol) *layers.IPv4 { return ip4("192.0.2.1", "192.0.2.2", p) }
	out6 := func(p layers.IPProtocol) *layers.IPv6 { return ip6("2001:db8:1::1", "2001:db8:1::2", p) }
	vxlan := &layers.VXLAN{ValidIDFlag: true, VNI: 1}
	toVXLAN, toGeneve := &layers.UDP{SrcPort: 50741, DstPort: 4789}, &layers.UDP{SrcPort: 50741, DstPort: 6081}
	eth, eth6 := ether(layers.EthernetTypeIPv4), ether(layers.EthernetTypeIPv6)
	rco := packet(inner, out(17), toVXLAN, vxlan, eth)
	rco[29] |= 0x20
	put(rco, 26, 0)
	zero6 := put(packet(inner, out6(17), toVXLAN, vxlan, eth), 46, 0)
	runSums(t, []sumTest{
		{"VXLAN over IPv6", packet(inner, out6(17), toVXLAN, vxlan, eth), factsOf(90, in("vxlan")), []string{"udp/1 ok", "ipv4/0 ok", "udp/0 ok"}},
		{"VXLAN over IPv6 without", zero6, factsOf(90, in("vxlan")), []string{"udp/1 none", "ipv4/0 ok", "udp/0 ok"}},
		{"VXLAN, TCP over IPv6 in it", packet(innerV6, out(17), toVXLAN, vxlan, eth6), factsOf(90, in("vxlan"), overTCP), []string{"ipv4/1 ok", "udp/1 ok", "tcp/0 ok"}},
		{"VXLAN, remote checksum offload", rco, factsOf(70, in("vxlan")), []string{"ipv4/1 ok", "udp/1 none", "udp/0 unknown: the header of the tunnel was not understood"}},
		{"Geneve", packet(inner, out(17), toGeneve, &layers.Geneve{Protocol: layers.EthernetTypeTransparentEthernetBridging, VNI: 1}, eth), factsOf(70, in("geneve")), []string{"ipv4/1 ok", "udp/1 ok", "ipv4/0 ok", "udp/0 ok"}},
		{"GRE", packet(inner, out(47), &layers.GRE{Protocol: layers.EthernetTypeIPv4, KeyPresent: true, Key: 7}), factsOf(48, in("gre")), []string{"ipv4/1 ok", "ipv4/0 ok", "udp/0 ok"}},
		{"IPIP", packet(inner, out(4)), factsOf(40, in("ipip")), []string{"ipv4/1 ok", "ipv4/0 ok", "udp/0 ok"}},
		{"SIT", packet(innerV6, out(41)), factsOf(60, in("sit"), overTCP), []string{"ipv4/1 ok", "tcp/0 ok"}},
		{"VXLAN in IPIP", packet(inner, out(4), out(17), toVXLAN, vxlan, eth), factsOf(90, in("ipip", "vxlan")), []string{"ipv4/2 ok", "ipv4/1 ok", "udp/1 ok", "ipv4/0 ok", "udp/0 ok"}},
		{"fragment of a tunnel", func() []byte {
			p := packet(inner, out(4))
			put(p, 6, 0x2000)
			put(p, 10, 0)
			return put(p, 10, ^fold(add(0, p[:20])))
		}(), factsOf(40, in("ipip")),
			[]string{"ipv4/1 ok", "udp/0 unknown: a fragment: the checksum is that of the whole datagram"}},
		{"ICMP error in VXLAN", packet(inner, out(17), toVXLAN, vxlan, eth), factsOf(98, in("vxlan"), func(f *sumFacts) { f.header = "" }), []string{"ipv4/1 ok", "udp/1 ok", "ipv4/0 ok"}},
		{"ICMP error in VXLAN, pending", packet(inner, out(17), toVXLAN, vxlan, eth), factsOf(98, in("vxlan"), pendingAt(20, 6), func(f *sumFacts) { f.header = "" }),
			[]string{"ipv4/1 ok", "udp/1 unknown: a checksum is pending, of a header that was not found", "ipv4/0 ok"}},
	})
}

// TestSumsFlips flips each bit of packets that are right: something must not be.
func TestSumsFlips(t *testing.T) {
	for name, p := range map[string][]byte{"plain": udp4(t), "overlay": overlayPacket(t)} {
		f := factsOf(20)
		if name == "overlay" {
			f = factsOf(innerUDP, in("vxlan"))
		}
		for bit := range len(p) * 8 {
			q := bytes.Clone(p)
			q[bit/8] ^= 1 << (bit % 8)
			verdicts := sums(q, f)
			if !slices.ContainsFunc(verdicts, func(s HeaderSum) bool { return s.Verdict != SumOK }) {
				t.Errorf("%s: bit %d of byte %d flipped, and all is right", name, bit%8, bit/8)
			}
		}
	}
}

// TestSumsNAT rewrites addresses and ports of pending and complete packets as
// the kernel does (inet_proto_csum_replace), many times: they stay right.
func TestSumsNAT(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		p := udp4(t)
		pending := rnd.IntN(2) == 0
		f := factsOf(20)
		if pending {
			put(p, 26, seedService)
			f = factsOf(20, pendingAt(20, 6))
		}
		for range 3 {
			off := []int{12, 14, 16, 18, 20}[rnd.IntN(5)]
			old, word := be16(p, off), uint16(rnd.Uint32())
			put(p, off, word)
			put(p, 26, replaced(be16(p, 26), old, word, pending, off < 20))
			if off < 20 {
				put(p, 10, replaced(be16(p, 10), old, word, false, true))
			}
		}
		if got := sums(p, f); !got[0].Verdict.right() || !got[1].Verdict.right() {
			t.Fatalf("%x: %v", p, describeSums(got))
		}
	}
}

// replaced is RFC 1624's HC' = ~(~HC + ~m + m'); of what is pending, without the
// complements, and ports are no part of it.
func replaced(check, old, word uint16, pending, pseudo bool) uint16 {
	if pending && !pseudo {
		return check
	}
	if pending {
		return fold(uint64(check) + uint64(^old) + uint64(word))
	}
	if check = ^fold(uint64(^check) + uint64(^old) + uint64(word)); check == 0 {
		return 0xffff
	}
	return check
}
