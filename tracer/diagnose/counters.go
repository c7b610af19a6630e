package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// counter is what the kernel counts where it drops a packet for a reason, over
// IPv4 and IPv6; empty if nothing.
type counter struct {
	v4, v6    string
	transport tracer.Transport // that it counts alone; empty: both
	loose     bool             // there are places that drop for the reason and don't count
}

// counters are those of reasons. Each is counted where the packet is dropped, a
// few lines from the reason.
var counters = map[string]counter{
	// udp_queue_rcv_one_skb, __udp4_lib_rcv (net/ipv4/udp.c) and their like of IPv6
	"UDP_CSUM":       {v4: "UdpInCsumErrors", v6: "Udp6InCsumErrors", transport: tracer.TransportUDP},
	"NO_SOCKET":      {v4: "UdpNoPorts", v6: "Udp6NoPorts", transport: tracer.TransportUDP},
	"SOCKET_FILTER":  {v4: "UdpInErrors", v6: "Udp6InErrors", transport: tracer.TransportUDP},
	"SOCKET_RCVBUFF": {v4: "UdpRcvbufErrors", v6: "Udp6RcvbufErrors", transport: tracer.TransportUDP}, // __udp_queue_rcv_skb
	"PROTO_MEM":      {v4: "UdpMemErrors", v6: "Udp6MemErrors", transport: tracer.TransportUDP},       // since 5.11
	// tcp_v4_rcv, tcp_v6_rcv: both count as Tcp; tcp_add_backlog
	"TCP_CSUM":       {v4: "TcpInCsumErrors", v6: "TcpInCsumErrors", transport: tracer.TransportTCP},
	"SOCKET_BACKLOG": {v4: "TcpExtTCPBacklogDrop", v6: "TcpExtTCPBacklogDrop", transport: tracer.TransportTCP},
	// ip_rcv_core, ip_rcv_finish_core (net/ipv4/ip_input.c), ip6_rcv_core
	"IP_CSUM":     {v4: "IpExtInCsumErrors"},
	"IP_RPFILTER": {v4: "TcpExtIPReversePathFilter"},
	"IP_INHDR":    {v4: "IpInHdrErrors", v6: "Ip6InHdrErrors"}, // ip_forward, ip6_forward too
	"IP_NOPROTO":  {v4: "IpInUnknownProtos", v6: "Ip6InUnknownProtos", loose: true},
	// ip_error (net/ipv4/route.c), ip6_pkt_drop (net/ipv6/route.c)
	"IP_INADDRERRORS": {v4: "IpInAddrErrors", v6: "Ip6InAddrErrors", loose: true},
	"IP_INNOROUTES":   {v4: "IpExtInNoRoutes", v6: "Ip6InNoRoutes", loose: true},
	"IP_OUTNOROUTES":  {v4: "IpOutNoRoutes", v6: "Ip6OutNoRoutes", loose: true},
	// ip_forward, ip6_forward; tunnels drop for it too
	"PKT_TOO_BIG": {v4: "IpFragFails", v6: "Ip6InTooBigErrors", loose: true},
	// ip6_rcv_core; ip6_output counts OutDiscards
	"IPV6DISABLED": {v6: "Ip6InDiscards", loose: true},
	// ip_expire (net/ipv4/ip_fragment.c), ip6frag_expire_frag_queue
	"FRAG_REASM_TIMEOUT": {v4: "IpReasmTimeout", v6: "Ip6ReasmTimeout", loose: true},
}

// general are other counters of packets that came to nothing.
var general = []string{
	"UdpInErrors", "UdpSndbufErrors", "Udp6InErrors", "Udp6SndbufErrors", "TcpInErrs", "TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPRcvQDrop",
	"IpInDiscards", "IpOutDiscards", "IpReasmFails", "IpExtInTruncatedPkts", "Ip6InDiscards", "Ip6OutDiscards", "Ip6ReasmFails", "Ip6FragFails", "Ip6InTruncatedPkts",
}

// Between a packet's drop and its being counted there are a few instructions, and
// maybe an interrupt.
const margin = uint64(time.Millisecond)

// closely is within what time a counter's rise still says something of one packet.
const closely = 5 * time.Second

// maxCounted bounds of how many namespaces the counters are told, maxRises of how
// many counters.
const (
	maxCounted = 8
	maxRises   = 8
)

// counted is a counter of a namespace that should have counted drops.
type counted struct {
	counter
	name        string
	netns       uint32
	drop        *tracer.Hop // the first
	first, last uint64
}

// count adds to findings whether counters agree with the drops that they rest on.
func (c *Case) count(found []tracer.Finding) {
	for _, k := range c.counted() {
		f, told := resting(found, k.drop)
		if f == nil {
			continue
		}
		rise, ok := c.rise(k.netns, k.first, k.last)
		if !ok {
			continue
		}
		switch n, known := rise.Rose[k.name]; {
		case !known:
		case n > 0:
			f.Evidence = append(f.Evidence, c.riseText(k.netns, k.name, rise))
			if told && reason(k.drop) != "" && f.Confidence == tracer.ConfidenceSeen && span(rise) <= closely {
				f.Confidence = tracer.ConfidenceConfirmed
			}
		case !k.loose:
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s of %s did not rise in the %s around it", k.name, c.NetNS(k.netns).Name(), spanText(rise)))
		}
	}
}

// several are the reasons for which a function drops, where the kernel does not
// say which: before 5.17. The counter that rose tells it.
var several = map[string][]string{
	"__udp4_lib_rcv":          {"NO_SOCKET", "UDP_CSUM"},
	"__udp6_lib_rcv":          {"NO_SOCKET", "UDP_CSUM"},
	"udp_queue_rcv_one_skb":   {"UDP_CSUM", "SOCKET_RCVBUFF", "PROTO_MEM"},
	"udpv6_queue_rcv_one_skb": {"UDP_CSUM", "SOCKET_RCVBUFF", "PROTO_MEM"},
}

// counted returns what should have counted the drops, or may have.
func (c *Case) counted() (list []counted) {
	for _, h := range c.Drops() {
		if why := reason(h); why != "" {
			list = c.addCounted(list, h, counters[why])
			continue
		}
		for _, why := range several[h.Drop.Function] {
			of := counters[why]
			of.loose = true
			list = c.addCounted(list, h, of)
		}
	}
	return list
}

func (c *Case) addCounted(list []counted, h *tracer.Hop, of counter) []counted {
	name := of.name(h)
	if name == "" || h.NetNS == 0 || of.transport != "" && of.transport != c.transportAt(h) {
		return list
	}
	i := slices.IndexFunc(list, func(k counted) bool { return k.name == name && k.netns == h.NetNS })
	if i < 0 {
		return append(list, counted{counter: of, name: name, netns: h.NetNS, drop: h, first: h.Time, last: h.Time})
	}
	list[i].first, list[i].last = min(list[i].first, h.Time), max(list[i].last, h.Time)
	return list
}

// name is the counter of the packet as it was dropped: in a tunnel of its outer
// header.
func (k *counter) name(h *tracer.Hop) string {
	dst := h.Dst
	if t := outermost(h.Tunnel); t != nil {
		dst = t.Dst
	}
	if dst.Addr().Unmap().Is4() {
		return k.v4
	}
	return k.v6
}

// transportAt is that of the outer header; empty if it is neither.
func (c *Case) transportAt(h *tracer.Hop) tracer.Transport {
	switch t := outermost(h.Tunnel); {
	case t == nil:
		return c.Transport
	case t.Dst.Port() != 0:
		return tracer.TransportUDP
	}
	return ""
}

func outermost(t *tracer.Tunnel) *tracer.Tunnel {
	for t != nil && t.In != nil {
		t = t.In
	}
	return t
}

// resting returns the finding that a drop is evidence of, nil if there is none:
// the one that tells of it, or else the only cause that was found.
func resting(found []tracer.Finding, h *tracer.Hop) (f *tracer.Finding, told bool) {
	for i := range found {
		if slices.ContainsFunc(found[i].Evidence, func(line string) bool { return strings.Contains(line, dropText(h)) }) {
			return &found[i], true
		}
	}
	if len(found) == 1 && found[0].ID != Unexplained {
		return &found[0], false
	}
	return nil, false
}

// rise returns by how much the counters of a namespace rose around some time. It
// is not known if there are no samples from before and after it.
func (c *Case) rise(netns uint32, first, last uint64) (*Counters, bool) {
	from, to := first-min(first, margin), last+margin
	rise, err := c.NetNS(netns).Counters(from, to)
	return rise, err == nil && rise.From <= from && rise.To >= to
}

func span(k *Counters) time.Duration { return time.Duration(k.To - k.From) }

func spanText(k *Counters) string { return fmt.Sprintf("%.1f s", span(k).Seconds()) }

func (c *Case) riseText(netns uint32, name string, k *Counters) string {
	return fmt.Sprintf("%s of %s rose by %d in the %s around it", name, c.NetNS(netns).Name(), k.Rose[name], spanText(k))
}

// rises tells which counters of errors rose where the lookup's packets went.
func (c *Case) rises() (lines []string) {
	var asked []uint32
	for _, h := range c.Hops() {
		if h.NetNS == 0 || slices.Contains(asked, h.NetNS) || len(asked) == maxCounted {
			continue
		}
		asked = append(asked, h.NetNS)
		rise, ok := c.rise(h.NetNS, c.Start, c.End)
		if !ok {
			continue
		}
		for _, name := range errorCounters {
			if rise.Rose[name] > 0 && len(lines) < maxRises {
				lines = append(lines, c.riseText(h.NetNS, name, rise))
			}
		}
	}
	return lines
}

// errorCounters are all counters of packets that came to nothing, in order.
var errorCounters = func() []string {
	all := slices.Clone(general)
	for _, k := range counters {
		all = append(all, k.v4, k.v6)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(name string) bool { return name == "" })
}()
