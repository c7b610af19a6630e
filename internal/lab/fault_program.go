package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// programFaults are those of BPF programs.
func programFaults() []Fault {
	return []Fault{
		{
			ID:    "bpf-program-drop",
			Title: "A BPF program at tc drops what the client's pod sends.",
			Lab:   remote,
			Break: func(_ context.Context, l *Lab) error {
				return l.NodeA.dropInTC("veth-client", "deny_dns", netlink.HANDLE_MIN_INGRESS)
			},
			Mend: inNodeA("tc filter del dev veth-client ingress"),
		},
		{
			ID:    "bpf-program-drop/egress",
			Title: "A BPF program at tc drops what leaves for the DNS pod.",
			Lab:   remote,
			Break: func(_ context.Context, l *Lab) error {
				return l.NodeB.dropInTC("veth-dns", "deny_dns", netlink.HANDLE_MIN_EGRESS)
			},
			Mend: inNodeB("tc filter del dev veth-dns egress"),
		},
		{
			ID:    "bpf-program-drop/xdp",
			Title: "An XDP program drops what comes from the client's pod.",
			Lab:   remote,
			Break: func(_ context.Context, l *Lab) error { return l.NodeA.dropInXDP("veth-client", "guard") },
			Mend:  inNodeA("ip link set dev veth-client xdpgeneric off"),
		},
		cgroupFault(),
		filterFault(),
	}
}

// cgroupFault is a DNS server whose cgroup may not send.
func cgroupFault() Fault {
	var detach func() error
	return Fault{
		ID:    "bpf-program-drop/cgroup",
		Title: "A BPF program of the DNS server's cgroup drops what that sends.",
		Lab:   serviceOnB, NoDNS: true,
		Break: func(ctx context.Context, l *Lab) error {
			g, err := l.makeCgroup("dns")
			if err != nil {
				return err
			}
			if _, err := StartDnsmasq(ctx, l.DNSB, DaemonOptions{Cgroup: int(g.dir.Fd())}); err != nil {
				return err
			}
			detach, err = l.dropOnEgress(g, "no_egress")
			return err
		},
		Mend: func(context.Context, *Lab) error { return detach() },
	}
}

// filterFault is a DNS server whose socket has a filter that takes nothing.
func filterFault() Fault {
	var conn *net.UDPConn
	return Fault{
		ID:    "bpf-program-drop/socket",
		Title: "The filter of the DNS server's socket takes no packets.",
		Lab:   serviceOnB, NoDNS: true,
		Break: func(_ context.Context, l *Lab) (err error) {
			if conn, err = l.DNSB.ListenUDP(netip.AddrPortFrom(l.DNSB.Addr, dnsPort)); err != nil {
				return err
			}
			l.onClose(func() error {
				if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
					return err
				}
				return nil
			})
			return takeNothing(conn)
		},
		Mend: func(ctx context.Context, l *Lab) error { return errors.Join(conn.Close(), startDNSB(ctx, l)) },
	}
}

// takeNothing gives a socket a filter that refuses all packets.
func takeNothing(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return setsockopt(raw, func(fd int) error {
		nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
	})
}
