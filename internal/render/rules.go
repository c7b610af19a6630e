package render

import (
	"fmt"
	"slices"
)

// rulesText writes the ways through base chains on which a rule matched.
func rulesText(h *Hop) []string {
	var lines []string
	for rest := h.Rules; len(rest) > 0; {
		n := 1
		for n < len(rest) && goesOn(rest[n-1], rest[n]) {
			n++
		}
		if way := rest[:n]; slices.ContainsFunc(way, func(r Rule) bool { return r.Kind == "rule" }) {
			lines = append(lines, wayText(way))
		}
		rest = rest[n:]
	}
	return lines
}

// goesOn reports whether b follows a on one way through a base chain: a policy
// and a final verdict end it.
func goesOn(a, b Rule) bool {
	ended := a.Kind == "policy" || a.Verdict == "accept" || a.Verdict == "drop"
	return !ended && a.Hook == b.Hook && a.Family == b.Family && a.Table == b.Table && a.Base == b.Base
}

// wayText writes one way: its chains, each with the handles of the rules that
// matched, and the verdict.
//
//	PREROUTING  ip nat: PREROUTING 4, KUBE-SERVICES 12, KUBE-SEP-4XBTP3 15: accept
func wayText(way []Rule) string {
	s := fmt.Sprintf("%s  %s %s:", way[0].Hook, way[0].Family, printable(way[0].Table))
	for i, r := range way {
		if i == 0 || way[i-1].Chain != r.Chain {
			if i > 0 {
				s += ","
			}
			s += " " + printable(r.Chain)
		}
		switch r.Kind {
		case "rule":
			s += fmt.Sprintf(" %d", r.Handle)
		case "policy":
			s += " policy"
		}
	}
	return s + ": " + printable(way[len(way)-1].Verdict)
}
