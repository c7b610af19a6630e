package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// DialUDP returns a UDP socket of the namespace, connected to remote. localPort
// may be 0 for any.
func (ns *NS) DialUDP(localPort uint16, remote netip.AddrPort) (*net.UDPConn, error) {
	var conn *net.UDPConn
	err := ns.Do(func() (err error) {
		local := &net.UDPAddr{Port: int(localPort)}
		conn, err = net.DialUDP("udp", local, net.UDPAddrFromAddrPort(remote))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open udp socket in %s: %w", ns.Name, err)
	}
	return conn, nil
}

// DialTCP returns a TCP connection from the namespace to remote. localPort may
// be 0 for any.
func (ns *NS) DialTCP(ctx context.Context, localPort uint16, remote netip.AddrPort) (*net.TCPConn, error) {
	var conn net.Conn
	err := ns.Do(func() (err error) {
		// With one literal address the dialer stays on this goroutine.
		d := net.Dialer{LocalAddr: &net.TCPAddr{Port: int(localPort)}}
		conn, err = d.DialContext(ctx, "tcp", remote.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect from %s: %w", ns.Name, err)
	}
	return conn.(*net.TCPConn), nil
}

// ListenUDP returns a UDP socket of the namespace, bound to addr. Several may
// share one address (SO_REUSEPORT).
func (ns *NS) ListenUDP(addr netip.AddrPort) (*net.UDPConn, error) {
	var conn net.PacketConn
	err := ns.Do(func() (err error) {
		lc := net.ListenConfig{Control: reusePort}
		conn, err = lc.ListenPacket(context.Background(), "udp", addr.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", ns.Name, err)
	}
	return conn.(*net.UDPConn), nil
}

// ListenTCP returns a TCP listener of the namespace, bound to addr. Several may
// share one address (SO_REUSEPORT).
func (ns *NS) ListenTCP(addr netip.AddrPort) (*net.TCPListener, error) {
	var ln net.Listener
	err := ns.Do(func() (err error) {
		lc := net.ListenConfig{Control: reusePort}
		lc.SetMultipathTCP(false) // Go's default is true, no DNS server's is
		ln, err = lc.Listen(context.Background(), "tcp", addr.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", ns.Name, err)
	}
	return ln.(*net.TCPListener), nil
}

func reusePort(_, _ string, c syscall.RawConn) error {
	return setsockopt(c, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
}

// setsockopt calls set with the connection's descriptor and returns its error.
func setsockopt(c syscall.RawConn, set func(fd int) error) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = set(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// SendUDP sends one datagram as it is, malformed or not, and returns the
// address that it was sent from.
func (ns *NS) SendUDP(to netip.AddrPort, payload []byte) (from netip.AddrPort, err error) {
	return ns.SendUDP6(to, payload, ExtHeaders{})
}

// ExtHeaders are the IPv6 extension headers of a datagram. Lengths are in
// bytes, multiples of 8 up to 256; 0 leaves the header out.
type ExtHeaders struct {
	HopByHop    int // length of the hop-by-hop options header
	Destination int // length of the destination options header
}

// SendUDP6 is SendUDP with IPv6 extension headers between the IPv6 header and
// the UDP header.
func (ns *NS) SendUDP6(to netip.AddrPort, payload []byte, ext ExtHeaders) (from netip.AddrPort, err error) {
	conn, err := ns.DialUDP(0, to)
	if err != nil {
		return from, err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return from, fmt.Errorf("send from %s: %w", ns.Name, err)
	}
	for _, h := range []struct {
		option, length int
	}{{unix.IPV6_HOPOPTS, ext.HopByHop}, {unix.IPV6_DSTOPTS, ext.Destination}} {
		if h.length == 0 {
			continue
		}
		header, err := optionsHeader(h.length)
		if err != nil {
			return from, err
		}
		err = setsockopt(raw, func(fd int) error {
			return unix.SetsockoptString(fd, unix.IPPROTO_IPV6, h.option, string(header))
		})
		if err != nil {
			return from, fmt.Errorf("set ipv6 extension header: %w", err)
		}
	}
	if _, err := conn.Write(payload); err != nil {
		return from, fmt.Errorf("send from %s: %w", ns.Name, err)
	}
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// optionsHeader returns an options header (RFC 8200 section 4.2) with one
// experimental option that receivers skip (RFC 4727). Linux drops packets with
// more than 7 bytes of padding, so padding would not do.
func optionsHeader(length int) ([]byte, error) {
	if length < 8 || length > 256 || length%8 != 0 {
		return nil, fmt.Errorf("ipv6 options header of %d bytes", length)
	}
	const experimental = 0x1e
	header := make([]byte, length)
	header[1] = byte(length/8 - 1)
	header[2] = experimental
	header[3] = byte(length - 4)
	return header, nil
}
