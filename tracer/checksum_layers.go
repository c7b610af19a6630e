package tracer

import (
	"encoding/binary"
	"fmt"
)

// sumLayer is an IP packet, the outermost or one in a tunnel, with what its
// checksums need. Offsets count from the outermost IP header.
type sumLayer struct {
	depth   int
	tunnel  string // of which it is the outer packet; "" the lookup's own
	version int    // 4, 6; 0: not captured, or neither
	ip      int
	ipLen   int // of an IPv4 header with its options; 0 unknown
	ipEnd   int // as its length says
	next    byte
	header  string // udp, tcp; "" another, that has no checksum of ours
	l4      int    // where that begins; 0 unknown
	end     int    // of what its checksum covers
	why     string // why the checksum of header can't be told
}

// Protocols, as IP numbers them.
const (
	ipProtoHopOpts  = 0
	ipProtoUDP      = 17
	ipProtoRouting  = 43
	ipProtoFragment = 44
	ipProtoAH       = 51
	ipProtoDstOpts  = 60
)

// sumLayers takes a packet apart: a layer for each tunnel, outermost first, and
// one for what is in them. What is unknown of one makes all in it unknown.
func sumLayers(p []byte, f *sumFacts) []sumLayer {
	layers := make([]sumLayer, len(f.tunnels)+1)
	at, limit, why := 0, f.len, ""
	for i := range layers {
		l := &layers[i]
		l.depth = len(f.tunnels) - i
		if i < len(f.tunnels) {
			l.tunnel = f.tunnels[i]
			if l.tunnel == "vxlan" || l.tunnel == "geneve" {
				l.header = "udp"
			}
		} else {
			l.header = f.header
		}
		if l.why = why; why != "" {
			continue
		}
		l.ip = at
		l.read(p, limit)
		if at, limit = l.inside(p); at == 0 && l.tunnel != "" {
			if why = l.why; why == "" {
				why = "the header of the tunnel was not understood"
			}
		}
	}
	if last := &layers[len(f.tunnels)]; last.why == "" && last.header != "" && last.payload(p) != f.payload {
		last.why = "its headers were not understood"
	}
	return layers
}

// read takes in the IP header, and what follows it. The packet has room for
// what ends at limit; 0: unknown.
func (l *sumLayer) read(p []byte, limit int) {
	if l.ip+20 > len(p) {
		l.why = "its IP header was not captured"
		return
	}
	switch p[l.ip] >> 4 {
	case 4:
		l.version = 4
		l.readIPv4(p)
	case 6:
		if l.ip+40 > len(p) {
			l.why = "its IP header was not captured"
			return
		}
		l.version = 6
		l.readIPv6(p)
	default:
		l.why = "its IP header is neither IPv4's nor IPv6's"
		return
	}
	switch {
	case l.why != "":
	case limit > 0 && l.ipEnd > limit:
		l.why = fmt.Sprintf("its IP header says %d bytes, %d are there", l.ipEnd-l.ip, max(limit-l.ip, 0))
	case l.l4 > l.ipEnd:
		l.why = "its headers are longer than the packet"
	case l.header == "udp":
		l.readUDP(p)
	case l.header == "tcp":
		l.readTCP(p)
	}
	if l.why != "" {
		l.end = 0
	}
}

func (l *sumLayer) readIPv4(p []byte) {
	h := p[l.ip:]
	size, total := int(h[0]&0xf)*4, int(be16(h, 2))
	l.next, l.ipEnd = h[9], l.ip+total
	switch {
	case size < 20:
		l.why = fmt.Sprintf("its IP header says that it has %d bytes itself", size)
		return
	case size > len(h):
		l.why = "its IP options were not captured"
		return
	}
	l.ipLen, l.l4 = size, l.ip+size
	switch {
	case total < size:
		l.why = fmt.Sprintf("its IP header says %d bytes, fewer than it has itself", total)
	case be16(h, 6)&0x3fff != 0:
		l.why = "a fragment: the checksum is that of the whole datagram"
	case sourceRouted(h[20:size]):
		l.why = "a source route: the checksum is that for its last address"
	}
}

// sourceRouted reports whether IPv4 options have a route that is not at its end
// yet (RFC 791 section 3.1), or can't be read.
func sourceRouted(o []byte) bool {
	for len(o) > 0 && o[0] != 0 {
		if o[0] == 1 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return true
		}
		if (o[0] == 131 || o[0] == 137) && (o[1] < 3 || o[2] <= o[1]) {
			return true
		}
		o = o[o[1]:]
	}
	return false
}

func (l *sumLayer) readIPv6(p []byte) {
	h := p[l.ip:]
	length := int(be16(h, 4))
	l.next, l.l4, l.ipEnd = h[6], l.ip+40, l.ip+40+length
	if length == 0 {
		l.why = "a jumbogram, or no length: how far the checksum goes is unknown"
		return
	}
	for l.why == "" && l.extension(p) {
	}
}

// extension steps over an IPv6 extension header (RFC 8200 section 4), if there is one.
func (l *sumLayer) extension(p []byte) bool {
	switch l.next {
	case ipProtoHopOpts, ipProtoRouting, ipProtoFragment, ipProtoAH, ipProtoDstOpts:
	default:
		return false
	}
	if l.l4+8 > len(p) {
		l.why = "its extension headers were not captured"
		return false
	}
	h := p[l.l4:]
	size := (int(h[1]) + 1) * 8
	switch l.next {
	case ipProtoFragment:
		size = 8
		if be16(h, 2)&^0x6 != 0 {
			l.why = "a fragment: the checksum is that of the whole datagram"
		}
	case ipProtoAH:
		size = (int(h[1]) + 2) * 4
	case ipProtoRouting:
		if h[3] != 0 {
			l.why = "a routing header: the checksum is that for its last address"
		}
	case ipProtoDstOpts:
		if size > len(h) || hasHomeAddress(h[2:size]) {
			l.why = "destination options, whose home address the checksum may be for"
		}
	}
	l.next, l.l4 = h[0], l.l4+size
	return true
}

// hasHomeAddress reports whether destination options have a home address (RFC
// 6275 section 6.3), or can't be read.
func hasHomeAddress(o []byte) bool {
	for len(o) > 0 {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[0] == 201 || int(o[1])+2 > len(o) {
			return true
		}
		o = o[o[1]+2:]
	}
	return false
}

func (l *sumLayer) readUDP(p []byte) {
	room := l.ipEnd - l.l4
	if l.next != ipProtoUDP {
		l.why = fmt.Sprintf("its IP header says protocol %d", l.next)
		return
	}
	if l.l4+8 > len(p) {
		l.why = "its UDP header was not captured"
		return
	}
	switch n := int(be16(p, l.l4+4)); {
	case n < 8:
		l.why = fmt.Sprintf("its UDP header says %d bytes", n)
	case n > room:
		l.why = fmt.Sprintf("its UDP header says %d bytes, the IP packet has room for %d", n, room)
	default:
		l.end = l.l4 + n
	}
}

func (l *sumLayer) readTCP(p []byte) {
	room := l.ipEnd - l.l4
	if l.next != protoTCP {
		l.why = fmt.Sprintf("its IP header says protocol %d", l.next)
		return
	}
	if l.l4+20 > len(p) {
		l.why = "its TCP header was not captured"
		return
	}
	if n := int(p[l.l4+12]>>4) * 4; n < 20 || n > room {
		l.why = fmt.Sprintf("its TCP header says that it has %d bytes itself", n)
		return
	}
	l.end = l.ipEnd
}

// payload returns where what it carries begins, as the kernel program finds it
// (bpf/packet.h).
func (l *sumLayer) payload(p []byte) int {
	if l.header == "tcp" {
		return l.l4 + int(p[l.l4+12]>>4)*4
	}
	return l.l4 + 8
}

// inside returns where the packet in the tunnel begins, and where it must end;
// 0 if there is none to be seen.
func (l *sumLayer) inside(p []byte) (at, limit int) {
	if l.why != "" {
		return 0, 0
	}
	switch l.tunnel {
	case "":
		return 0, 0
	case "vxlan": // RFC 7348: its header, Ethernet's
		if l.l4+16 > len(p) || p[l.l4+9]&vxlanRCO != 0 {
			return 0, 0
		}
		return l.l4 + 8 + 8 + 14, l.end
	case "geneve": // RFC 8926
		return geneve(p, l.l4+8), l.end
	case "gre": // RFC 2784, 2890
		return gre(p, l.l4), l.ipEnd
	}
	return l.l4, l.ipEnd
}

// vxlanRCO marks remote checksum offload: the receiver is to complete what is
// in the tunnel (VXLAN_HF_RCO in include/net/vxlan.h).
const vxlanRCO = 0x20

// EtherTypes.
const etherBridged = 0x6558 // Transparent Ethernet Bridging

// geneve returns what follows the Geneve header at an offset, 0 if it isn't there.
func geneve(p []byte, at int) int {
	if at+8 > len(p) {
		return 0
	}
	in := at + 8 + int(p[at]&0x3f)*4
	if be16(p, at+2) == etherBridged {
		in += 14
	}
	return in
}

// gre returns what follows the GRE header at an offset, 0 if it isn't there.
func gre(p []byte, at int) int {
	if at+4 > len(p) {
		return 0
	}
	flags := be16(p, at)
	in := at + 4 + 4*int(flags>>15) + 4*int(flags>>13&1) + 4*int(flags>>12&1)
	if be16(p, at+2) == etherBridged {
		in += 14
	}
	return in
}

// checkOff returns where in its header the checksum lies.
func (l *sumLayer) checkOff() int {
	switch {
	case l.header == "tcp":
		return 16
	case l.tunnel == "gre":
		return 4
	}
	return 6
}

// checkable reports whether the checksum's field was captured.
func (l *sumLayer) checkable(p []byte) bool {
	return l.l4 > 0 && l.l4+l.checkOff()+2 <= len(p)
}

// pseudo returns the sum of the pseudo-header for so many bytes (RFC 768, RFC
// 9293 section 3.1, RFC 8200 section 8.1).
func (l *sumLayer) pseudo(p []byte, length int) uint64 {
	from, to := l.ip+12, l.ip+20
	if l.version == 6 {
		from, to = l.ip+8, l.ip+40
	}
	var rest [8]byte
	binary.BigEndian.PutUint32(rest[:], uint32(length))
	rest[7] = l.next
	return add(add(0, p[from:to]), rest[:])
}
