package lab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// hopSums is what an export says of a hop's checksums, by docs/export.md.
type hopSums struct {
	Inner       string          `json:"inner"`
	Outer       string          `json:"outer"`
	Outermost   string          `json:"outermost"`
	InnerIP     string          `json:"inner_ip"`
	OuterIP     string          `json:"outer_ip"`
	OutermostIP string          `json:"outermost_ip"`
	Wrong       json.RawMessage `json:"wrong"`
	Why         []struct {
		Header string `json:"header"`
		Why    string `json:"why"`
	} `json:"why"`
}

// verdict returns that on a header, "" for one that is not there.
func (s *hopSums) verdict(header string) string {
	switch header {
	case "inner":
		return s.Inner
	case "outer":
		return s.Outer
	case "outermost":
		return s.Outermost
	case "inner_ip":
		return s.InnerIP
	case "outer_ip":
		return s.OuterIP
	case "outermost_ip":
		return s.OutermostIP
	}
	return ""
}

var sumHeaders = []string{"inner", "outer", "outermost", "inner_ip", "outer_ip", "outermost_ip"}

// SumVerdicts are the verdicts on checksums, in the order of reports.
func SumVerdicts() []string {
	return []string{"ok", "partial", "none", "trusted", "unknown", "bad", "partial-bad"}
}

// SumTally counts verdicts on checksums.
type SumTally struct {
	Lookups  int
	Hops     int
	Silent   int            // of the hops: nothing is said of their checksums
	Verdicts map[string]int // one for each header of each hop
	Unknown  map[string]int // why, with N for numbers
	Faults   []string       // what is said to be wrong, the first ten
}

// Wrong counts the checksums that are said to be wrong, or of which something
// is said that is no verdict.
func (t *SumTally) Wrong() int {
	n := 0
	for verdict, count := range t.Verdicts {
		if verdict == "bad" || verdict == "partial-bad" || !slices.Contains(SumVerdicts(), verdict) {
			n += count
		}
	}
	return n
}

// All counts all verdicts.
func (t *SumTally) All() int {
	n := 0
	for _, count := range t.Verdicts {
		n += count
	}
	return n
}

// Add adds what another has counted.
func (t *SumTally) Add(o *SumTally) {
	t.Lookups += o.Lookups
	t.Hops += o.Hops
	t.Silent += o.Silent
	t.Verdicts = addCounts(t.Verdicts, o.Verdicts)
	t.Unknown = addCounts(t.Unknown, o.Unknown)
	t.Faults = append(t.Faults, o.Faults[:min(len(o.Faults), 10-min(len(t.Faults), 10))]...)
}

func addCounts(to, from map[string]int) map[string]int {
	if to == nil {
		to = map[string]int{}
	}
	for key, n := range from {
		to[key] += n
	}
	return to
}

var digits = regexp.MustCompile(`[0-9]+`)

// countSums counts what a record says of checksums.
func (r *mixedRecord) countSums() {
	t := &SumTally{Lookups: 1, Verdicts: map[string]int{}, Unknown: map[string]int{}}
	r.sums = t
	for _, leg := range r.Legs {
		t.Hops += len(leg.Hops)
		for i := range leg.Hops {
			h := &leg.Hops[i]
			if h.Sums == nil {
				t.Silent++
				continue
			}
			for _, header := range sumHeaders {
				if verdict := h.Sums.verdict(header); verdict != "" {
					t.Verdicts[verdict]++
				}
			}
			for _, why := range h.Sums.Why {
				if h.Sums.verdict(why.Header) == "unknown" {
					t.Unknown[digits.ReplaceAllString(why.Why, "N")]++
				}
			}
			if h.Sums.Wrong != nil && len(t.Faults) < 10 {
				t.Faults = append(t.Faults, fmt.Sprintf("%s of %s %s %s (%s), %s %s %s: %s", leg.Direction, r.Transport, r.Name, r.QType, r.client, h.NetNS, h.Dev, h.Hop, h.Sums.Wrong))
			}
		}
	}
}

// Summary says how much is said, and why "unknown" is.
func (t *SumTally) Summary() string {
	var b strings.Builder
	part := func(n, of int) string {
		return fmt.Sprintf("%d of %d, %.2f %%", n, of, 100*float64(n)/float64(max(of, 1)))
	}
	fmt.Fprintf(&b, "wrong                     %s of all verdicts (want 0)\n", part(t.Wrong(), t.All()))
	fmt.Fprintf(&b, "unknown                   %s\n", part(t.Verdicts["unknown"], t.All()))
	reasons := slices.SortedFunc(maps.Keys(t.Unknown), func(a, c string) int {
		return cmp.Or(t.Unknown[c]-t.Unknown[a], strings.Compare(a, c))
	})
	for _, reason := range reasons[:min(len(reasons), 10)] {
		fmt.Fprintf(&b, "  %8d  %s\n", t.Unknown[reason], reason)
	}
	fmt.Fprintf(&b, "hops without verdicts     %s of all hops\n", part(t.Silent, t.Hops))
	return b.String()
}
