package diagnose

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer"
)

// serverBufferFull finds a query for which the server's socket had no room.
func serverBufferFull(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		memory := reason(drop) == "PROTO_MEM" || drop.Drop.Errno == int(unix.ENOBUFS)
		full := reason(drop) == "SOCKET_RCVBUFF" || drop.Drop.Errno == int(unix.ENOMEM)
		open := leftOpen(leg, drop)
		if leg.Response || drop.Tunnel != nil || !memory && !full && !open {
			continue
		}
		_, takes, _ := c.sockets(drop)
		if open && !takes.isFull() {
			continue
		}
		ns := c.NetNS(drop.NetNS)
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Summary:    fmt.Sprintf("the receive buffer of the DNS server at %v in %s is full", drop.Dst, ns.Name()),
			Evidence:   []string{fmt.Sprintf("%s dropped the %s: %s", ns.Name(), legName(leg), dropText(drop))},
			Mend: []string{
				"more replicas of the server, or more CPU for it: it reads more slowly than it is asked",
				"on the node: sysctl -w net.core.rmem_default=4194304, and start the server anew",
			},
		}
		if memory {
			f.Summary = fmt.Sprintf("the node has no memory left for UDP: the query to %v in %s was dropped", drop.Dst, ns.Name())
			f.Mend = []string{"on the node: sysctl net.ipv4.udp_mem, and raise it; see in /proc/net/sockstat what takes it"}
		}
		if takes != nil {
			if takes.Queue > 0 && !memory {
				f.Confidence = tracer.ConfidenceConfirmed
			}
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s: %d of %d bytes wait in its socket, which has dropped %d datagrams", takes.who(), takes.Queue, takes.Buffer, takes.Drops))
			f.Mend = append(f.Mend, logs(ns, takes))
		}
		return f
	}
	return nil
}

// leftOpen reports whether a datagram was dropped where sockets take them, and the
// kernel does not say why: before 5.17 it is that, a checksum, a filter, or IPsec
// (__udp_queue_rcv_skb in net/ipv4/udp.c).
func leftOpen(leg *tracer.Leg, h *tracer.Hop) bool {
	return unsaid(h) && h.Drop.Errno == 0 && wrongSum(leg) == nil &&
		(h.Drop.Function == "udp_queue_rcv_one_skb" || h.Drop.Function == "udpv6_queue_rcv_one_skb")
}

// isFull reports whether a socket has no room for one datagram more: some remains
// when the last of them was larger than what is free.
func (s *Socket) isFull() bool {
	const most, of = 95, 100
	return s != nil && s.Buffer > 0 && s.Drops > 0 && s.Queue*of >= s.Buffer*most
}

// qdiscDrop finds a packet that the queue of a device dropped.
func qdiscDrop(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		dev := byQdisc(leg, drop)
		if dev == "" {
			continue
		}
		ns := c.NetNS(drop.NetNS)
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Summary:    fmt.Sprintf("the queue of %s in %s dropped the %s", dev, ns.Name(), legName(leg)),
			Evidence:   []string{fmt.Sprintf("%s dropped the %s%s on its way out by %s: %s", ns.Name(), legName(leg), inTunnel(drop), dev, dropText(drop))},
			Mend: []string{
				inNS(ns, fmt.Sprintf("tc -s qdisc show dev %s, and raise the limit, or the rate, of what drops", dev)),
				inNS(ns, fmt.Sprintf("tc qdisc replace dev %s root fq_codel", dev)),
			},
		}
		if l := c.device(ns, dev); l != nil {
			for _, q := range l.Qdiscs {
				if q.Drops == 0 {
					continue
				}
				f.Confidence = tracer.ConfidenceConfirmed
				f.Evidence = append(f.Evidence, fmt.Sprintf("%s of %s has dropped %d packets, and %d wait in it", q.Kind, dev, q.Drops, q.Packets))
			}
		}
		return f
	}
	return nil
}

// byQdisc returns the device whose queue dropped a packet; "" if none did. Where
// the kernel gives no reason, a packet that was handed to a device, did not reach
// its driver, and was freed where queues have theirs freed, tells the same.
func byQdisc(leg *tracer.Leg, drop *tracer.Hop) string {
	why := reason(drop)
	switch {
	case strings.Contains(why, "QDISC"), strings.Contains(why, "OVERLIMIT"):
		return drop.Dev
	case why != "" || drop.Drop.Function != "kfree_skb_list":
		return ""
	}
	for i := range leg.Hops {
		h := &leg.Hops[i]
		if h != drop || i == 0 {
			continue
		}
		if last := &leg.Hops[i-1]; last.NetNS == h.NetNS && (last.Name == "qdisc" || last.Name == "tx" && last.Queued) {
			return last.Dev
		}
	}
	return ""
}
