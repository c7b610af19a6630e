package capture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

// Source is a file to read. It is read twice.
type Source struct {
	Name string
	Data io.ReaderAt
	Size int64
}

// Capture is an index of exports.
type Capture struct {
	sources  []Source
	nodes    []*node
	byName   map[string]int
	names    map[string]string // interned
	lookups  []*lookup
	warnings []string
	usable   int
}

// node is a machine that was observed.
type node struct {
	name     string
	sessions []*session
	records  uint64
}

// session is one run of dnspath on a node: from its start record to its stats.
type session struct {
	source      int
	from, to    int64 // wall clock of the node, ns; to is 0 while no stats have come
	selection   []string
	selected    bool   // selection is known
	started     bool   // it has a start record
	lost        string // what the tool lost
	unread      string // what of the file could not be read
	first, last int64  // of the lookups in it
}

// Read makes an index of exports. What is wrong with them becomes warnings, and
// the rest is used; the error wraps ErrNoExport if there is no rest.
func Read(sources []Source) (*Capture, error) {
	c := &Capture{sources: sources, byName: map[string]int{}, names: map[string]string{}}
	for i := range sources {
		f := &file{capture: c, source: i, open: map[int]*session{}, newer: map[int]int{}}
		if err := f.read(); err != nil {
			return nil, fmt.Errorf("read %s: %w", sources[i].Name, err)
		}
		f.sum()
	}
	if c.usable == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoExport, c.warnings[0])
	}
	c.dropTwice()
	return c, nil
}

// Warnings says what was wrong with the exports, one thing each.
func (c *Capture) Warnings() []string { return c.warnings }

func (c *Capture) warnf(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

func (c *Capture) intern(s string) string {
	if known, ok := c.names[s]; ok {
		return known
	}
	c.names[s] = s
	return s
}

// file is one source while it is read.
type file struct {
	capture *Capture
	source  int
	open    map[int]*session // by node
	records int
	nodes   []int // in order of appearance

	newer     map[int]int // schema to records
	broken    int
	brokenAt  int
	brokenWhy string
	long      int
	cut       bool // in the last line
	cutWhy    string
}

func (f *file) read() error {
	src := f.capture.sources[f.source]
	lines := newLineReader(io.NewSectionReader(src.Data, 0, src.Size))
	for {
		l, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if l.text == nil {
			f.long++
			continue
		}
		err = f.take(l)
		switch {
		case err == nil:
			f.records++
		case errors.Is(err, errNewer):
		case !l.ended:
			f.cut, f.cutWhy = true, err.Error()
		default:
			if f.broken++; f.broken == 1 {
				f.brokenAt, f.brokenWhy = l.number, err.Error()
			}
		}
	}
}

// Records begin so, as dnspath writes them: the many need not be read twice.
var (
	lookupHead = fmt.Appendf(nil, `{"type":"lookup","schema":%d,`, render.SchemaVersion)
	eventHead  = fmt.Appendf(nil, `{"type":"event","schema":%d,`, render.SchemaVersion)
)

func (f *file) take(l line) error {
	switch {
	case bytes.HasPrefix(l.text, eventHead):
		if l.ended || json.Valid(l.text) {
			return nil
		}
		return errNotRecord
	case bytes.HasPrefix(l.text, lookupHead):
		return f.takeLookup(l)
	}
	head, err := headOf(l.text)
	if errors.Is(err, errNewer) {
		f.newer[*head.Schema]++
	}
	if err != nil {
		return err
	}
	switch head.Type {
	case "lookup":
		return f.takeLookup(l)
	case "start":
		return f.takeStart(l.text)
	case "stats":
		return f.takeStats(l.text)
	}
	return nil // a kind that may have been added, or of no use here
}

func (f *file) takeLookup(l line) error {
	got, name, err := parseLookup(l.text)
	if err != nil {
		return err
	}
	c := f.capture
	got.source, got.offset, got.length = f.source, l.offset, len(l.text)
	got.name, got.qtype, got.outcome, got.story = c.intern(got.name), c.intern(got.qtype), c.intern(got.outcome), c.intern(got.story)
	got.node = f.node(name)
	s := f.session(got.node)
	if s.first == 0 {
		s.first = got.start
	}
	s.first, s.last = min(s.first, got.start), max(s.last, got.end)
	c.lookups = append(c.lookups, got)
	return nil
}

// node returns the number of a node, new or known.
func (f *file) node(name string) int {
	c := f.capture
	n, ok := c.byName[name]
	if !ok {
		n = len(c.nodes)
		c.byName[name] = n
		c.nodes = append(c.nodes, &node{name: name})
	}
	if _, ok := f.open[n]; !ok {
		f.open[n] = nil
		f.nodes = append(f.nodes, n)
	}
	return n
}

// session returns the one that a node's records belong to now.
func (f *file) session(n int) *session {
	if f.open[n] == nil {
		f.begin(n, &session{source: f.source})
	}
	return f.open[n]
}

func (f *file) begin(n int, s *session) {
	f.open[n] = s
	f.capture.nodes[n].sessions = append(f.capture.nodes[n].sessions, s)
}

func (f *file) takeStart(text []byte) error {
	var j startJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	f.begin(f.node(j.Node), &session{
		source: f.source, from: nanos(j.Time), started: true, selection: j.Selection, selected: j.Selection != nil,
	})
	return nil
}

func (f *file) takeStats(text []byte) error {
	var j statsJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	n := f.node(j.Node)
	s := f.session(n)
	s.to, s.lost = nanos(j.Time), lossesOf(&j)
	f.open[n] = nil // what follows is another session
	return nil
}

// nanos is a time in ns since 1970, within what 64 bits hold.
func nanos(t time.Time) int64 {
	if t.Year() < 1970 || t.Year() > 2200 {
		return 0
	}
	return t.UnixNano()
}
