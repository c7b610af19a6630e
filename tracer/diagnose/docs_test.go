package diagnose

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestDocumented checks that docs/findings.md has one section for each finding,
// and no other.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/findings.md")
	if err != nil {
		t.Fatal(err)
	}
	const shortest = 100 // bytes that a section has at least
	bodies := map[string]string{}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		for _, id := range strings.Split(title, ", ") {
			if _, twice := bodies[id]; twice {
				t.Errorf("%s has two sections", id)
			}
			bodies[id] = body
		}
	}
	all := map[string]bool{} // one may have two rules
	for _, r := range slices.Concat(rules, lastRules) {
		all[r.id] = true
	}
	for id := range all {
		if len(bodies[id]) < shortest {
			t.Errorf("%s has no section, or one that says nothing: %q", id, bodies[id])
		}
		delete(bodies, id)
	}
	for id := range bodies {
		t.Errorf("the section %s is of no finding", id)
	}
}
