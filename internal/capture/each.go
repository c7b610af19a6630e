package capture

import (
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/render"
	"github.com/dnspath/dnspath/tracer"
)

// Selection says which lookups are wanted.
type Selection struct {
	Filter *tracer.Filter // nil: all
	Pick   render.Pick    // of these; with one, all that the filter lets through of its story
}

// Failed reports whether a lookup failed: no answer came, and that is certain.
func Failed(r *render.Record) bool { return r.Outcome != "answered" && r.Outcome != "incomplete" }

// Each calls do with the record of each lookup, in order of time. It stops at an
// error of do, or one of reading.
func (j *Joined) Each(sel Selection, do func(*render.Record) error) error {
	picked := j.picked(sel)
	for _, group := range j.groups {
		if !j.wanted(sel, group) || !sel.Pick.Takes(j.c.lookups[group[0]].fate) && !picked[j.storyOf(group)] {
			continue
		}
		r, err := j.record(group)
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		if err := do(r); err != nil {
			return err
		}
	}
	return nil
}

// picked returns the stories that are shown for one of their lookups. It goes by
// the index: what the client's node says of a lookup. Other nodes may know better
// how it failed, never that it did not.
func (j *Joined) picked(sel Selection) map[string]bool {
	if sel.Pick == (render.Pick{}) {
		return nil
	}
	picked := map[string]bool{}
	for _, group := range j.groups {
		if s := j.storyOf(group); s != "" && j.wanted(sel, group) && sel.Pick.Takes(j.c.lookups[group[0]].fate) {
			picked[s] = true
		}
	}
	return picked
}

// storyOf returns the ID of a lookup's story, as the first of its nodes that
// knows one tells; "" if it is in none.
func (j *Joined) storyOf(group []int32) string {
	for _, n := range group {
		if l := j.c.lookups[n]; l.story != "" {
			first, _ := j.headOf(l.node, l.story)
			return first
		}
	}
	return ""
}

// wanted tells by the index alone which lookups the filter lets through.
func (j *Joined) wanted(sel Selection, group []int32) bool {
	if sel.Filter == nil {
		return true
	}
	for _, n := range group {
		if l := j.c.lookups[n]; sel.Filter.Match(&tracer.Lookup{
			Question: &tracer.Message{Name: l.name, Type: typeOf(l.qtype)}, Client: l.client, Server: l.server, Backend: l.backend,
		}) {
			return true
		}
	}
	return false
}

// typeOf reads a query type as it is written, RFC 3597 section 5 too.
func typeOf(s string) uint16 {
	if t, ok := dns.StringToType[s]; ok {
		return t
	}
	n, _ := strconv.ParseUint(strings.TrimPrefix(s, "TYPE"), 10, 16)
	return uint16(n)
}
