//go:build crosscheck

package tracer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// crossMaker makes a packet, and breaks it.
type crossMaker struct {
	rnd    *rand.Rand
	p      []byte
	length int // on the wire
	f      *sumFacts
}

// madePacket makes a packet of some shape, and breaks half of them.
func madePacket(t *testing.T, rnd *rand.Rand) crossPacket {
	c := &crossMaker{rnd: rnd}
	name := c.make(t)
	if rnd.IntN(2) == 0 {
		name += ", " + c.change()
	}
	return judgedPacket(name, c.p, c.length, c.f)
}

// make makes a good packet: what is innermost, and the tunnels around it.
func (c *crossMaker) make(t *testing.T) (name string) {
	header, tcp := "udp", c.rnd.IntN(3) == 0
	if tcp {
		header = "tcp"
	}
	payload := make(gopacket.Payload, 8+c.rnd.IntN(600))
	for i := range payload {
		payload[i] = byte(c.rnd.Uint32())
	}
	v6 := c.rnd.IntN(2) == 0
	parts := append(c.ip(v6, map[bool]layers.IPProtocol{false: layers.IPProtocolUDP, true: layers.IPProtocolTCP}[tcp]), c.l4(tcp), payload)
	var tunnels []string
	for len(tunnels) < 2 && c.rnd.IntN(5) > 1 {
		var kind string
		kind, parts, v6 = c.tunnel(parts, v6)
		tunnels = append([]string{kind}, tunnels...)
	}
	c.p = pack(t, parts...)
	c.length = len(c.p)
	size := 8
	if tcp {
		size = 20
	}
	c.f = &sumFacts{header: header, tunnels: tunnels, payload: bytes.LastIndex(c.p, payload)} // gopacket pads Ethernet frames to 60 bytes
	c.f.kernel = Checksum{Summed: uint8(c.rnd.IntN(3)), Level: uint8(c.rnd.IntN(3)), L4: uint16(headroom + c.f.payload - size)}
	if c.rnd.IntN(2) == 0 {
		c.f.len = c.length
	}
	return fmt.Sprintf("%s in %q, IPv6 %v", header, tunnels, v6)
}

// ip makes an IP header, some with options.
func (c *crossMaker) ip(v6 bool, next layers.IPProtocol) []gopacket.SerializableLayer {
	if v6 {
		return []gopacket.SerializableLayer{ip6(fmt.Sprintf("2001:db8::%x", c.rnd.Uint32N(1<<16)), "2001:db8::53", next)}
	}
	h := ip4(fmt.Sprintf("10.244.%d.%d", c.rnd.IntN(256), c.rnd.IntN(256)), "10.96.0.10", next)
	h.Id, h.TTL = uint16(c.rnd.Uint32()), 1+uint8(c.rnd.IntN(255))
	if c.rnd.IntN(8) == 0 {
		h.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}, {OptionType: 0}} // record route
	}
	return []gopacket.SerializableLayer{h}
}

func (c *crossMaker) l4(tcp bool) gopacket.SerializableLayer {
	if tcp {
		h := tcpTo(53)
		h.SrcPort, h.Seq = layers.TCPPort(10000+c.rnd.IntN(50000)), c.rnd.Uint32()
		return h
	}
	h := udpTo(53)
	h.SrcPort = layers.UDPPort(10000 + c.rnd.IntN(50000))
	return h
}

// tunnel puts a tunnel around a packet.
func (c *crossMaker) tunnel(in []gopacket.SerializableLayer, in6 bool) (kind string, out []gopacket.SerializableLayer, v6 bool) {
	v6 = c.rnd.IntN(2) == 0
	etherType, proto := layers.EthernetTypeIPv4, layers.IPProtocolIPv4
	if in6 {
		etherType, proto = layers.EthernetTypeIPv6, layers.IPProtocolIPv6
	}
	udp := func(port layers.UDPPort) *layers.UDP {
		return &layers.UDP{SrcPort: layers.UDPPort(32768 + c.rnd.IntN(28000)), DstPort: port}
	}
	switch c.rnd.IntN(4) {
	case 0:
		port := []layers.UDPPort{4789, 8472}[c.rnd.IntN(2)]
		out = append(c.ip(v6, layers.IPProtocolUDP), udp(port), &layers.VXLAN{ValidIDFlag: true, VNI: c.rnd.Uint32N(1 << 24)}, ether(etherType))
		kind = "vxlan"
	case 1:
		out = append(c.ip(v6, layers.IPProtocolUDP), udp(6081), &layers.Geneve{Protocol: layers.EthernetTypeTransparentEthernetBridging, VNI: 7}, ether(etherType))
		kind = "geneve"
	case 2:
		out = append(c.ip(v6, layers.IPProtocolGRE), &layers.GRE{Protocol: etherType, KeyPresent: c.rnd.IntN(2) == 0, Key: 9})
		kind = "gre"
	default:
		out = c.ip(v6, proto)
		kind = map[[2]bool]string{{false, false}: "ipip", {false, true}: "sit", {true, false}: "ip6tnl", {true, true}: "ip6tnl"}[[2]bool{v6, in6}]
	}
	return kind, append(out, in...), v6
}

// change breaks a packet, or changes it so that it is still right, and says how.
func (c *crossMaker) change() string {
	all := sumLayers(c.p, c.f)
	l := &all[c.rnd.IntN(len(all))]
	if l.version == 0 { // not captured
		l = &all[0]
	}
	summed := l.header != "" && l.checkable(c.p)
	some := func(of string) string { return fmt.Sprintf("%s of %d", of, l.depth) }
	bit := func(at, size int) {
		if at+size <= len(c.p) && size > 0 {
			c.p[at+c.rnd.IntN(size)] ^= 1 << c.rnd.IntN(8)
		}
	}
	switch c.rnd.IntN(11) {
	case 0:
		bit(c.f.payload, len(c.p)-c.f.payload)
		return "payload"
	case 1:
		if summed {
			bit(l.l4+l.checkOff(), 2)
			return some("checksum")
		}
	case 2:
		if summed {
			put(c.p, l.l4+l.checkOff(), 0)
			return some("zero")
		}
	case 3:
		bit(l.ip+map[int]int{4: 12, 6: 8}[l.version], map[int]int{4: 4, 6: 16}[l.version])
		return some("address")
	case 4:
		if summed {
			bit(l.l4, 2)
			return some("port")
		}
	case 5:
		at := l.ip + map[int]int{4: 2, 6: 4}[l.version]
		put(c.p, at, uint16(int(be16(c.p, at))+c.rnd.IntN(40)-20))
		return some("IP length")
	case 6:
		if summed && l.header == "udp" {
			put(c.p, l.l4+4, uint16(c.rnd.IntN(int(be16(c.p, l.l4+4))+20)))
			return some("UDP length")
		}
	case 7:
		c.p = c.p[:min(20+c.rnd.IntN(len(c.p)), len(c.p))]
		return "cut"
	case 8:
		if l.version == 4 {
			return c.fragment(l)
		}
		put(c.p, l.ip+4, 0)
		return some("no length")
	case 9:
		if len(c.p) == c.length {
			c.p = append(c.p, make([]byte, 1+c.rnd.IntN(20))...)
			c.length = len(c.p)
			return "padding"
		}
	default:
		if summed && l.end > 0 {
			put(c.p, l.l4+l.checkOff(), fold(l.pseudo(c.p, l.end-l.l4)))
			return some("pseudo-header alone")
		}
	}
	return "nothing"
}

// fragment marks an IPv4 packet as a fragment, with the right header checksum.
func (c *crossMaker) fragment(l *sumLayer) string {
	if l.ipLen == 0 {
		return "nothing"
	}
	put(c.p, l.ip+6, []uint16{0x2000, 0x2003, 3}[c.rnd.IntN(3)])
	put(c.p, l.ip+10, 0)
	put(c.p, l.ip+10, ^fold(add(0, c.p[l.ip:l.ip+l.ipLen])))
	return fmt.Sprintf("fragment at %d", l.depth)
}
