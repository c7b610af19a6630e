package lab

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Write prints the verdict: the mix, the figures that must be 0, and the faults.
func (v *MixedVerdict) Write(w io.Writer) error {
	var b strings.Builder
	part := func(n int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(max(v.Lookups, 1))) }
	fmt.Fprintf(&b, "lookups                   %d: %s by TCP, %s IPv6, %s retried, %s A/AAAA on one socket\n",
		v.Lookups, part(v.TCP), part(v.IPv6), part(v.Retried), part(v.Paired))
	fmt.Fprintf(&b, "in flight together        %s share their ID with another client's, %s their name\n", part(v.SharedID), part(v.SharedName))
	fmt.Fprintf(&b, "reported                  %d: %s\n", v.Records, tally(v.Outcomes))
	fmt.Fprintf(&b, "findings                  %s\n", tally(v.Findings))
	for _, row := range []struct {
		what string
		n    int
	}{
		{"missed", v.Missed}, {"split", v.Split}, {"merged", v.Merged}, {"wrong", v.Wrong},
		{"foreign", v.Foreign}, {"incomplete", v.Incomplete}, {"blamed", v.Blamed},
	} {
		fmt.Fprintf(&b, "%-25s %d (want 0)\n", row.what, row.n)
	}
	l := v.Losses
	fmt.Fprintf(&b, "losses of dnspath         %d (want 0): %v in the kernel, %d undecodable, %d evicted, %d cut, %d late, %d unwritten; %d events, %d stragglers\n",
		l.Total(), l.Lost, l.Undecodable, l.Evicted, l.Cut, l.Late, l.Unwritten, l.Events, l.Stragglers)
	fmt.Fprintf(&b, "the generator's own       %d not made as planned, %d ended otherwise than planned\n", v.Unmade, v.Unplanned)
	for _, f := range v.Faults {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// tally lists counts by name.
func tally(m map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%d %s", m[name], name))
	}
	return strings.Join(parts, ", ")
}

// String tells a lookup in one line.
func (l *MixedLookup) String() string {
	s := fmt.Sprintf("#%d %s %s > %s id %d %s %s: planned %s, sent %d times, came %s", l.N, l.Transport, l.Client, l.Server,
		l.ID, l.Name, l.Type, l.Plan, l.Transmissions, l.Came)
	if l.Unasked {
		s += " to the connection"
	}
	if l.Sent.IsZero() {
		return s
	}
	return s + fmt.Sprintf(", at %s for %s", l.Sent.UTC().Format("15:04:05.000000"), l.Ended.Sub(l.Sent).Round(time.Microsecond))
}

// String tells a record in one line.
func (r *mixedRecord) String() string {
	var legs []string
	for _, leg := range r.Legs {
		s := leg.Direction
		if leg.Segment != "" {
			s += " " + leg.Segment
		}
		if leg.ICMP != nil {
			s += " icmp"
		}
		legs = append(legs, s)
	}
	s := fmt.Sprintf("%s %s > %s:%d id %d %s %s: %s %s, %d attempts, at %s for %s, legs %q", r.Transport, r.client, r.Server.Addr, r.Server.Port,
		r.DNSID, r.Name, r.QType, r.Outcome, r.Rcode, r.Attempts, r.Time.UTC().Format("15:04:05.000000"), time.Duration(r.LatencyNS), legs)
	if r.Detail != "" {
		s += ", " + r.Detail
	}
	if r.Incomplete {
		s += fmt.Sprintf(", incomplete %q", r.Why)
	}
	return s
}
