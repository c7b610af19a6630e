package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// wrongMAC finds a packet that came to where its address is, and was dropped since
// its hardware address is another's: a neighbour's entry is wrong where it came
// from. A copy that a bridge sent to everybody is dropped in the same way, but
// not by who has its address.
func wrongMAC(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if drop.Drop.Reason != "OTHERHOST" && !(reason(drop) == "" && (drop.Drop.Function == "ip_rcv_core" || drop.Drop.Function == "ip6_rcv_core")) {
			continue
		}
		ns := c.NetNS(drop.NetNS)
		from := c.lastSender(leg, drop)
		if from == nil {
			continue
		}
		next := c.nextHop(leg, from)
		own, l := c.ownAddr(ns, next), c.device(ns, drop.Dev)
		if own == nil || l == nil {
			continue
		}
		sender := c.NetNS(from.NetNS)
		mac := c.macOf(sender, from.Dev, next)
		if mac == l.MAC || mac == "MAC" && drop.Drop.Reason == "" {
			continue
		}
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Summary:    fmt.Sprintf("%s sends the %s for %v to a wrong hardware address: %s of %s has another", sender.Name(), legName(leg), next, drop.Dev, ns.Name()),
			Evidence: []string{
				fmt.Sprintf("%s dropped the %s: %s", ns.Name(), legName(leg), dropText(drop)),
				fmt.Sprintf("%s of %s has %s", drop.Dev, ns.Name(), l.MAC),
			},
			Mend: []string{inNS(sender, fmt.Sprintf("ip neigh replace %v lladdr %s dev %s", next, l.MAC, from.Dev))},
		}
		if mac != "MAC" {
			f.Confidence = tracer.ConfidenceConfirmed
			f.Evidence = append(f.Evidence, fmt.Sprintf("ip neigh in %s says that %v dev %s is %s", sender.Name(), next, from.Dev, mac))
		}
		if own := c.device(sender, from.Dev); own != nil && own.Tunnel != nil {
			f.Mend[0] += " nud permanent"
			f.Mend = append([]string{fmt.Sprintf("restart the CNI agent of %s, which should have made this entry", sender.Name())}, f.Mend...)
		}
		return f
	}
	return nil
}

// lastSender returns the hop by which the namespace before it sent a dropped
// packet: the first device there, since it is that whose neighbours are asked.
func (c *Case) lastSender(leg *tracer.Leg, drop *tracer.Hop) *tracer.Hop {
	depth := outermost(drop.Tunnel)
	var found *tracer.Hop
	for i := range leg.Hops {
		h := &leg.Hops[i]
		same := (outermost(h.Tunnel) == nil) == (depth == nil)
		if h == drop {
			break
		}
		if h.Name == "tx" && same && h.NetNS != drop.NetNS && (found == nil || found.NetNS != h.NetNS) {
			found = h
		}
	}
	return found
}
