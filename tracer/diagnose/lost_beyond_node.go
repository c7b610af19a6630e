package diagnose

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// lostBeyondNode finds a query that left its node as it should, and to which
// nothing came back; or a reply that left the server's node as it should, and did
// not come to its client. It is asked when nothing on these nodes is to blame.
func lostBeyondNode(c *Case) *tracer.Finding {
	if c.Outcome != tracer.OutcomeLost {
		return nil
	}
	leg, out := c.departed()
	if out == nil {
		return nil
	}
	ns := c.NetNS(out.NetNS)
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceLikely,
		Evidence: []string{
			fmt.Sprintf("%s at %s, %.3f ms after it was seen first: %s", c.At(out), c.node.Wall(out.Time).Format("2006-01-02 15:04:05.000000 -0700"), float64(out.Time-leg.Hops[0].Time)/1e6, onTheWire(out)),
			"its checksums are right, as far as they are to be yet, and nothing on its way here dropped it",
		},
	}
	if l := c.device(ns, out.Dev); l != nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("it has %d bytes; the MTU of %s is %d", out.Len-frameHeader(l, out), l.Name, l.MTU))
	}
	f.Evidence = append(f.Evidence, c.nextHopText(leg, out)...)
	left := fmt.Sprintf("the %s left %s of %s intact at %s", legName(leg), out.Dev, ns.Name(), c.node.Wall(out.Time).Format("15:04:05.000"))
	if leg.Response {
		return c.replyBeyond(f, leg, out, left)
	}
	f.Summary = fmt.Sprintf("%s; nothing came back in %v; the node is not to blame", left, time.Duration(c.Waited))
	f.Mend = []string{
		fmt.Sprintf("on %s: dnspath --client %v, to see whether the %s comes there, and what becomes of it; dnspath analyze puts together what both nodes saw (-o json)", peerText(out, ", if it is a node"), out.Src.Addr(), legName(leg)),
		fmt.Sprintf("if it does not come there, have what is between them (firewalls, security groups) let %s through", c.passes(leg, out)),
	}
	return f
}

// soonEnough is how long a reply that has left is waited for at the least, ns,
// before it is said to be lost.
const soonEnough = uint64(100e6)

// replyBeyond says where a reply was waited for in vain; nil if that was not long
// enough.
func (c *Case) replyBeyond(f *tracer.Finding, leg *tracer.Leg, out *tracer.Hop, left string) *tracer.Finding {
	until := c.lastQuery() + c.Waited
	if until < out.Time+soonEnough {
		return nil
	}
	waited := time.Duration(until - out.Time).Round(time.Millisecond)
	let := fmt.Sprintf("have what is between them (firewalls, security groups) let %s through", c.passes(leg, out))
	node := c.NetNS(out.NetNS).Name()
	from := c.before(c.cameIn(out))
	if from != nil && c.device(c.NetNS(from.NetNS), from.Dev) == nil {
		return nil // it is not known which of the two it is
	}
	if from == nil || !c.leadsOut(from) {
		f.Summary = fmt.Sprintf("%s; it did not come to its client %v in the %v after that; %s is not to blame", left, c.Client, waited, node)
		f.Evidence = append(f.Evidence, "the client's node is not watched: the reply may have come there, and been lost there")
		f.Mend = []string{
			fmt.Sprintf("on %s, the client's node: dnspath --client %v, to see whether the %s comes there, and what becomes of it", peerText(out, " or what routes to it"), c.Client.Addr(), legName(leg)),
			"if it does not come there, " + let,
		}
		return f
	}
	there := c.NetNS(from.NetNS)
	if l := c.device(there, from.Dev); !l.Up || l.XDP {
		return nil // what comes there may be lost unseen
	}
	f.Summary = fmt.Sprintf("%s; it did not come to %s in the %v after that; neither node is to blame", left, there.Name(), waited)
	f.Evidence = append(f.Evidence, fmt.Sprintf("%s is watched: the query had left it by %s, and the reply was not seen to come in", there.Name(), from.Dev))
	f.Mend = []string{
		let,
		inNS(there, fmt.Sprintf("ip -s -s link show %s and ethtool -S %s, for what the device itself lost", from.Dev, from.Dev)),
	}
	return f
}

// departed returns the packet that was lost beyond its node, and the hop at which
// it left that: the last reply or, if there was none, the last query; over TCP the
// last segment. It is nil if any packet of the lookup may have been lost on the way
// here.
func (c *Case) departed() (leg *tracer.Leg, out *tracer.Hop) {
	for i := range c.Legs {
		l := &c.Legs[i]
		if l.Error != nil || len(l.Hops) == 0 || !whole(l) {
			return nil, nil
		}
		last := &l.Hops[len(l.Hops)-1]
		newer := out == nil || last.Time >= out.Time
		if out != nil && c.Transport == tracer.TransportUDP && l.Response != leg.Response {
			newer = l.Response
		}
		if newer && c.leftIntact(l, last) {
			leg, out = l, last
		}
	}
	if out == nil {
		return nil, nil
	}
	for i := range c.Legs {
		l := &c.Legs[i]
		if !c.reached(l, leg, out) && !c.leftIntact(l, &l.Hops[len(l.Hops)-1]) {
			return nil, nil
		}
	}
	return leg, out
}

// reached reports whether a packet came to where it should, as far as that was seen:
// over TCP to where its client was seen first, or to the namespace that a reply left
// last.
func (c *Case) reached(l, lost *tracer.Leg, out *tracer.Hop) bool {
	if l.Response {
		i := slices.IndexFunc(c.Legs, func(l tracer.Leg) bool { return !l.Response })
		return c.Transport == tracer.TransportTCP && i >= 0 && l.Hops[len(l.Hops)-1].NetNS == c.Legs[i].Hops[0].NetNS
	}
	return lost.Response && slices.ContainsFunc(l.Hops, func(h tracer.Hop) bool { return h.NetNS == out.NetNS })
}

// whole reports whether a packet was neither dropped nor seen to be spoiled.
func whole(leg *tracer.Leg) bool {
	return !slices.ContainsFunc(leg.Hops, func(h tracer.Hop) bool { return h.Drop != nil || len(h.Breaks) > 0 })
}

// leftIntact reports whether a packet was seen last as the driver of a device that
// leads out of the machine got it, for where it should go, and not too big.
func (c *Case) leftIntact(leg *tracer.Leg, h *tracer.Hop) bool {
	if h.Name != "tx" || h.Layer != "device" || h.Queued || !c.leadsOut(h) {
		return false
	}
	if leg.Response && !c.returns(h) || !leg.Response && h.Tunnel == nil && c.elsewhere(leg, h) {
		return false
	}
	ns := c.NetNS(h.NetNS)
	if own := c.ownAddr(ns, h.Src.Addr()); h.Tunnel == nil && own != nil && own.Name != h.Dev && own.Kind != "dummy" && own.Name != "lo" {
		return false // what answers may not come back by this device, or not at all
	}
	l := c.device(ns, h.Dev)
	fits := l.MTU == 0 || int(h.Len-frameHeader(l, h)) <= l.MTU || isGSO(leg)
	return fits && l.Up && !l.XDP // a program may drop what comes back before anybody sees it
}

// isGSO reports whether a packet was several in one, which are parted as the device
// gets it.
func isGSO(leg *tracer.Leg) bool {
	return slices.ContainsFunc(leg.Hops, func(h tracer.Hop) bool { return h.Checksum.GSOSize != 0 })
}

// frameHeader is what a packet has before its IP header as a driver gets it, bytes:
// what has hardware addresses of 48 bits is Ethernet's.
func frameHeader(l *Link, h *tracer.Hop) uint32 {
	if mac, err := net.ParseMAC(l.MAC); err == nil && len(mac) == 6 && h.Name == "tx" {
		return min(etherHeader, h.Len)
	}
	return 0
}

// leadsOut reports whether a hop's device leads out of the machine. Where the other
// end of the wire is a namespace of this machine, what is lost is not beyond it.
func (c *Case) leadsOut(h *tracer.Hop) bool {
	l := c.device(c.NetNS(h.NetNS), h.Dev)
	return l != nil && l.Tunnel == nil && (l.Kind != "veth" || l.PeerNetNS == 0) && !slices.Contains([]string{"bridge", "dummy", "ifb"}, l.Kind) && h.Dev != "lo"
}

// returns reports whether a reply left by the way by which its query came: by the
// same device, to whom that came from, in the same tunnel.
func (c *Case) returns(out *tracer.Hop) bool {
	came := c.cameIn(out)
	if came == nil || came.Name != "rx" || came.Dev != out.Dev || came.Src != out.Dst || came.Dst != out.Src {
		return false
	}
	in, t := outermost(came.Tunnel), outermost(out.Tunnel)
	if in == nil || t == nil {
		return in == t
	}
	return in.Kind == t.Kind && in.VNI == t.VNI && in.Src.Addr() == t.Dst.Addr() && in.Dst.Addr() == t.Src.Addr()
}

// cameIn returns the first hop, in the namespace of another, of the last query that
// came there before; nil if none did.
func (c *Case) cameIn(out *tracer.Hop) (came *tracer.Hop) {
	for i := range c.Legs {
		leg := &c.Legs[i]
		for j := range leg.Hops {
			h := &leg.Hops[j]
			if leg.Response || leg.Error != nil || h.Time > out.Time || h.NetNS != out.NetNS {
				continue
			}
			came = h
			break
		}
	}
	return came
}

// before returns the hop of a packet before one of its hops; nil if that is its first.
func (c *Case) before(h *tracer.Hop) (prev *tracer.Hop) {
	for i := range c.Legs {
		hops := c.Legs[i].Hops
		for j := range hops {
			if &hops[j] == h && j > 0 {
				return &hops[j-1]
			}
		}
	}
	return nil
}

// lastQuery returns when the last query was seen first, ns.
func (c *Case) lastQuery() (at uint64) {
	for leg, h := range c.Hops() {
		if !leg.Response && leg.Error == nil && h == &leg.Hops[0] {
			at = max(at, h.Time)
		}
	}
	return at
}

// nextHopText says who was to take a packet where it left, as far as that is known.
func (c *Case) nextHopText(leg *tracer.Leg, out *tracer.Hop) (lines []string) {
	ns, next := c.NetNS(out.NetNS), c.nextHop(leg, out)
	_, dst := outerAddrs(out)
	line := ""
	if next != dst {
		line = fmt.Sprintf("its next hop is %v", next)
	}
	neighbours, _ := read(c, ns, "neighbours", ns.Neighbours)
	for _, n := range neighbours {
		if n.Addr == next && n.Dev == out.Dev {
			line = fmt.Sprintf("its next hop is %v, a neighbour that is %s", next, n.State)
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	if out.Tunnel == nil && !leg.Response && out.NetNS != c.Lookup.NetNS && out.Src.Addr() == c.Client.Addr() {
		lines = append(lines, fmt.Sprintf("it bears its client's own address: what is beyond %s needs a route back to %v", ns.Name(), out.Src.Addr()))
	}
	return lines
}

// peerText names whoever a packet left for; besides says more of one that may be no
// node.
func peerText(out *tracer.Hop, besides string) string {
	_, dst := outerAddrs(out)
	if out.Tunnel != nil {
		return dst.String() + ", the tunnel's other end"
	}
	return dst.String() + besides
}

// onTheWire says what a packet looks like where it leaves the node.
func onTheWire(h *tracer.Hop) string {
	t := outermost(h.Tunnel)
	if t == nil {
		return fmt.Sprintf("%v → %v", h.Src, h.Dst)
	}
	return fmt.Sprintf("%v → %v, in %s %v → %v", h.Src, h.Dst, t.Kind, t.Src, t.Dst)
}

// passes says what must be let through for a packet to arrive.
func (c *Case) passes(leg *tracer.Leg, h *tracer.Hop) string {
	t := outermost(h.Tunnel)
	way := func(from, to netip.Addr) string { return fmt.Sprintf("from %v to %v", from, to) }
	switch {
	case t != nil && t.Dst.Port() != 0:
		return fmt.Sprintf("UDP port %d (%s) %s", t.Dst.Port(), t.Kind, way(t.Src.Addr(), t.Dst.Addr()))
	case t != nil:
		return cmp.Or(t.Kind, "the tunnel") + " " + way(t.Src.Addr(), t.Dst.Addr())
	case leg.Response:
		return fmt.Sprintf("replies from %s port %d %s", upper(c.Transport), h.Src.Port(), way(h.Src.Addr(), h.Dst.Addr()))
	}
	return fmt.Sprintf("%s port %d %s", upper(c.Transport), h.Dst.Port(), way(h.Src.Addr(), h.Dst.Addr()))
}
