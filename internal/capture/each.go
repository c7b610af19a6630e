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
	Failed bool           // those alone that failed, or may have
}

// Failed reports whether a lookup failed: no answer came, and that is certain.
func Failed(r *render.Record) bool { return r.Outcome != "answered" && r.Outcome != "incomplete" }

// Each calls do with the record of each lookup, in order of time. It stops at an
// error of do, or one of reading.
func (j *Joined) Each(sel Selection, do func(*render.Record) error) error {
	for _, group := range j.groups {
		if !j.wanted(sel, group) {
			continue
		}
		r, err := j.record(group)
		if err != nil {
			return err
		}
		if r == nil || sel.Failed && r.Outcome == "answered" {
			continue
		}
		if err := do(r); err != nil {
			return err
		}
	}
	return nil
}

// wanted tells by the index alone which records need not be made.
func (j *Joined) wanted(sel Selection, group []int32) bool {
	if sel.Failed && j.c.lookups[group[0]].outcome == "answered" {
		return false
	}
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
