package nodestate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer/diagnose"
)

// Route asks the kernel for a route.
func (s *space) Route(q diagnose.RouteQuery) (*diagnose.Route, error) {
	return once(s, q, func() (*diagnose.Route, error) { return readRoute(q) })
}

// nowhere are the errors by which a route lookup says that there is no way, by
// routes of type unreachable, blackhole and prohibit (fib_props in
// net/ipv4/fib_semantics.c), or that the source may not come by that device
// (__fib_validate_source in net/ipv4/fib_frontend.c).
var nowhere = []unix.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EXDEV, unix.ENETDOWN}

func readRoute(q diagnose.RouteQuery) (*diagnose.Route, error) {
	opts := &netlink.RouteGetOptions{Iif: q.Iif, SrcAddr: ipOf(q.Src), Mark: q.Mark}
	got, err := routeTo(q.Dst, opts)
	if errno := unix.Errno(0); errors.As(err, &errno) && slices.Contains(nowhere, errno) {
		return &diagnose.Route{Errno: int(errno)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the route to %v: %w", q.Dst, err)
	}
	route := &diagnose.Route{
		Gateway: gatewayOf(got), Src: addrOf(got.Src), Local: got.Type == unix.RTN_LOCAL, MTU: got.MTU, Table: got.Table, Errno: errnoOf(got),
	}
	if dev, err := netlink.LinkByIndex(got.LinkIndex); err == nil {
		route.Dev = dev.Attrs().Name
	}
	// A second question, for the entry that matched: the answer to the first is a
	// route to that one address (RTM_F_FIB_MATCH, Linux 4.13).
	opts.FIBMatch = true
	if entry, err := routeTo(q.Dst, opts); err == nil && !route.Local {
		route.Default = isDefault(entry.Dst)
	}
	return route, nil
}

func routeTo(dst netip.Addr, opts *netlink.RouteGetOptions) (*netlink.Route, error) {
	list, err := netlink.RouteGetWithOptions(ipOf(dst), opts)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, unix.ENETUNREACH
	}
	return &list[0], nil
}

// errnoOf is what a route of a type that refuses packets says. IPv6 answers with
// the route itself.
func errnoOf(r *netlink.Route) int {
	switch r.Type {
	case unix.RTN_BLACKHOLE:
		return int(unix.EINVAL)
	case unix.RTN_UNREACHABLE:
		return int(unix.EHOSTUNREACH)
	case unix.RTN_PROHIBIT:
		return int(unix.EACCES)
	}
	return 0
}

// gatewayOf returns the next hop, which may be of the other family.
func gatewayOf(r *netlink.Route) netip.Addr {
	if via, ok := r.Via.(*netlink.Via); ok {
		return addrOf(via.Addr)
	}
	return addrOf(r.Gw)
}

func isDefault(dst *net.IPNet) bool {
	if dst == nil {
		return true
	}
	bits, _ := dst.Mask.Size()
	return bits == 0
}

// ipOf is nil of an invalid address.
func ipOf(addr netip.Addr) net.IP { return addr.Unmap().AsSlice() }
