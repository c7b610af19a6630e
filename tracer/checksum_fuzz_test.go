package tracer

import (
	"bytes"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// FuzzSums gives the verdict function any packet, with any flags of the kernel.
func FuzzSums(f *testing.F) {
	tunnels := [][]string{nil, {"vxlan"}, {"geneve"}, {"gre"}, {"ipip"}, {"vxlan", "vxlan"}, {"ip6tnl", "geneve"}}
	for _, p := range [][]byte{udp4(f), udp6(f), tcp4(f)} {
		f.Add(p, uint8(3), uint8(0), uint16(84), uint16(6), uint16(84), uint16(0), uint16(28), uint8(0), uint16(0))
	}
	f.Add(overlayPacket(f), uint8(3), uint8(0), uint16(134), uint16(6), uint16(134), uint16(0), uint16(78), uint8(1), uint16(40))
	f.Fuzz(func(t *testing.T, p []byte, how, level uint8, start, off, l4, size, payload uint16, kind uint8, guessed uint16) {
		facts := &sumFacts{
			kernel:  Checksum{Summed: how & 3, Level: level & 3, Start: start, Offset: off, L4: l4, GSOSize: size},
			tunnels: tunnels[int(kind)%len(tunnels)], header: []string{"udp", "tcp", ""}[(kind>>6)%3], payload: int(payload),
			len: int(size), early: kind&8 != 0, apart: kind&16 != 0, guessed: int(guessed),
		}
		for _, s := range sums(p, facts) {
			told := s.Verdict == SumOK || s.Verdict == SumBad
			switch {
			case told && s.Header != "ipv4" && tunnels[int(kind)%len(tunnels)] == nil && mustNotTell(p, facts):
				t.Errorf("told of what can't be: %+v", s)
			case s.Verdict.Wrong() && (same(s.Field, s.Want) && s.Field != 0):
				t.Errorf("wrong, and as it should be: %+v", s)
			case !s.Verdict.Wrong() && s.Want != 0:
				t.Errorf("right, and should be another: %+v", s)
			case s.Verdict == SumUnknown && s.Why == "":
				t.Errorf("unknown for no reason: %+v", s)
			case s.Verdict == SumOK && facts.early && s.Header == "ipv4":
				t.Errorf("not filled in, and right: %+v", s)
			}
		}
	})
}

// mustNotTell says of a packet without tunnels that its bytes can't tell whether
// its UDP or TCP checksum is right: some are missing, or its headers lie. It
// knows of no extension headers.
func mustNotTell(p []byte, f *sumFacts) bool {
	if len(p) < 20 || p[0]>>4 == 6 && len(p) < 40 {
		return true
	}
	total, l4 := int(be16(p, 2)), int(p[0]&15)*4
	switch p[0] >> 4 {
	case 4:
		if be16(p, 6)&0x3fff != 0 || l4 < 20 {
			return true
		}
	case 6:
		if total, l4 = int(be16(p, 4))+40, 40; total == 40 {
			return true
		}
		if p[6] != 17 && p[6] != 6 {
			return false
		}
	default:
		return true
	}
	end := total
	if f.header == "udp" && l4+8 <= len(p) {
		if end = l4 + int(be16(p, l4+4)); end < l4+8 || end > total {
			return true
		}
	}
	return end > len(p) || f.len > 0 && total > f.len
}

// madeSum is a packet whose checksums gopacket has computed.
type madeSum struct {
	p      []byte
	f      *sumFacts
	ip, l4 int // of the innermost headers
	v6     bool
}

// makeSum makes a packet by the bits of shape.
func makeSum(t *testing.T, shape uint8, payload []byte) *madeSum {
	m := &madeSum{v6: shape&2 != 0, f: &sumFacts{header: "udp"}}
	tcp, over6 := shape&1 != 0, shape&4 != 0
	ip := func(six bool, next layers.IPProtocol) (gopacket.SerializableLayer, int) {
		if six {
			return ip6("2001:db8::1", "2001:db8::53", next), 40
		}
		return ip4("10.244.1.10", "10.96.0.10", next), 20
	}
	etherType, inIP := layers.EthernetTypeIPv4, layers.IPProtocolIPv4
	if m.v6 {
		etherType, inIP = layers.EthernetTypeIPv6, layers.IPProtocolIPv6
	}
	var parts []gopacket.SerializableLayer
	around := func(kind string, next layers.IPProtocol, more int, in ...gopacket.SerializableLayer) {
		outer, size := ip(over6, next)
		parts, m.ip, m.f.tunnels = append([]gopacket.SerializableLayer{outer}, in...), size+more, []string{kind}
	}
	switch shape >> 3 & 7 {
	case 0:
		around("vxlan", layers.IPProtocolUDP, 30, &layers.UDP{SrcPort: 50741, DstPort: 4789}, &layers.VXLAN{ValidIDFlag: true, VNI: 4096}, ether(etherType))
	case 1:
		around("geneve", layers.IPProtocolUDP, 30, &layers.UDP{SrcPort: 50741, DstPort: 6081}, &layers.Geneve{Protocol: layers.EthernetTypeTransparentEthernetBridging, VNI: 1}, ether(etherType))
	case 2:
		around("gre", layers.IPProtocolGRE, 4, &layers.GRE{Protocol: etherType})
	case 3:
		around("ipip", inIP, 0)
	}
	next, header, size := layers.IPProtocolUDP, gopacket.SerializableLayer(udpTo(53)), 8
	if tcp {
		next, header, size, m.f.header = layers.IPProtocolTCP, tcpTo(53), 20, "tcp"
	}
	inner, innerIP := ip(m.v6, next)
	m.p = pack(t, append(parts, inner, header, gopacket.Payload(payload))...)
	m.l4 = m.ip + innerIP
	m.f.payload, m.f.kernel.L4 = m.l4+size, uint16(headroom+m.l4)
	return m
}

// field is where the innermost checksum lies.
func (m *madeSum) field() int {
	if m.f.header == "tcp" {
		return m.l4 + 16
	}
	return m.l4 + 6
}

// pend leaves the innermost checksum to the device.
func (m *madeSum) pend(payload int) {
	from, length, proto := m.p[m.ip+12:m.l4], m.f.payload-m.l4+payload, 17
	if m.v6 {
		from = m.p[m.ip+8 : m.l4]
	}
	if m.f.header == "tcp" {
		proto = 6
	}
	sum := proto + length
	for i := 0; i < len(from); i += 2 {
		sum += int(from[i])<<8 + int(from[i+1])
	}
	put(m.p, m.field(), uint16(sum%0xffff))
	m.f.kernel.Summed, m.f.kernel.Start, m.f.kernel.Offset = summedPartial, uint16(headroom+m.l4), uint16(m.field()-m.l4)
}

// FuzzSumsMade gives the verdict function packets whose checksums are right, with
// any flags of the kernel, and then breaks them or takes bytes away.
func FuzzSumsMade(f *testing.F) {
	for what := range uint8(8) {
		for shape := range uint8(5) {
			f.Add([]byte(query), shape<<3+what, what, uint8(0), uint8(0), uint16(33), uint16(0))
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte, shape, what, how, level uint8, where, gsoSize uint16) {
		if len(payload) < 46 || len(payload) > 9000 { // Ethernet pads what is shorter
			payload = append(payload[:min(len(payload), 9000)], make([]byte, 46)...)
		}
		m := makeSum(t, shape, payload)
		k := &m.f.kernel
		k.Summed, k.Level, k.GSOSize = how%3, level&3, gsoSize
		if level&4 != 0 {
			m.f.len = len(m.p)
		}
		m.f.apart = level&8 != 0
		whole := bytes.Clone(m.p)
		want := m.change(what%8, int(where), len(payload))
		got := sums(m.p, m.f)
		for i, s := range got {
			innermost := i == len(got)-1
			if !want(s, innermost) || s.Verdict == SumUnknown && s.Why == "" {
				t.Errorf("changed by %d: %s\n%x\n%x", what%8, describeSums(got), whole, m.p)
			}
		}
		if len(got) == 0 && len(m.p) >= 20 {
			t.Error("nothing is told")
		}
	})
}

// change changes a packet, and returns which verdicts may be.
func (m *madeSum) change(what uint8, where, payload int) func(s HeaderSum, innermost bool) bool {
	is := func(verdicts ...SumVerdict) func(HeaderSum, bool) bool {
		return func(s HeaderSum, _ bool) bool { return slices.Contains(verdicts, s.Verdict) }
	}
	summed := func(inner func(HeaderSum, bool) bool) func(HeaderSum, bool) bool { // IP headers are as they were
		return func(s HeaderSum, _ bool) bool {
			return s.Header == "ipv4" && s.Verdict == SumOK || s.Header != "ipv4" && inner(s, true)
		}
	}
	switch what {
	case 1: // pending
		m.pend(payload)
		return func(s HeaderSum, innermost bool) bool {
			if innermost {
				return s.Verdict == SumPartial
			}
			return s.Verdict == SumOK || m.f.kernel.GSOSize > 0 && s.Verdict == SumUnknown // then that of a tunnel is pending, too
		}
	case 2: // a bit of the payload
		m.p[m.f.payload+where%payload] ^= 1 << (where >> 13)
		if m.f.apart || m.f.kernel.GSOSize > 0 {
			return summed(is(SumUnknown))
		}
		return summed(is(SumBad, SumTrusted))
	case 3: // bytes are missing
		m.p = m.p[:where%len(m.p)]
		return func(s HeaderSum, _ bool) bool {
			return s.Verdict == SumUnknown || s.Header == "ipv4" && s.Verdict == SumOK || s.Header != "ipv4" && s.Verdict == SumTrusted
		}
	case 4: // a fragment; no length
		if m.p[0]>>4 == 6 {
			put(m.p, 4, 0)
			return is(SumUnknown)
		}
		put(m.p, 6, 0x2000)
		return func(s HeaderSum, _ bool) bool { // its own header has changed
			return s.Verdict == SumUnknown || s.Header == "ipv4" && s.Depth == len(m.f.tunnels) && s.Verdict == SumBad
		}
	case 5: // a length beyond the packet
		m.f.len = len(m.p)
		if m.p[0]>>4 == 6 {
			put(m.p, 4, uint16(len(m.p)-40+1+where%1000))
			return is(SumUnknown)
		}
		put(m.p, 2, uint16(len(m.p)+1+where%1000))
		return func(s HeaderSum, _ bool) bool {
			return s.Verdict == SumUnknown || s.Header == "ipv4" && s.Depth == len(m.f.tunnels) && s.Verdict == SumBad
		}
	case 6: // UDP's length
		if m.f.header != "udp" {
			return is(SumOK)
		}
		put(m.p, m.l4+4, uint16([]int{where % 8, 8 + payload + 1 + where%100}[where&1]))
		return func(s HeaderSum, innermost bool) bool {
			return innermost && s.Verdict == SumUnknown || !innermost // a tunnel's is not right any more
		}
	case 7: // pending, for other addresses
		m.pend(payload)
		put(m.p, m.field(), be16(m.p, m.field())^uint16(1+where%0xfffe))
		if m.f.kernel.GSOSize > 0 {
			return func(s HeaderSum, _ bool) bool { return !s.Verdict.Wrong() } // it may be the sum for no length, which is right too
		}
		return func(s HeaderSum, innermost bool) bool { return innermost == (s.Verdict == SumPartialBad) }
	}
	return is(SumOK)
}
