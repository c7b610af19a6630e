package lab

import (
	"net/netip"
	"slices"
	"time"
)

// wrong says what of a record is not as it was, if anything.
func wrong(l *MixedLookup, r *mixedRecord) string {
	outcomes, rcode := l.outcomes()
	server := netip.AddrPortFrom(r.Server.Addr, r.Server.Port)
	end := r.Time.Add(time.Duration(r.LatencyNS))
	tooLate := r.Outcome == "answered" && l.Came == cameTimeout && !l.asPlanned() && end.After(l.Ended.Add(-mixedSlack))
	switch {
	case !slices.Contains(outcomes, r.Outcome) && !tooLate:
		return "outcome"
	case r.Rcode != rcode && rcode != "", r.Rcode != "" && l.Plan == planSilent:
		return "rcode"
	case server != l.Server:
		return "server"
	case l.Unasked: // there was no query to have an ID
		return ""
	case r.DNSID != l.ID:
		return "ID"
	case r.Attempts < l.Transmissions: // too many are another lookup's
		return "attempts"
	case r.Time.Before(l.Sent.Add(-mixedSlack)):
		return "time"
	case rcode != "" && end.After(l.Ended.Add(mixedSlack)):
		return "latency"
	}
	return ""
}

// attempts returns the most attempts that a record may tell of. The kernel
// repeats segments of itself: a SYN every second at first (net.ipv4.tcp_syn_linear_timeouts,
// Linux 6.5), before that at growing distances.
func (l *MixedLookup) attempts() int {
	if !l.Unasked {
		return l.Transmissions + l.Resent
	}
	return 1 + int((l.Ended.Sub(l.Sent)+mixedSlack)/time.Second)
}

// outcomes returns which outcomes are right, and the rcode. What came counts; where
// nothing came, the plan says why. A lookup that was planned to be answered and was
// not, ended in a way that nobody knows better.
func (l *MixedLookup) outcomes() (outcomes []string, rcode string) {
	switch l.Came {
	case cameRefused, cameClosed, cameReset:
		return []string{"rejected"}, ""
	case cameTimeout:
	case cameGone:
		return []string{"answered", "dropped", "rejected", "lost"}, ""
	default:
		return []string{"answered"}, l.Came
	}
	switch l.Plan {
	case planSilent:
		return []string{"lost"}, ""
	case planDropQuery, planDropReply:
		return []string{"dropped"}, ""
	case planReject: // which came when the client had given up, or was not let run
		return []string{"rejected", "lost", "dropped"}, ""
	}
	return []string{"lost", "dropped"}, ""
}

// asPlanned reports whether a lookup ended as was planned.
func (l *MixedLookup) asPlanned() bool {
	switch l.Plan {
	case planSilent, planDropQuery, planDropReply:
		return l.Came == cameTimeout
	case planReject:
		return l.Came == cameRefused
	case planClose:
		return l.Came == cameClosed
	case planReset:
		return l.Came == cameReset
	case planSlow:
		return l.Came == "NOERROR"
	case planGone:
		return l.Came == cameGone
	}
	return l.Came == l.Plan
}

// causes are the findings that tell why a lookup ended as it was planned to.
var causes = map[string][]string{
	"SERVFAIL": {"server-refused"}, "REFUSED": {"server-refused"}, planSilent: {"server-silent"},
	planDropQuery: {"policy-drop"}, planDropReply: {"policy-drop"}, planReject: {"no-listener", "policy-reject"},
}

// mayBe reports whether a finding may tell why the lookup ended so. Of one that
// ended otherwise than planned nobody knows the cause, unless it was answered.
func (l *MixedLookup) mayBe(finding string) bool {
	if finding == "unexplained" || !l.asPlanned() && l.Came == cameTimeout {
		return true
	}
	return slices.Contains(causes[l.Plan], finding)
}
