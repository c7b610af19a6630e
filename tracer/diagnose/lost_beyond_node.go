package diagnose

import (
	"fmt"
	"slices"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// lostBeyondNode finds a query that left the node as it should, and to which
// nothing came back. It is asked when nothing on this node is to blame.
func lostBeyondNode(c *Case) *tracer.Finding {
	if c.Outcome != tracer.OutcomeLost {
		return nil
	}
	var out *tracer.Hop
	for i := range c.Legs {
		leg := &c.Legs[i]
		if leg.Error != nil || leg.Response || len(leg.Hops) == 0 {
			return nil // something came back
		}
		if out = &leg.Hops[len(leg.Hops)-1]; !c.leftIntact(leg, out) {
			return nil
		}
	}
	if out == nil {
		return nil
	}
	ns := c.NetNS(out.NetNS)
	_, dst := outerAddrs(out)
	leg := &c.Legs[len(c.Legs)-1]
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceLikely,
		Summary:    fmt.Sprintf("the %s left %s of %s intact; nothing came back in %v; the node is not to blame", legName(leg), out.Dev, ns.Name(), time.Duration(c.Waited)),
		Evidence: []string{
			fmt.Sprintf("%s, %.3f ms after it was seen first: %s", c.At(out), float64(out.Time-leg.Hops[0].Time)/1e6, onTheWire(out)),
			"its checksums are right, as far as they are to be yet, and nothing on its way here dropped it",
		},
	}
	if l := c.device(ns, out.Dev); l != nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("it has %d bytes; the MTU of %s is %d", out.Len, l.Name, l.MTU))
	}
	f.Mend = []string{
		fmt.Sprintf("run dnspath -o json on %v too, if it is a node, and dnspath analyze on what both saw: does the %s arrive?", dst, legName(leg)),
		fmt.Sprintf("if it does not, have what is between them (firewalls, security groups) let %s through", passes(out)),
	}
	return f
}

// leftIntact reports whether a packet was seen last as the driver of a device that
// leads out of the machine got it, with right checksums, and not too big. Where
// the other end of the wire is a namespace of this machine, the loss is not beyond it.
func (c *Case) leftIntact(leg *tracer.Leg, h *tracer.Hop) bool {
	if h.Name != "tx" || h.Layer != "device" || h.Queued || c.elsewhere(leg, h) && h.Tunnel == nil {
		return false
	}
	ns := c.NetNS(h.NetNS)
	l := c.device(ns, h.Dev)
	if l == nil || l.Tunnel != nil || l.Kind == "veth" && l.PeerNetNS != 0 || slices.Contains([]string{"bridge", "dummy", "ifb"}, l.Kind) || h.Dev == "lo" {
		return false
	}
	if l.MTU > 0 && int(h.Len) > l.MTU {
		return false
	}
	return !slices.ContainsFunc(leg.Hops, func(h tracer.Hop) bool { return h.Drop != nil || len(h.Breaks) > 0 })
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
func passes(h *tracer.Hop) string {
	t := outermost(h.Tunnel)
	switch {
	case t == nil:
		return fmt.Sprintf("port %d", h.Dst.Port())
	case t.Dst.Port() != 0:
		return fmt.Sprintf("UDP port %d (%s)", t.Dst.Port(), t.Kind)
	}
	return t.Kind
}
