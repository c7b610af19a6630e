package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// nearlyFull is how full conntrack's table has to be, in percent: it may have lost
// some entries since it refused one.
const nearlyFull = 95

// fullConntrack finds a packet for which conntrack had no room: it drops the first
// packet of a connection where that comes in (nf_conntrack_in), and lets those go
// on that it knows.
func fullConntrack(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, h := range c.Drops() {
		if !refused(h) || !c.byConntrack(h) {
			continue
		}
		ns := c.NetNS(h.NetNS)
		s, ok := read(c, ns, "conntrack's table", ns.Conntrack)
		if !ok || s.Max == 0 || s.Count < s.Max*nearlyFull/100 {
			continue
		}
		return &tracer.Finding{
			Confidence: tracer.ConfidenceConfirmed,
			Summary:    fmt.Sprintf("conntrack's table in %s is full (%d entries, limit %d): it drops the first packet of each new connection", ns.Name(), s.Count, s.Max),
			Evidence: []string{
				fmt.Sprintf("%s dropped the %s %s → %s at first sight: %s", ns.Name(), legName(leg), h.Src, h.Dst, dropText(h)),
				fmt.Sprintf("conntrack has dropped %d packets there, and %d entries to make room", s.Stats["drop"], s.Stats["early_drop"]),
			},
			Mend: []string{
				fmt.Sprintf("on the node of %s: sysctl -w net.netfilter.nf_conntrack_max=%d", ns.Name(), 2*s.Max),
				inNS(ns, "conntrack -L | awk '{print $1, $5}' | sort | uniq -c | sort -n, to see whose connections fill it"),
				"a node-local DNS cache keeps DNS out of conntrack",
			},
		}
	}
	return nil
}

// byConntrack reports whether a packet that netfilter dropped may have been
// dropped by conntrack for want of an entry.
func (c *Case) byConntrack(h *tracer.Hop) bool {
	if h.CT != nil || h.NoTrack || h.Drop.Confirm || c.refusedByRule(h) {
		return false
	}
	switch h.Drop.Hook {
	case "", tracer.HookPrerouting, tracer.HookOutput:
		return h.Drop.By == nil || h.Drop.By.Name == "conntrack"
	}
	return false
}
