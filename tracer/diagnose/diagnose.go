package diagnose

import (
	"fmt"
	"slices"

	"github.com/dnspath/dnspath/tracer"
)

// rule looks for one cause of a lookup's failure.
type rule struct {
	id   string
	find func(*Case) *tracer.Finding // nil: its evidence doesn't hold
}

// rules are asked about each lookup that ended badly. Their findings are shown
// in this order.
var rules = []rule{
	{"service-not-translated", serviceNotTranslated},
	{"service-no-endpoints", serviceNoEndpoints},
	{"stale-endpoint", staleEndpoint},
	{"reply-not-untranslated", replyNotUntranslated},
	{"hairpin-failed", hairpinFailed},
	{"masquerade-wrong-source", masqueradeWrongSource},
	{"snat-ports-exhausted", snatPortsExhausted},
	{"conntrack-race", conntrackRace},
	{"conntrack-full", fullConntrack},
	{"conntrack-invalid", conntrackInvalid},
	{"policy-drop", policyDrop},
	{"policy-reject", policyReject},
	{"nodelocal-rules-missing", nodelocalRulesMissing},
	{"bpf-program-drop", bpfProgramDrop},
	{"no-route-to-endpoint", noRoute},
	{"rp-filter-drop", rpFilterDrop},
	{"martian-source", martianSource},
	{"tunnel-wrong-device", tunnelWrongDevice},
	{"tunnel-mismatch", tunnelMismatch},
	{"tunnel-peer-unknown", tunnelPeerUnknown},
	{"neighbour-failed", neighbourFailed},
	{"forwarding-off", forwardingOff},
	{"ttl-expired", ttlExpired},
	{"device-down", deviceDown},
	{"wrong-mac", wrongMAC},
	{"ipv6-off", ipv6Off},
	{"mtu-too-big", mtuTooBig},
	{"fragment-lost", fragmentLost},
	{"tunnel-checksum", tunnelChecksum},
	{"checksum-bad", checksumBad},
	{"gso-drop", gsoDrop},
	{"server-buffer-full", serverBufferFull},
	{"backlog-full", backlogFull},
	{"qdisc-drop", qdiscDrop},
	{"no-listener", noListener},
	{"server-refused", serverRefused},
	{"upstream-timeout", upstreamTimeout},
	{"spoofed-or-mismatched-reply", mismatchedReply},
	{"search-storm", searchStorm},
	{"truncated-no-tcp", truncatedNoTCP},
}

// lastRules are asked if no other found a cause, one after the other until one
// does.
var lastRules = []rule{
	{"client-gone", clientGone},
	{"server-slow", serverSlow},
	{"server-silent", serverSilent},
	{"mtu-too-big", silentlyTooBig},
	{"backend-broken", backendBroken},
	{"tcp-only-fails", tcpOnlyFails},
	{"udp-only-fails", udpOnlyFails},
	{"lost-beyond-node", lostBeyondNode},
}

// Unexplained is the ID of what is said of a failed lookup that no finding
// explains: what was seen of it last.
const Unexplained = "unexplained"

// Diagnoser finds the causes of lookups, one after the other, and remembers what
// it needs to tell of several. It is not safe for concurrent use.
type Diagnoser struct {
	node    Node
	history *history
}

// New returns a Diagnoser for lookups of a node.
func New(node Node) *Diagnoser {
	return &Diagnoser{node: node, history: newHistory()}
}

// Diagnose fills in the findings of a lookup, or of all lookups of a story. What
// was caused by another lookup comes after it, as its tracer hands them out: so
// the last is diagnosed first, for its findings may be the cause of others.
func (d *Diagnoser) Diagnose(lookups ...*tracer.Lookup) {
	for _, l := range slices.Backward(lookups) {
		c := &Case{Lookup: l, story: lookups, node: d.node, history: d.history}
		l.Findings = c.diagnose()
		c.count(l.Findings)
		if len(l.Findings) > 0 {
			l.Findings[0].Evidence = append(l.Findings[0].Evidence, c.ofServer()...)
		}
	}
	for _, l := range lookups {
		d.history.add(l)
	}
}

// diagnose asks the rules. Of a lookup whose events were lost nothing is claimed.
func (c *Case) diagnose() (found []tracer.Finding) {
	if c.Outcome == tracer.OutcomeIncomplete {
		return nil
	}
	for _, r := range rules {
		if f := c.ask(r); f != nil {
			found = append(found, *f)
		}
	}
	found = withoutConsequences(found)
	for _, r := range lastRules {
		if len(found) > 0 {
			return found
		}
		if f := c.ask(r); f != nil {
			found = append(found, *f)
		}
	}
	if len(found) == 0 && c.Failed() {
		found = append(found, c.unexplained())
	}
	return found
}

// consequences are what may become of a packet that was sent to the wrong place:
// no wonder that it does not get there. Their finding is of no use to anybody.
var consequences = []string{
	"no-route-to-endpoint", "tunnel-peer-unknown", "neighbour-failed", "device-down", "wrong-mac", "ttl-expired", "no-listener",
}

// withoutConsequences leaves out what another finding explains.
func withoutConsequences(found []tracer.Finding) []tracer.Finding {
	misled := func(f tracer.Finding) bool { return f.ID == "service-not-translated" || f.ID == "stale-endpoint" }
	if !slices.ContainsFunc(found, misled) {
		return found
	}
	return slices.DeleteFunc(found, func(f tracer.Finding) bool { return slices.Contains(consequences, f.ID) })
}

// ask asks one rule. What could not be read while it looked is told as evidence.
func (c *Case) ask(r rule) *tracer.Finding {
	c.unread = nil
	f := r.find(c)
	if f == nil {
		c.gaps = append(c.gaps, c.unread...)
		return nil
	}
	f.ID = r.id
	tellGaps(f, c.unread)
	return f
}

// tellGaps adds to the evidence what could not be read, each once.
func tellGaps(f *tracer.Finding, gaps []string) {
	for _, gap := range gaps {
		if line := "not read: " + gap; !slices.Contains(f.Evidence, line) {
			f.Evidence = append(f.Evidence, line)
		}
	}
}

// unexplained tells what was seen last.
func (c *Case) unexplained() tracer.Finding {
	f := tracer.Finding{ID: Unexplained, Confidence: tracer.ConfidenceSeen, Summary: "no known cause fits what was seen"}
	if leg, h := c.last(); h != nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the %s was seen last at %s", legName(leg), c.At(h)))
	}
	f.Evidence = append(f.Evidence, c.rises()...)
	tellGaps(&f, c.gaps) // with which a rule might have told more
	return f
}
