package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// mtuTooBig finds a packet that was too big for a device on its way, and could not
// be fragmented: it has DF set, as Linux sets it for UDP and TCP, or is of IPv6.
func mtuTooBig(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if t := c.tooBigFor(leg, drop); t != nil {
			return c.tooBig(leg, drop, t)
		}
	}
	for i := range c.Legs {
		if l := &c.Legs[i]; l.Error != nil && isTooBig(l.Error) && c.Outcome == tracer.OutcomeRejected {
			return c.toldTooBig(l)
		}
	}
	return nil
}

// isTooBig reports whether an ICMP error says that a packet was too big (RFC 1191,
// RFC 4443 section 3.2).
func isTooBig(q *tracer.Quote) bool {
	return !q.V6 && q.Type == icmpUnreachable && q.Code == 4 || q.V6 && q.Type == 2
}

// strait is what a packet was too big for. What is not known is zero.
type strait struct {
	dev  string
	mtu  int // bytes
	peer *Link
	size int // of the packet, IP header included
}

// tooBigFor returns what a dropped packet was too big for; nil if that is not why
// it was dropped.
func (c *Case) tooBigFor(leg *tracer.Leg, drop *tracer.Hop) *strait {
	why, in := reason(drop), drop.Drop.Function
	told := slices.ContainsFunc(c.icmpAbout(leg), func(q tracer.Quote) bool { return isTooBig(&q) })
	switch {
	case why == "PKT_TOO_BIG", unsaid(drop) && in == "ip_fragment":
	case why == "" && told && (in == "ip_forward" || in == "ip6_forward"): // before 5.17; see ip_forward, net/ipv4/ip_forward.c
	case unsaid(drop):
		return c.tooBigForPeer(drop)
	default:
		return nil
	}
	s := &strait{size: int(drop.Len)}
	if route := c.wayOut(drop); route != nil {
		s.dev, s.mtu = route.Dev, route.MTU
		if l := c.device(c.NetNS(drop.NetNS), route.Dev); l != nil && s.mtu == 0 {
			s.mtu = l.MTU
		}
	}
	return s
}

// forwardsTo are the functions that hand a packet to a veth's other end, and drop
// it if that is down or the packet too big for it (is_skb_forwardable,
// net/core/dev.c); in kernels that inline it, it is the driver's.
var forwardsTo = []string{"____dev_forward_skb", "__dev_forward_skb", "__dev_forward_skb2", "veth_xmit"}

// tooBigForPeer returns the other end of a veth, if a packet was dropped because
// it has a smaller MTU than its length.
func (c *Case) tooBigForPeer(drop *tracer.Hop) *strait {
	if !slices.Contains(forwardsTo, drop.Drop.Function) || drop.Checksum.GSOSize != 0 {
		return nil
	}
	l := c.device(c.NetNS(drop.NetNS), drop.Dev)
	if l == nil || l.Peer == 0 || l.PeerNetNS == 0 {
		return nil
	}
	ns := c.NetNS(l.PeerNetNS)
	links, _ := read(c, ns, "devices", ns.Links)
	for _, peer := range links {
		if size := int(drop.Len) - etherHeader; peer.Index == l.Peer && peer.Up && size > peer.MTU+vlanRoom {
			return &strait{dev: peer.Name, mtu: peer.MTU, peer: &peer, size: size}
		}
	}
	return nil
}

// What a packet has before its IP header in a driver of Ethernet, and may have
// more than the MTU, for a VLAN tag (is_skb_forwardable), bytes.
const (
	etherHeader = 14
	vlanRoom    = 4
)

// wayOut returns the route by which a dropped packet was to leave; nil if that is
// not known.
func (c *Case) wayOut(drop *tracer.Hop) *Route {
	ns := c.NetNS(drop.NetNS)
	src, dst := outerAddrs(drop)
	q := RouteQuery{Dst: dst}
	if drop.Tunnel == nil && (drop.Drop.Function == "ip_forward" || drop.Drop.Function == "ip6_forward") {
		q.Src, q.Iif = src, drop.Dev
	}
	route, ok := read(c, ns, "route to "+dst.String(), func() (*Route, error) { return ns.Route(q) })
	if !ok || route.Errno > 0 || route.Local {
		return nil
	}
	return route
}

// tooBig is the finding of a packet that was dropped.
func (c *Case) tooBig(leg *tracer.Leg, drop *tracer.Hop, s *strait) *tracer.Finding {
	ns := c.NetNS(drop.NetNS)
	told, fate := c.tooBigTold(leg)
	if told != nil && told.MTU > 0 && drop.Tunnel == nil {
		s.mtu = int(told.MTU) // what it was then
	}
	what := legName(leg) + inTunnel(drop)
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("the %s of %d bytes is too big for %s", what, s.size, c.straitText(ns, s)),
		Evidence:   []string{fmt.Sprintf("%s dropped the %s of %d bytes: %s", ns.Name(), what, s.size, dropText(drop))},
	}
	if s.mtu > 0 && s.size > s.mtu {
		f.Confidence = tracer.ConfidenceConfirmed
	}
	f.Evidence = append(f.Evidence, fate...)
	if line := c.mtus(leg, drop, s); line != "" {
		f.Evidence = append(f.Evidence, line)
	}
	f.Mend = c.tooBigMend(leg, drop, s)
	if len(fate) > 1 {
		f.Mend = append(f.Mend, fmt.Sprintf("let ICMP errors pass to %s (fragmentation needed; of IPv6 packet too big): they tell its sender the size", drop.Src.Addr()))
	}
	return f
}

// straitText names what a packet was too big for.
func (c *Case) straitText(ns NetNS, s *strait) string {
	switch {
	case s.peer != nil:
		return fmt.Sprintf("%s at the other end of its wire, which takes %d", s.dev, s.mtu)
	case s.dev != "" && s.mtu > 0:
		return fmt.Sprintf("%s in %s, which takes %d", s.dev, ns.Name(), s.mtu)
	case s.mtu > 0:
		return fmt.Sprintf("its way from %s, which takes %d", ns.Name(), s.mtu)
	}
	return "its way from " + ns.Name()
}

// toldTooBig is the finding of a packet that a host elsewhere had no way for.
func (c *Case) toldTooBig(l *tracer.Leg) *tracer.Finding {
	what := "query"
	if !l.Response { // the error travels back
		what = "reply"
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("the %s is too big for its way beyond %v", what, l.Error.From),
		Evidence:   []string{fmt.Sprintf("%v told %v: %s", l.Error.From, l.Error.To, l.Error)},
		Mend:       []string{smallAnswers},
	}
	if n := l.Error.MTU; n > 0 {
		f.Summary += fmt.Sprintf(", which takes %d bytes", n)
		f.Mend = []string{fmt.Sprintf("on the node of %v: give its device, or the route, an MTU of no more than %d", l.Error.To, n), smallAnswers}
	}
	return f
}

// smallAnswers keeps answers from needing more than any way takes (DNS flag day 2020).
const smallAnswers = "or have the DNS server send no answers of more than 1232 bytes over UDP (CoreDNS: bufsize 1232)"

// tooBigTold returns the ICMP error that told a packet's sender of its size, nil
// if none was seen on its way, and says what became of it: in two lines if it did
// not come to the sender.
func (c *Case) tooBigTold(leg *tracer.Leg) (*tracer.Quote, []string) {
	for i := range c.Legs {
		l := &c.Legs[i]
		if l.Error == nil || !isTooBig(l.Error) || l.Response == leg.Response || len(l.Hops) == 0 {
			continue
		}
		told := fmt.Sprintf("%v told %v: %s", l.Error.From, l.Error.To, l.Error)
		last := &l.Hops[len(l.Hops)-1]
		switch {
		case last.Drop != nil && (refused(last) || last.NetNS != leg.Hops[0].NetNS):
			return l.Error, []string{told, fmt.Sprintf("which was itself dropped in %s: %s", c.NetNS(last.NetNS).Name(), dropText(last))}
		case last.NetNS == leg.Hops[0].NetNS:
			return l.Error, []string{told + "; it came there: the next one may be sent in fragments"}
		}
		return l.Error, []string{told, "which was seen last at " + c.At(last)}
	}
	return nil, nil
}

// mtus tells the MTUs of the devices on a packet's way, side by side.
func (c *Case) mtus(leg *tracer.Leg, drop *tracer.Hop, s *strait) string {
	var list []string
	add := func(netns uint32, name string) {
		l := c.device(c.NetNS(netns), name)
		if l == nil {
			return
		}
		line := fmt.Sprintf("%s in %s %d", name, c.NetNS(netns).Name(), l.MTU)
		if !slices.Contains(list, line) {
			list = append(list, line)
		}
	}
	for i := range leg.Hops {
		if h := &leg.Hops[i]; h.Time <= drop.Time && h.Dev != "" {
			add(h.NetNS, h.Dev)
		}
	}
	if s.peer == nil && s.dev != "" {
		add(drop.NetNS, s.dev)
	} else if s.peer != nil {
		list = append(list, fmt.Sprintf("its other end %s %d", s.dev, s.mtu))
	}
	if len(list) == 0 {
		return ""
	}
	return "MTUs on its way: " + strings.Join(list, ", ")
}

// tooBigMend says what lets a packet of the size pass.
func (c *Case) tooBigMend(leg *tracer.Leg, drop *tracer.Hop, s *strait) (mend []string) {
	ns, from := c.NetNS(drop.NetNS), &leg.Hops[0]
	if s.peer != nil {
		mend = append(mend, fmt.Sprintf("give %s of %s, and its other end %s, the same MTU", drop.Dev, ns.Name(), s.dev))
	}
	switch {
	case s.mtu == 0:
	case drop.Tunnel != nil:
		if n := s.mtu - outerBytes(drop.Tunnel); n > 0 && drop.Tunnel.In == nil {
			dev := c.tunnelDevice(ns, drop.Tunnel)
			mend = append(mend, orFirst(mend, inNS(ns, fmt.Sprintf("ip link set %s mtu %d, and no more for the pods (the CNI's MTU)", dev, n))))
		}
	case s.peer == nil:
		mend = c.sameMTU(ns, drop, s)
		if from.Dev != "" && from.NetNS != drop.NetNS {
			mend = append(mend, orFirst(mend, inNS(c.NetNS(from.NetNS), fmt.Sprintf("ip link set %s mtu %d, and the same for all pods (the CNI's MTU)", from.Dev, s.mtu))))
		}
	}
	if leg.Response {
		return append(mend, orFirst(mend, strings.TrimPrefix(smallAnswers, "or ")))
	}
	if len(mend) == 0 {
		mend = append(mend, "give the devices on its way the same MTU: ip link set DEV mtu BYTES")
	}
	return mend
}

// orFirst puts "or" before what is not the first.
func orFirst(before []string, s string) string {
	if len(before) > 0 {
		return "or " + s
	}
	return s
}

// sameMTU raises the MTU of a tunnel that a packet did not fit into, if the
// tunnel's own way takes so much.
func (c *Case) sameMTU(ns NetNS, drop *tracer.Hop, s *strait) []string {
	l := c.device(c.NetNS(drop.NetNS), s.dev)
	if l == nil || l.Tunnel == nil || l.MTU != s.mtu {
		return nil
	}
	peer := l.Tunnel.Remote
	if len(l.Tunnel.FDB) > 0 {
		peer = l.Tunnel.FDB[0]
	}
	room := c.roomFor(drop.NetNS, l.Kind, peer)
	if room < s.size {
		return nil
	}
	return []string{inNS(ns, fmt.Sprintf("ip link set %s mtu %d, which its own way takes", l.Name, room))}
}

// roomFor returns how big a packet in a tunnel may be, as far as the route to its
// peer tells; 0 if that is not known.
func (c *Case) roomFor(netns uint32, kind string, peer netip.Addr) int {
	overhead, known := tunnelOverhead[kind]
	if !known || !peer.IsValid() {
		return 0
	}
	ns := c.NetNS(netns)
	route, ok := read(c, ns, "route to "+peer.String(), func() (*Route, error) { return ns.Route(RouteQuery{Dst: peer}) })
	if !ok || route.Errno > 0 || route.Local {
		return 0
	}
	mtu := route.MTU
	if l := c.device(c.NetNS(netns), route.Dev); l != nil && mtu == 0 {
		mtu = l.MTU
	}
	return mtu - outerBytesOver(overhead, peer)
}

// outerBytes is how much a tunnel adds to a packet.
func outerBytes(t *tracer.Tunnel) int { return outerBytesOver(tunnelOverhead[t.Kind], t.Dst.Addr()) }

func outerBytesOver(overhead int, peer netip.Addr) int {
	if peer.Unmap().Is6() {
		return overhead + 20
	}
	return overhead
}
