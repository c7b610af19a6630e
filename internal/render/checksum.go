package render

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// Checksum says of each header whether its checksum is right: ok, partial,
// partial-bad, none, bad, trusted, unknown. Absent: there is no such header.
type Checksum struct {
	Inner       string `json:"inner,omitempty"`     // of the lookup's own UDP or TCP header
	Outer       string `json:"outer,omitempty"`     // of the tunnel's UDP header
	Outermost   string `json:"outermost,omitempty"` // of the tunnel's around that
	InnerIP     string `json:"inner_ip,omitempty"`  // of the IPv4 headers
	OuterIP     string `json:"outer_ip,omitempty"`
	OutermostIP string `json:"outermost_ip,omitempty"`

	Wrong []WrongSum `json:"wrong,omitempty"` // those that are bad or partial-bad, outermost first
	Why   []SumWhy   `json:"why,omitempty"`   // what else there is to say of one
}

// WrongSum is a checksum that is wrong.
type WrongSum struct {
	Header string `json:"header"` // which of the fields of Checksum
	Kind   string `json:"kind"`   // ipv4, udp, tcp
	Field  string `json:"field"`  // as it is, in hexadecimal
	Want   string `json:"want"`   // as it should be
	Became bool   `json:"became,omitempty"`
	Was    string `json:"was,omitempty"`    // of one that became wrong here: what it was before
	WasAt  string `json:"was_at,omitempty"` // where; for people
	From   string `json:"from,omitempty"`   // the address that was rewritten since then
	To     string `json:"to,omitempty"`
}

// SumWhy is the reason for a verdict.
type SumWhy struct {
	Header string `json:"header"`
	Why    string `json:"why"`
}

// checksums makes a view of what is known of a hop's checksums, nil if that is nothing.
func checksums(h *tracer.Hop) *Checksum {
	if len(h.Sums) == 0 {
		return nil
	}
	v := &Checksum{}
	for _, s := range h.Sums {
		name, field := v.header(s)
		if name == "" { // dnspath looks into no more tunnels
			continue
		}
		*field = string(s.Verdict)
		if s.Why != "" {
			v.Why = append(v.Why, SumWhy{Header: name, Why: s.Why})
		}
		if !s.Verdict.Wrong() {
			continue
		}
		w := WrongSum{Header: name, Kind: s.Header, Field: hex(s.Field), Want: hex(s.Want)}
		for _, b := range h.Breaks {
			if b.Header != s.Header || b.Depth != s.Depth {
				continue
			}
			w.Became = true
			if b.From.IsValid() {
				w.From, w.To = tunnelEnd(b.From), tunnelEnd(b.To)
			}
			if b.WasAt != nil {
				w.Was, w.WasAt = string(b.Was), sumPlace(b.WasAt)
			}
		}
		v.Wrong = append(v.Wrong, w)
	}
	return v
}

// sameSums reports whether the views of two hops' checksums are the same.
func sameSums(a, b *tracer.Hop) bool {
	return len(a.Breaks) == 0 && len(b.Breaks) == 0 && slices.Equal(a.Sums, b.Sums)
}

// header returns the name of the field for a header, and the field.
func (v *Checksum) header(s tracer.HeaderSum) (string, *string) {
	names := []string{"inner", "outer", "outermost"}
	fields := []*string{&v.Inner, &v.Outer, &v.Outermost}
	if s.Header == "ipv4" {
		names = []string{"inner_ip", "outer_ip", "outermost_ip"}
		fields = []*string{&v.InnerIP, &v.OuterIP, &v.OutermostIP}
	}
	if s.Depth >= len(names) {
		return "", nil
	}
	return names[s.Depth], fields[s.Depth]
}

func hex(sum uint16) string { return fmt.Sprintf("0x%04x", sum) }

// sumPlace says in a few words where a hop is.
func sumPlace(h *tracer.Hop) string {
	if h.Hook != "" {
		return h.Name + " " + string(h.Hook)
	}
	if h.Dev != "" {
		return h.Name + " " + h.Dev
	}
	return h.Name
}

// brokenText tells of the checksums that became wrong at a hop.
func brokenText(h *Hop) string {
	if h.Checksum == nil {
		return ""
	}
	var broken []string
	for _, w := range h.Checksum.Wrong {
		if !w.Became {
			continue
		}
		kind := strings.ToUpper(w.Kind)
		if w.Kind == "ipv4" {
			kind = "IPv4 header"
		}
		if where, _, _ := strings.Cut(w.Header, "_"); where != "inner" || h.Tunnel != nil {
			kind = where + " " + kind
		}
		s := kind + " checksum "
		switch {
		case w.Was == "":
			s += "is wrong: "
		case w.From != "" && !strings.HasPrefix(w.Header, "inner"): // of the inner one's the hop tells
			s += "became wrong here, with " + w.From + " → " + w.To + ": "
		default:
			s += "became wrong here: "
		}
		if s += w.Field + ", should be " + w.Want; w.Was != "" {
			s += " (was " + w.Was + " at " + w.WasAt + ")"
		}
		broken = append(broken, path(s))
	}
	return strings.Join(broken, ", ")
}
