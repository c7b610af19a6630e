package render

import (
	"fmt"
	"strconv"
	"time"
)

// where says in which namespace a hop was and, in a record of several exports,
// on which node.
func where(h *Hop) string {
	name := printable(h.NetNSName)
	if name == "" {
		name = "netns:" + strconv.FormatUint(uint64(h.NetNS), 10)
	}
	if h.Node == "" || h.Node == h.NetNSName {
		return name
	}
	return printable(h.Node) + "/" + name
}

// wireRow is the line of the way from one node to the next.
func wireRow(h *Hop) row {
	r := row{at: h.TNS, what: h.Hop, color: dim, detail: printable(h.Wire.From) + " → " + printable(h.Wire.To)}
	if h.Wire.LatencyNS == nil || h.Wire.ErrorNS == nil || h.Wire.OffsetNS == nil {
		r.detail += " (clock offset unknown)"
		return r
	}
	r.sign = "+"
	r.detail += fmt.Sprintf(" (± %s, clock offset %s)", duration(*h.Wire.ErrorNS), Offset(*h.Wire.OffsetNS))
	return r
}

// Offset writes ns with a sign.
func Offset(ns int64) string {
	sign, abs := "+", uint64(ns)
	if ns < 0 {
		sign, abs = "-", -uint64(ns)
	}
	if abs >= uint64(time.Minute) {
		return sign + time.Duration(abs).Round(time.Second).String()
	}
	return sign + duration(abs)
}

// Duration writes ns as text does: three digits that count.
func Duration(ns uint64) string { return duration(ns) }

// Printable makes bytes of others safe for a terminal, as text does, but for
// the arrows and the like that dnspath itself writes.
func Printable(s string) string { return path(s) }
