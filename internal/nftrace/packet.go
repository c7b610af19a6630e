package nftrace

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Packet is what a trace message's headers say of a DNS packet over UDP.
type Packet struct {
	Src, Dst netip.AddrPort
	IPID     uint16 // of IPv4
	DNSID    uint16
}

// Sizes of headers, bytes.
const (
	ipv4Len = 20
	ipv6Len = 40
	udpLen  = 8
	dnsLen  = 12
)

// fragmentOffset is where an IPv4 fragment belongs; UDP's header is in the first alone.
const fragmentOffset = 0x1fff

// packet reads the headers. It reports false if they are not there, or are those
// of something else than DNS over UDP: other programs trace too.
func (m *Message) packet() (Packet, bool) {
	if len(m.Network) < ipv4Len || len(m.Transport) < udpLen+dnsLen {
		return Packet{}, false
	}
	var p Packet
	var src, dst netip.Addr
	switch n := m.Network; {
	case n[0]>>4 == 4 && n[9] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(n[6:])&fragmentOffset == 0:
		src, dst = netip.AddrFrom4([4]byte(n[12:16])), netip.AddrFrom4([4]byte(n[16:20]))
		p.IPID = binary.BigEndian.Uint16(n[4:])
	case n[0]>>4 == 6 && len(n) >= ipv6Len && leadsToUDP[n[6]]:
		src, dst = netip.AddrFrom16([16]byte(n[8:24])), netip.AddrFrom16([16]byte(n[24:40]))
	default:
		return Packet{}, false
	}
	p.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(m.Transport))
	p.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(m.Transport[2:]))
	p.DNSID = binary.BigEndian.Uint16(m.Transport[udpLen:])
	return p, true
}

// leadsToUDP are the values of IPv6's next header behind which UDP may be: itself,
// and the extension headers, which the message does not have.
var leadsToUDP = map[uint8]bool{
	unix.IPPROTO_UDP: true, unix.IPPROTO_HOPOPTS: true, unix.IPPROTO_ROUTING: true,
	unix.IPPROTO_FRAGMENT: true, unix.IPPROTO_DSTOPTS: true,
}
