package render

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// Link ties a lookup to another one.
type Link struct {
	Kind     string `json:"kind"`
	How      string `json:"how"` // "seen", "inferred"
	ID       string `json:"id"`  // of the other lookup
	Try      int    `json:"try,omitempty"`
	Client   string `json:"client"` // of the other lookup
	DNSID    uint16 `json:"dns_id"` // of the other lookup
	BeforeNS uint64 `json:"before_ns,omitempty"`
}

// Story is what the lookups of one story have in common.
type Story struct {
	Name     string `json:"name"` // what was asked for, without search domains
	Lookups  int    `json:"lookups"`
	NXDomain int    `json:"nxdomain,omitempty"` // of them, for names with a search domain
	NoData   int    `json:"nodata,omitempty"`   // of them, for names with a search domain
	Caused   int    `json:"caused,omitempty"`   // of them, by servers that asked on
	OverTCP  int    `json:"over_tcp,omitempty"` // of them, since an answer was truncated
}

// Resolve tells of a link that was read from a file what the other lookup is, and
// by how many ns it began before, as far as several nodes together know it.
func (l *Link) Resolve(other tracer.Ref, before uint64) {
	if other.Client.IsValid() {
		l.Client, l.DNSID, l.BeforeNS = other.Client.String(), other.DNSID, before
	}
}

// setStory fills in which story a lookup is part of, and its links.
func (c *Context) setStory(r *Record, l *tracer.Lookup) {
	if st := l.Story; st != nil {
		r.Story = c.id(st.First)
		r.StoryOf = &Story{
			Name: st.Name, Lookups: st.Lookups, NXDomain: st.NXDomain, NoData: st.NoData, Caused: st.Caused, OverTCP: st.OverTCP,
		}
	}
	for _, link := range l.Links {
		r.Links = append(r.Links, Link{
			Kind: string(link.Kind), How: link.How, ID: c.id(link.Ref), Try: link.Try,
			Client: link.Ref.Client.String(), DNSID: link.Ref.DNSID, BeforeNS: l.Start - min(l.Start, link.Ref.Start),
		})
	}
}

// parent returns the ID of the lookup that caused r, or "".
func (r *Record) parent() string {
	for _, link := range r.Links {
		if link.Kind == string(tracer.LinkParent) {
			return link.ID
		}
	}
	return ""
}

// enter writes the headline of a story before its first lookup, and returns how
// deep in it a lookup lies: what another one caused lies below that.
func (t *Text) enter(b *bytes.Buffer, r *Record) (depth int) {
	if r.Story == "" || r.StoryOf == nil {
		t.story = ""
		return 0
	}
	if r.Story != t.story {
		t.story, t.depths = r.Story, map[string]int{}
		b.WriteString(t.storyText(r.StoryOf))
	}
	depth = t.depths[r.parent()] + 1
	t.depths[r.ID] = depth
	return depth
}

// storyText says what the lookups of a story are about.
func (t *Text) storyText(st *Story) string {
	s := t.paint(bold, fmt.Sprintf("%d lookups for %s", st.Lookups, printable(st.Name)))
	switch {
	case st.NXDomain > 0 && st.NoData > 0:
		s += fmt.Sprintf(", %d of them NXDOMAIN or without records from search domains", st.NXDomain+st.NoData)
	case st.NXDomain > 0:
		s += fmt.Sprintf(", %d of them NXDOMAIN from search domains", st.NXDomain)
	case st.NoData > 0:
		s += fmt.Sprintf(", %d of them without records from search domains", st.NoData)
	}
	if st.Caused > 0 {
		s += fmt.Sprintf(", %d of them by servers that asked on", st.Caused)
	}
	if st.OverTCP > 0 {
		s += fmt.Sprintf(", %d of them over TCP after a truncated answer", st.OverTCP)
	}
	return s + "\n"
}

// linksText tells the links that the lookup's place in its story does not.
func (t *Text) linksText(b *bytes.Buffer, r *Record) {
	for _, link := range r.Links {
		s := ""
		if link.Client == "" { // of a file that does not say
			continue
		}
		switch tracer.LinkKind(link.Kind) {
		case tracer.LinkParent:
			s = fmt.Sprintf("caused by the lookup of %s, ID %d", printable(link.Client), link.DNSID)
		case tracer.LinkRetryOf:
			s = fmt.Sprintf("try %d: the first was %s before, from %s, ID %d", link.Try, duration(link.BeforeNS), printable(link.Client), link.DNSID)
		case tracer.LinkTruncationOf:
			s = fmt.Sprintf("over TCP, since the answer to ID %d was truncated", link.DNSID)
		default:
			continue
		}
		if link.How == tracer.HowInferred {
			s += " (inferred)"
		}
		fmt.Fprintf(b, "  %s\n", s)
	}
}

// sentText says how often a query was sent, and how far apart.
func sentText(r *Record) string {
	if r.Attempts < 2 {
		return ""
	}
	s := fmt.Sprintf("; sent %d times", r.Attempts)
	if len(r.GapsNS) == 0 {
		return s
	}
	var parts []string
	for _, ns := range r.GapsNS {
		parts = append(parts, duration(ns))
	}
	last := len(parts) - 1
	if last > 0 {
		parts = []string{strings.Join(parts[:last], ", ") + " and " + parts[last]}
	}
	return s + ", " + parts[0] + " apart"
}

// indented puts columns before each line that is not empty.
func indented(text []byte, columns int) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		if len(line) > 1 {
			b.WriteString(pad("", columns))
		}
		b.Write(line)
	}
	return b.Bytes()
}
