package capture

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/internal/render"
)

// sum makes warnings of what was wrong with a file.
func (f *file) sum() {
	c, name := f.capture, f.capture.sources[f.source].Name
	if f.records > 0 {
		c.usable++
	}
	f.markSessions()
	for _, schema := range slices.Sorted(maps.Keys(f.newer)) {
		c.warnf("%s: %s of schema %d left out: this dnspath knows schema %d and older",
			name, count(f.newer[schema], "record"), schema, render.SchemaVersion)
	}
	if f.broken > 0 && f.records == 0 && len(f.newer) == 0 {
		c.warnf("%s:%d: no export of dnspath: %s", name, f.brokenAt, f.brokenWhy)
		return
	}
	if f.broken > 0 {
		c.warnf("%s: %s left out, the first is line %d (%s): did several programs write to this file?",
			name, count(f.broken, "broken line"), f.brokenAt, f.brokenWhy)
	}
	if f.long > 0 {
		c.warnf("%s: %s of more than %d MiB left out", name, count(f.long, "line"), maxLine>>20)
	}
	switch {
	case f.cut && f.records == 0 && len(f.newer) == 0:
		c.warnf("%s: no export of dnspath: %s", name, f.cutWhy)
		return
	case f.records == 0 && len(f.newer) == 0 && f.long == 0:
		c.warnf("%s: no export of dnspath: the file is empty", name)
		return
	}
	f.sumSessions()
	if len(f.nodes) > 1 {
		var names []string
		for _, n := range f.nodes {
			names = append(names, c.nodes[n].name)
		}
		c.warnf("%s: records of %d nodes (%s): each counts for its own", name, len(names), strings.Join(names, ", "))
	}
}

// markSessions notes in the file's sessions that lines of it could not be read:
// what is not in them may have been there.
func (f *file) markSessions() {
	unread := f.broken + f.long
	for _, n := range f.newer {
		unread += n
	}
	for _, n := range f.nodes {
		for _, s := range f.capture.nodes[n].sessions {
			if s.source == f.source && unread > 0 {
				s.unread = count(unread, "line") + " left out"
			}
		}
	}
}

// sumSessions warns of exports that end too early, and of what they lost.
func (f *file) sumSessions() {
	c, name := f.capture, f.capture.sources[f.source].Name
	cut := false
	for _, n := range f.nodes {
		for _, s := range c.nodes[n].sessions {
			switch {
			case s.source != f.source:
			case s.to == 0:
				cut = true
			case s.lost != "":
				c.warnf("%s: %s lost some of what it saw: %s", name, c.nodes[n].name, s.lost)
			}
		}
	}
	switch {
	case f.cut:
		c.warnf("%s: cut short in its last line (%s): what is whole is used", name, f.cutWhy)
	case cut:
		c.warnf("%s: cut short, or still being written: it has no stats at its end", name)
	}
}

// lossesOf says what an export lacks that was there to see; "" if nothing.
// What was not told of calls that returned (lost: return) leaves a verdict out,
// and no packet.
func lossesOf(j *statsJSON) string {
	var parts []string
	add := func(what string, n uint64) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", what, n))
		}
	}
	for _, what := range slices.Sorted(maps.Keys(j.Lost)) {
		if what != "return" {
			add(what, j.Lost[what])
		}
	}
	add("undecodable", j.Undecodable)
	add("cut", j.Cut)
	add("unwritten", j.Unwritten)
	return strings.Join(parts, ", ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
