package diagnose

import (
	"fmt"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// conntrackInvalid finds a packet that a rule dropped since conntrack calls it
// invalid: its checksum is wrong (nf_conntrack_checksum), or it is a segment of a
// connection whose other direction went another way. kube-proxy has such a rule.
func conntrackInvalid(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, h := range c.Drops() {
		if !refused(h) || !c.refusedByRule(h) || !matchesInvalid(h.Drop.By) || h.CT != nil {
			continue
		}
		ns := c.NetNS(h.NetNS)
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceConfirmed,
			Summary:    fmt.Sprintf("conntrack in %s calls the %s %s → %s invalid, and a rule drops it: %s", ns.Name(), legName(leg), h.Src, h.Dst, h.Drop.By.Name),
			Evidence:   append(c.ruleEvidence(leg, h), "it has no conntrack entry"),
		}
		if sum := wrongSum(leg); sum != nil {
			f.Summary = fmt.Sprintf("conntrack in %s calls the %s %s → %s invalid, for its %s checksum is wrong, and a rule drops it", ns.Name(), legName(leg), h.Src, h.Dst, strings.ToUpper(sum.Header))
			f.Evidence = append(f.Evidence, fmt.Sprintf("its %s checksum is 0x%04x, and should be 0x%04x", strings.ToUpper(sum.Header), sum.Field, sum.Want))
			f.Mend = []string{"have its checksum made right: the hops show where it is wrong first; where a device makes it so: ethtool -K DEV tx-checksum-ip-generic off"}
		} else {
			f.Mend = []string{
				fmt.Sprintf("have both directions pass %s: its conntrack did not see the other one", ns.Name()),
				inNS(ns, "sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1, if it is TCP that is out of its window"),
			}
		}
		return f
	}
	return nil
}

// matchesInvalid reports whether a rule is for what conntrack calls invalid.
func matchesInvalid(by *tracer.By) bool {
	return by != nil && (strings.Contains(by.Rule, "state INVALID") || strings.Contains(by.Rule, "ct state invalid"))
}

// wrongSum returns the last checksum that was seen to be wrong; nil if none was.
func wrongSum(leg *tracer.Leg) (sum *tracer.HeaderSum) {
	for i := range leg.Hops {
		for j := range leg.Hops[i].Sums {
			if s := &leg.Hops[i].Sums[j]; s.Verdict == tracer.SumBad {
				sum = s
			}
		}
	}
	return sum
}
