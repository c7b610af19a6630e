package render

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dnspath/dnspath/tracer/diagnose"
)

// CheckRecord is what dnspath check found.
type CheckRecord struct {
	Type   string    `json:"type"` // "check"
	Schema int       `json:"schema"`
	Node   string    `json:"node"`
	Time   time.Time `json:"time"`
	Client string    `json:"client_netns"`
	Router string    `json:"node_netns"` // that translates and routes
	Checks []Check   `json:"checks"`
}

// Check is something that a query would meet.
type Check struct {
	Server    string   `json:"server,omitempty"` // absent: the same for all
	Transport string   `json:"transport,omitempty"`
	What      string   `json:"what"`
	Status    string   `json:"status"` // ok, warn, fail, unknown
	Detail    string   `json:"detail"`
	Finding   string   `json:"finding,omitempty"` // ID
	Mend      []string `json:"mend,omitempty"`
}

// NewCheckRecord makes a record of checks.
func NewCheckRecord(node string, at time.Time, client, router string, checks []diagnose.Check) *CheckRecord {
	r := &CheckRecord{Type: "check", Schema: SchemaVersion, Node: node, Time: at.UTC(), Client: client, Router: router, Checks: []Check{}}
	for _, c := range checks {
		v := Check{Transport: string(c.Transport), What: c.What, Status: string(c.Status), Detail: c.Detail, Finding: c.Finding, Mend: c.Mend}
		if c.Server.IsValid() {
			v.Server = c.Server.String()
		}
		r.Checks = append(r.Checks, v)
	}
	return r
}

// Failed reports whether lookups fail by what was found.
func (r *CheckRecord) Failed() bool { return r.count(diagnose.StatusFail) > 0 }

func (r *CheckRecord) count(s diagnose.Status) (n int) {
	for _, c := range r.Checks {
		if c.Status == string(s) {
			n++
		}
	}
	return n
}

// checkMarks are the marks of statuses, and their colours.
var checkMarks = map[string][2]string{"ok": {"✓", green}, "warn": {"!", yellow}, "fail": {"✗", red}, "unknown": {"?", yellow}}

// WriteCheck writes a table of checks, by server, each that is not well with its
// finding and what mends it.
func (t *Text) WriteCheck(w io.Writer, r *CheckRecord) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "lookups of %s, by way of %s\n", printable(r.Client), printable(r.Router))
	for checks := r.Checks; len(checks) > 0; {
		n := 1
		for n < len(checks) && checks[n].Server == checks[0].Server && checks[n].Transport == checks[0].Transport {
			n++
		}
		t.checkGroup(&b, checks[:n])
		checks = checks[n:]
	}
	fmt.Fprintf(&b, "\n%d well, %d doubtful, %d broken, %d not known\n",
		r.count(diagnose.StatusOK), r.count(diagnose.StatusWarn), r.count(diagnose.StatusFail), r.count(diagnose.StatusUnknown))
	_, err := w.Write(b.Bytes())
	return err
}

// checkGroup writes the checks on the way to one server.
func (t *Text) checkGroup(b *bytes.Buffer, checks []Check) {
	title := "all servers"
	if checks[0].Server != "" {
		title = checks[0].Server + " over " + strings.ToUpper(checks[0].Transport)
	}
	fmt.Fprintf(b, "\n%s\n", t.paint(bold, title))
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, c := range checks {
		fmt.Fprintf(tw, "%s\t%s\n", c.What, path(c.Detail))
	}
	tw.Flush()
	lines := strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n")
	for i, c := range checks {
		mark := checkMarks[c.Status]
		fmt.Fprintf(b, "  %s %s\n", t.paint(mark[1], mark[0]), lines[i])
		if c.Finding == "" {
			continue
		}
		fmt.Fprintf(b, "      %s\n", t.paint(bold, c.Finding))
		for _, m := range c.Mend {
			fmt.Fprintf(b, "      %s %s\n", t.paint(green, "mend:"), path(m))
		}
	}
}
