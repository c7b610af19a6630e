package render

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dnspath/dnspath/tracer"
)

// Text writes records for people. It is not safe for concurrent use: it knows
// which story it is in.
type Text struct {
	Color   bool
	Width   int  // columns of the terminal; 0 unknown: lines are not folded
	AllLegs bool // each segment of TCP, those too that open and close a connection as they should

	story  string
	depths map[string]int // of the story's lookups, by ID
}

// narrow is the width under which a hop's details get a line of their own.
const narrow = 100

// Write writes a lookup: a line that says how it ended, then its legs, hop by
// hop, each with the time since the hop before. Before the first lookup of a
// story goes a line about the story, whose lookups are indented.
func (t *Text) Write(w io.Writer, r *Record) error {
	var b, story bytes.Buffer
	depth := t.enter(&story, r)
	t.headline(&b, r)
	for legs := r.Legs; len(legs) > 0; {
		if n := r.routine(legs); n > 0 && !t.AllLegs {
			b.WriteString(t.routineText(legs[:n]))
			legs = legs[n:]
			continue
		}
		t.leg(&b, r, legs[0])
		legs = legs[1:]
	}
	for _, why := range r.Why {
		fmt.Fprintf(&b, "  %s %s\n", t.paint(yellow, "incomplete:"), printable(why))
	}
	t.findings(&b, r.Findings)
	b.WriteByte('\n')
	_, err := w.Write(append(story.Bytes(), indented(b.Bytes(), indent*depth)...))
	return err
}

// indent is the columns by which a story's lookups are indented, and what they
// caused once more.
const indent = 2

func (t *Text) headline(b *bytes.Buffer, r *Record) {
	mark, color := "✗", red
	switch {
	case r.Outcome == "answered" && r.Rcode == "NOERROR" && r.Defect == "":
		mark, color = "✓", green
	case r.Outcome == "answered", r.Outcome == "incomplete":
		mark, color = "!", yellow
	}
	name := "(no question)"
	if r.Name != "" {
		name = printable(r.Name) + " " + r.QType
	}
	fmt.Fprintf(b, "%s %s  %s  %s\n", t.paint(color, mark), t.paint(dim, r.Time.Local().Format("15:04:05.000000")),
		t.paint(bold, name), t.paint(color, outcome(r)))
	fmt.Fprintf(b, "  %s", who(r.Client))
	if r.Server != nil {
		fmt.Fprintf(b, " asked %s", r.Server)
	}
	if r.Backend != nil {
		fmt.Fprintf(b, ", that is %s", r.Backend)
	}
	if r.Transport == "tcp" {
		b.WriteString(", over TCP")
	}
	if r.Transport != "tcp" || r.Name != "" || r.DNSID != 0 { // else no message of the connection was seen
		fmt.Fprintf(b, "; ID %d", r.DNSID)
	}
	b.WriteString(sentText(r) + sizeText(r) + "\n")
	t.linksText(b, r)
	if r.Defect != "" {
		fmt.Fprintf(b, "  %s %s\n", t.paint(yellow, "malformed:"), printable(r.Defect))
	}
}

// plainSize is how long a reply over UDP may be without EDNS (RFC 1035 section 4.2.1).
const plainSize = 512

// sizeText tells of the sizes if they may matter: the reply was truncated, or is large.
func sizeText(r *Record) string {
	if r.Transport != "udp" || r.ReplySize == 0 || !r.Truncated && r.ReplySize <= plainSize {
		return ""
	}
	s := fmt.Sprintf("; the reply has %d bytes, ", r.ReplySize)
	if r.EDNSSize == 0 {
		return s + "the client sent no EDNS"
	}
	return s + fmt.Sprintf("the client takes %d", r.EDNSSize)
}

// outcome says in one phrase how it ended.
func outcome(r *Record) string {
	if r.Outcome != "answered" {
		if r.Detail == "" {
			return r.Outcome
		}
		return r.Outcome + ": " + path(r.Detail)
	}
	s := "answered"
	if r.Rcode != "" {
		s += " " + r.Rcode
	}
	if len(r.Answers) > 0 {
		s += " " + strings.Join(r.Answers, ", ")
	}
	if r.Truncated {
		s += " (truncated)"
	}
	return s + " in " + duration(r.LatencyNS)
}

func who(c Client) string {
	name := c.Pod
	if name == "" {
		name = c.NetNSName
	}
	s := c.String()
	if c.Process != "" {
		s += fmt.Sprintf(" (%s[%d])", printable(c.Process), c.PID)
	}
	if name != "" {
		s = printable(name) + " " + s
	}
	return s
}

// String writes an address as usual: 192.0.2.1:53, [2001:db8::1]:53.
func (e Endpoint) String() string {
	if !e.Addr.IsValid() {
		return "unknown"
	}
	if e.Addr.Is6() {
		return fmt.Sprintf("[%s]:%d", e.Addr, e.Port)
	}
	return fmt.Sprintf("%s:%d", e.Addr, e.Port)
}

// row is a line of a leg: a hop, or several hooks that changed nothing.
type row struct {
	at     uint64
	sign   string // of the time since the row before: + after, ≤ after at most; "" unknown
	where  string // namespace
	place  string // device or hook
	what   string
	detail string
	color  string
	rules  []string // what nftables did there, a line for each base chain
}

func (t *Text) leg(b *bytes.Buffer, r *Record, leg Leg) {
	title := leg.title(r.Attempts)
	if len(leg.Hops) > 0 && leg.ICMP == nil {
		title += fmt.Sprintf("  %s → %s", leg.Hops[0].Src, leg.Hops[0].Dst)
	}
	fmt.Fprintf(b, "  %s\n", t.paint(bold, title))
	rows := rowsOf(leg.Hops)
	var where, place, what int
	for _, row := range rows {
		where = max(where, utf8.RuneCountInString(row.where))
		place = max(place, utf8.RuneCountInString(row.place))
		what = max(what, utf8.RuneCountInString(row.what))
	}
	last := uint64(0)
	if len(leg.Hops) > 0 {
		last = leg.Hops[0].TNS
	}
	for i, row := range rows {
		if left := len(rows) - rowsShown; left > 0 && i >= rowsBegin && i < rowsBegin+left {
			if last = row.at; i == rowsBegin {
				fmt.Fprintf(b, "          …  %d lines more, which -o json has\n", left)
			}
			continue
		}
		delta := row.sign + duration(row.at-min(last, row.at))
		if row.sign == "" {
			delta = "?"
		}
		last = row.at
		fmt.Fprintf(b, "  %s  %s  %s  %s", t.paint(dim, pad(delta, -9)), pad(row.where, where), pad(row.place, place),
			t.paint(row.color, row.what))
		switch {
		case row.detail == "":
		case t.Width > 0 && t.Width < narrow:
			fmt.Fprintf(b, "\n                 %s", t.paint(row.color, row.detail))
		default:
			fmt.Fprintf(b, "%s  %s", pad("", what-utf8.RuneCountInString(row.what)), t.paint(row.color, row.detail))
		}
		b.WriteByte('\n')
		for _, line := range row.rules {
			fmt.Fprintf(b, "             %s\n", t.paint(dim, line))
		}
	}
}

// rowsShown is how many lines of a packet's way are shown, and rowsBegin how many of
// them before those that are left out. The longest way through two nodes has some
// seventy; a packet in a routing loop has a thousand.
const (
	rowsShown = 120
	rowsBegin = 80
)

// rowsOf makes lines of hops: those in netfilter, one after the other, that
// changed nothing share one, hook by hook.
func rowsOf(hops []Hop) []row {
	var rows []row
	for i := range hops {
		h := &hops[i]
		if resumes(hops, i) {
			rows = append(rows, rowOf(h))
			rows[len(rows)-1].detail = "passed on the bridge before"
			continue
		}
		if i == 0 || !passes(h) || resumes(hops, i-1) || !passes(&hops[i-1]) || hops[i-1].NetNS != h.NetNS || (hops[i-1].Tunnel == nil) != (h.Tunnel == nil) {
			rows = append(rows, rowOf(h))
			continue
		}
		last, text := &rows[len(rows)-1], passedText(h)
		switch {
		case hops[i-1].Hook == h.Hook && text == "":
		case hops[i-1].Hook == h.Hook:
			last.detail = join(last.detail, text)
		case text == "" && last.detail == "":
			last.place += " " + h.Hook
		default:
			rows = append(rows, rowOf(h))
			continue
		}
		last.rules = append(last.rules, rulesText(h)...)
	}
	return rows
}

// join adds to a list; of iptables' tables, the tool is named once.
func join(list, item string) string {
	if list == "" {
		return item
	}
	parts := strings.Split(list, ", ")
	if tool, table, ok := strings.Cut(item, " "); ok && strings.HasSuffix(tool, "tables") {
		for i := len(parts) - 1; i >= 0 && tool != "nftables"; i-- {
			if strings.HasPrefix(parts[i], tool+" ") {
				return list + ", " + table
			}
		}
	}
	return list + ", " + item
}

func rowOf(h *Hop) row {
	if h.Wire != nil {
		return wireRow(h)
	}
	r := row{at: h.TNS, sign: "+", where: where(h), place: printable(h.Dev), what: h.Hop, rules: rulesText(h)}
	var details []string
	switch {
	case h.Drop != nil:
		r.color, r.what = red, "DROP"
		if h.Hop != "drop" {
			r.what = h.Hop
		}
		details = append(details, dropText(h.Drop))
	case h.ICMP != nil:
		r.color = red
		details = append(details, h.ICMP.Meaning)
	case passes(h):
		r.place, r.what, r.color = h.Hook, "hook", dim
		details = append(details, functionText(h))
	case h.Hook != "":
		r.place = h.Hook
		if h.Change == nil {
			r.color = yellow
			details = append(details, functionText(h))
		}
	case named[h.Layer]:
		details = append(details, strings.TrimSpace(h.Probe+" "+functionText(h)))
	default:
		details = append(details, functionText(h))
	}
	if h.Hop == "output" && h.Route != nil {
		r.place = printable(h.Route.Dev)
	}
	if h.Layer == "socket" && h.Drop == nil {
		r.place = "socket"
		if h.Hop == "socket" {
			r.what = "queued"
		}
	}
	if (h.Hop == "read" || h.Hop == "send") && h.Process != "" {
		details = append(details, fmt.Sprintf("by %s[%d]", printable(h.Process), h.PID))
	}
	if h.Inferred {
		r.sign = "≤"
		details = append(details, "inferred: freed by way of its socket")
	}
	if h.Queued {
		details = append(details, "queued, not seen to reach the driver")
	}
	if h.Change != nil {
		if r.color == "" {
			r.color = cyan
		}
		details = append(details, changeText(h, h.Change))
		for i := range h.Changes {
			details = append(details, changeText(h, &h.Changes[i]))
		}
	}
	if broken := brokenText(h); broken != "" {
		r.color = red
		details = append(details, broken)
	}
	details = slices.DeleteFunc(details, func(s string) bool { return s == "" })
	r.detail = strings.Join(details, "; ")
	return r
}

func dropText(d *Drop) string {
	what := tracer.Drop{Reason: d.Reason, Function: d.Function, Meaning: d.Meaning, Hook: tracer.Hook(d.Hook)}
	s := printable(what.String())
	switch {
	case d.Confirm:
		s += ", past the rules of " + d.Hook + ": at conntrack's confirmation"
	case d.Hook != "":
		s += ", in hook " + d.Hook
	}
	if d.Errno != 0 {
		s += fmt.Sprintf(" (errno %d)", d.Errno)
	}
	if d.By.Name != "" {
		s += "," + byText(d.By)
	}
	return s
}

// byText says what did something, and marks what was concluded.
func byText(b By) string {
	s := " by " + path(b.Name)
	if b.Rule != "" {
		s += ": " + printable(b.Rule)
	}
	if b.How == "inferred" {
		s += " (inferred)"
	}
	return s
}

func changeText(h *Hop, c *Change) string {
	switch {
	case c.Kind == "encap" && h.Tunnel != nil:
		return "encapsulated: " + tunnelText(h.Tunnel)
	case c.Kind == "decap":
		return "decapsulated"
	}
	s := fmt.Sprintf("%s %s → %s", strings.ToUpper(c.Kind), c.From, c.To)
	if c.Hook != "" && c.How == "inferred" {
		s += " (at " + c.Hook + ", inferred)"
	}
	// That it was netfilter's NAT says no more than the hook does.
	if c.By.Name != "" && c.By.Name != byConntrack {
		s += byText(By{Name: c.By.Name, How: c.By.How}) // the rule's text would say the same again
	}
	return s
}

func tunnelText(t *Tunnel) string {
	s := t.Kind
	if t.VNI != 0 {
		s += fmt.Sprintf(", VNI %d", t.VNI)
	}
	s += fmt.Sprintf(", %s → %s", t.Src, t.Dst)
	if t.In != nil {
		s += ", in " + tunnelText(t.In)
	}
	return s
}
