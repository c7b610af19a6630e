package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// RawPort is the port that raw packets come from: no socket has it.
const RawPort = 40404

// SendRawQuery sends a query for a name over UDP with this checksum, right or
// not; 0 says that there is none. Nobody waits for an answer.
func (ns *NS) SendRawQuery(to netip.AddrPort, name string, checksum uint16) error {
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(name), dns.TypeA)
	message, err := query.Pack()
	if err != nil {
		return fmt.Errorf("pack query for %s: %w", name, err)
	}
	var p []byte
	for _, word := range []uint16{RawPort, to.Port(), uint16(8 + len(message)), checksum} {
		p = binary.BigEndian.AppendUint16(p, word)
	}
	return ns.sendRaw(to.Addr(), unix.IPPROTO_UDP, append(p, message...))
}

// SendRawSYN sends a TCP SYN with this checksum, right or not.
func (ns *NS) SendRawSYN(to netip.AddrPort, checksum uint16) error {
	const seq, offsetAndSYN, window = 1, 5<<12 | 2, 64240 // RFC 9293 section 3.1
	var p []byte
	p = binary.BigEndian.AppendUint16(p, RawPort)
	p = binary.BigEndian.AppendUint16(p, to.Port())
	p = binary.BigEndian.AppendUint32(p, seq)
	p = binary.BigEndian.AppendUint32(p, 0) // what it acknowledges
	for _, word := range []uint16{offsetAndSYN, window, checksum, 0} {
		p = binary.BigEndian.AppendUint16(p, word)
	}
	return ns.sendRaw(to.Addr(), unix.IPPROTO_TCP, p)
}

// sendRaw sends an IP packet of a protocol; the kernel adds the IP header alone.
func (ns *NS) sendRaw(to netip.Addr, proto int, payload []byte) error {
	domain, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: to.As16()})
	if to.Is4() {
		domain, addr = unix.AF_INET, &unix.SockaddrInet4{Addr: to.As4()}
	}
	err := ns.Do(func() error {
		fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, payload, 0, addr)
	})
	if err != nil {
		return fmt.Errorf("send raw packet from %s: %w", ns.Name, err)
	}
	return nil
}
