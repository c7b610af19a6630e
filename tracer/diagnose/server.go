package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// noSocketIn are the functions in which kernels before 5.17, which give no
// reasons, free a packet that no socket takes, and others.
var noSocketIn = map[string]bool{"__udp4_lib_rcv": true, "__udp6_lib_rcv": true, "tcp_v4_rcv": true, "tcp_v6_rcv": true}

// noSocket reports whether a packet was dropped since no socket takes it. Where
// the kernel gives no reason, the refusal that it sends tells: an ICMP error, or
// a reset of TCP. (A wrong checksum, for one, ends in the same function, and
// nothing is sent.)
func (c *Case) noSocket(leg *tracer.Leg, drop *tracer.Hop) bool {
	if !unsaid(drop) {
		return reason(drop) == "NO_SOCKET"
	}
	return noSocketIn[drop.Drop.Function] && c.refusedIn(leg, drop.NetNS)
}

// refusedIn reports whether a namespace was seen to say that nobody listens for
// the packet of a leg.
func (c *Case) refusedIn(leg *tracer.Leg, netns uint32) bool {
	for i := range leg.Hops {
		if h := &leg.Hops[i]; h.ICMP != nil && h.NetNS == netns && h.ICMP.Type == 3 && h.ICMP.Code == 3 {
			return true
		}
	}
	for i := range c.Legs {
		other := &c.Legs[i]
		if len(other.Hops) == 0 || other.Hops[0].NetNS != netns || other.Response == leg.Response {
			continue
		}
		if other.Segment == "RST" || other.Error != nil && portUnreachable(other.Error) {
			return true
		}
	}
	return false
}

// portUnreachable reports whether an ICMP error says that nobody listens (RFC
// 1122 section 3.2.2.1, RFC 4443 section 3.1).
func portUnreachable(q *tracer.Quote) bool {
	if q.V6 {
		return q.Type == 1 && q.Code == 4
	}
	return q.Type == 3 && q.Code == 3
}

// delivered returns the last leg of a query that came to its server's socket, and
// that hop, or the one at which it was read; nil if none did.
func (c *Case) delivered() (leg *tracer.Leg, at *tracer.Hop) {
	for l, h := range c.Hops() {
		if l.IsMessage() && !l.Response && (h.Name == "socket" || h.Name == "read") && h.Drop == nil {
			leg, at = l, h
		}
	}
	return leg, at
}

// replied reports whether anything of a reply was seen.
func (c *Case) replied() bool {
	return slices.ContainsFunc(c.Legs, func(l tracer.Leg) bool { return l.IsMessage() && l.Response })
}

// sockets returns the sockets of a namespace that are bound to a port, and which
// of them takes packets to a hop's destination; nil if none does. It reports
// false if they could not be read.
func (c *Case) sockets(h *tracer.Hop) (bound []Socket, takes *Socket, ok bool) {
	ns := c.NetNS(h.NetNS)
	all, ok := read(c, ns, "sockets", ns.Sockets)
	for _, s := range all {
		if s.Addr.Port() != h.Dst.Port() {
			continue
		}
		bound = append(bound, s)
		if s.Transport == c.Transport && s.listensOn(h) {
			takes = &s
		}
	}
	return bound, takes, ok
}

// listensOn reports whether a socket's address takes packets to a hop's
// destination. A socket bound to :: takes IPv4 as well, unless it was told not to.
func (s *Socket) listensOn(h *tracer.Hop) bool {
	to, at := h.Dst.Addr().Unmap(), s.Addr.Addr().Unmap()
	return at == to || at.IsUnspecified() && (at.Is6() || to.Is4())
}

// String says who has bound a socket, and to what.
func (s *Socket) String() string {
	return fmt.Sprintf("%s listens on %v (%s)", s.who(), s.Addr, strings.ToUpper(string(s.Transport)))
}

func (s *Socket) who() string {
	if s.PID == 0 {
		return "a process that is not known"
	}
	return fmt.Sprintf("%s[%d]", s.Process, s.PID)
}

// waits says how much waits in the queue of a socket that listens; over TCP the
// kernel counts connections there (net/ipv4/tcp_diag.c).
func (s *Socket) waits() string {
	if s.Transport == tracer.TransportTCP {
		return fmt.Sprintf("%d connections wait to be accepted", s.Queue)
	}
	return fmt.Sprintf("%d bytes wait in its socket", s.Queue)
}

// took returns the time between two hops, in digits that people read.
func took(from, to *tracer.Hop) time.Duration {
	d := time.Duration(to.Time - min(from.Time, to.Time))
	if d > time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

// logs says how to see what a server has to say for itself.
func logs(ns NetNS, s *Socket) string {
	if namespace, pod, ok := strings.Cut(ns.Pod(), "/"); ok {
		return fmt.Sprintf("kubectl -n %s logs %s --timestamps --tail=100; kubectl -n %s describe pod %s", namespace, pod, namespace, pod)
	}
	if s != nil && s.PID != 0 {
		return fmt.Sprintf("see what %s[%d] logs, and restart it", s.Process, s.PID)
	}
	return "see what the DNS server in " + ns.Name() + " logs, and restart it"
}
