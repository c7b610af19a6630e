package nftrace

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Packet is what a trace message's headers say of a packet of DNS.
type Packet struct {
	Src, Dst netip.AddrPort
	IPID     uint16 // of IPv4
	DNSID    uint16 // of UDP
	Segment  string // of TCP: SYN, SYN-ACK, data, FIN, RST; empty: UDP
}

// Key finds the steps of a lookup: by its DNS ID or, over TCP where that may be
// in another segment, by the client's port.
type Key struct {
	TCP bool
	ID  uint16
}

// Sizes of headers, bytes.
const (
	ipv4Len = 20
	ipv6Len = 40
	udpLen  = 8
	dnsLen  = 12
	tcpLen  = 20
)

// fragmentOffset is where an IPv4 fragment belongs; UDP's header is in the first alone.
const fragmentOffset = 0x1fff

// packet reads the headers. It reports false if they are not there, or are those
// of something else than DNS, or of a TCP segment that only acknowledges: other
// programs trace too.
func (m *Message) packet() (Packet, bool) {
	if len(m.Network) < ipv4Len || len(m.Transport) < udpLen {
		return Packet{}, false
	}
	var p Packet
	var src, dst netip.Addr
	var protocol uint8
	payload := 0 // of IP, bytes
	switch n := m.Network; {
	case n[0]>>4 == 4 && binary.BigEndian.Uint16(n[6:])&fragmentOffset == 0:
		src, dst = netip.AddrFrom4([4]byte(n[12:16])), netip.AddrFrom4([4]byte(n[16:20]))
		protocol, payload = n[9], int(binary.BigEndian.Uint16(n[2:]))-int(n[0]&0xf)*4
		p.IPID = binary.BigEndian.Uint16(n[4:])
	case n[0]>>4 == 6 && len(n) >= ipv6Len:
		src, dst = netip.AddrFrom16([16]byte(n[8:24])), netip.AddrFrom16([16]byte(n[24:40]))
		protocol, payload = n[6], int(binary.BigEndian.Uint16(n[4:]))
		if extensions[protocol] {
			protocol = unix.IPPROTO_UDP // TCP is not told from it, and rarely has any
		}
	default:
		return Packet{}, false
	}
	p.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(m.Transport))
	p.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(m.Transport[2:]))
	switch {
	case protocol == unix.IPPROTO_UDP && len(m.Transport) >= udpLen+dnsLen:
		p.DNSID = binary.BigEndian.Uint16(m.Transport[udpLen:])
	case protocol == unix.IPPROTO_TCP && len(m.Transport) >= tcpLen:
		p.Segment = segment(m.Transport, payload)
	}
	return p, p.Segment != "" || protocol == unix.IPPROTO_UDP && len(m.Transport) >= udpLen+dnsLen
}

// extensions are the values of IPv6's next header that lead to another header,
// which the message does not have.
var extensions = map[uint8]bool{
	unix.IPPROTO_HOPOPTS: true, unix.IPPROTO_ROUTING: true, unix.IPPROTO_FRAGMENT: true, unix.IPPROTO_DSTOPTS: true,
}

// segment names a TCP segment by its header and the IP packet's payload; empty if
// it only acknowledges. The payload is not in the message.
func segment(header []byte, payload int) string {
	const fin, syn, rst, ack = 1, 2, 4, 16
	switch flags := header[13]; {
	case flags&rst != 0:
		return "RST"
	case flags&(syn|ack) == syn|ack:
		return "SYN-ACK"
	case flags&syn != 0:
		return "SYN"
	case payload > int(header[12]>>4)*4:
		return "data"
	case flags&fin != 0:
		return "FIN"
	}
	return ""
}

// keys returns under which a step is kept: of TCP by both ports, since behind a
// translation neither need be one of DNS.
func (p *Packet) keys() []Key {
	switch {
	case p.Segment == "":
		return []Key{{ID: p.DNSID}}
	case p.Src.Port() == p.Dst.Port():
		return []Key{{TCP: true, ID: p.Src.Port()}}
	}
	return []Key{{TCP: true, ID: p.Src.Port()}, {TCP: true, ID: p.Dst.Port()}}
}
