package render

import (
	"bytes"
	"fmt"

	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

// Finding is a named cause, with its evidence and what mends it.
type Finding struct {
	ID         string   `json:"id"`
	Confidence string   `json:"confidence"` // seen, confirmed, likely
	Summary    string   `json:"summary"`
	Evidence   []string `json:"evidence,omitempty"`
	Mend       []string `json:"mend,omitempty"`
}

func findings(list []tracer.Finding) []Finding {
	out := make([]Finding, 0, len(list))
	for _, f := range list {
		out = append(out, Finding{ID: f.ID, Confidence: string(f.Confidence), Summary: f.Summary, Evidence: f.Evidence, Mend: f.Mend})
	}
	return out
}

// findings writes the verdict: the cause, what it rests on, and what mends it.
func (t *Text) findings(b *bytes.Buffer, list []Finding) {
	for _, f := range list {
		if f.ID == diagnose.Unexplained {
			fmt.Fprintf(b, "  %s %s\n", t.paint(yellow, "unexplained:"), path(f.Summary))
		} else {
			fmt.Fprintf(b, "  %s %s: %s (%s)\n", t.paint(red, "cause:"), t.paint(bold, printable(f.ID)), path(f.Summary), printable(f.Confidence))
		}
		for _, line := range f.Evidence {
			fmt.Fprintf(b, "    %s\n", path(line))
		}
		for _, line := range f.Mend {
			fmt.Fprintf(b, "    %s %s\n", t.paint(green, "mend:"), t.paint(bold, path(line)))
		}
	}
}
