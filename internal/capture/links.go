package capture

import (
	"slices"

	"github.com/dnspath/dnspath/internal/render"
	"github.com/dnspath/dnspath/tracer"
)

// named finds lookups by what records call them.
type named struct {
	node int
	id   uint64
}

// nameAll notes which record each lookup is part of: links name lookups by ID,
// and of those that are joined the client's ID is left.
func (j *Joined) nameAll() {
	j.heads = make(map[named]*lookup, len(j.c.lookups))
	for _, group := range j.groups {
		for _, n := range group {
			l := j.c.lookups[n]
			j.heads[named{l.node, l.id}] = j.c.lookups[group[0]]
		}
	}
}

// headOf returns what a lookup of a node is called now, and its index entry; that
// is nil if it is in no file.
func (j *Joined) headOf(node int, id string) (string, *lookup) {
	n, ok := parseID(id)
	if !ok {
		return id, nil
	}
	if l := j.heads[named{node, n}]; l != nil {
		return formatID(l.id), l
	}
	return id, nil
}

// relink makes the links of all parts those of the whole, by the IDs that are
// left, and tells of each what text says of it.
func (w *whole) relink() {
	base := w.parts[0].record
	story := ""
	var storyOf *render.Story
	var links []render.Link
	for _, p := range w.parts {
		if story == "" && p.record.Story != "" {
			story, _ = w.headOf(p.l.node, p.record.Story)
			storyOf = p.record.StoryOf
		}
		for _, link := range p.record.Links {
			id, other := w.headOf(p.l.node, link.ID)
			link.ID = id
			if id == base.ID || slices.ContainsFunc(links, func(l render.Link) bool { return l.Kind == link.Kind && l.ID == id }) {
				continue
			}
			if other != nil {
				own, others := w.rootTime(w.parts[0].l), w.rootTime(other)
				link.Resolve(tracer.Ref{Client: other.client, Server: other.server, DNSID: other.dnsID}, uint64(max(0, own-others)))
			}
			links = append(links, link)
		}
	}
	base.Story, base.StoryOf, base.Links = story, storyOf, links
}

// rootTime is when a lookup began, by the clock of the root.
func (j *Joined) rootTime(l *lookup) int64 { return l.start - j.clocks.toRoot(l.node, l.start).ns }
