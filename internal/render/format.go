package render

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// duration writes ns with three digits that count.
func duration(ns uint64) string {
	switch d := time.Duration(ns); {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.1f µs", float64(ns)/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", float64(ns)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.2f ms", float64(ns)/1e6)
	default:
		return fmt.Sprintf("%.2f s", float64(ns)/1e9)
	}
}

// pad fills s up with spaces to width columns; to the left if width is negative.
func pad(s string, width int) string {
	fill := strings.Repeat(" ", max(0, max(width, -width)-utf8.RuneCountInString(s)))
	if width < 0 {
		return fill + s
	}
	return s + fill
}

// printable makes bytes of the network or of other programs safe for a
// terminal: what is not printable ASCII is escaped as in a Go string.
func printable(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			q := strconv.QuoteToASCII(s)
			return q[1 : len(q)-1]
		}
	}
	return s
}

// path is printable for texts of ours, which have arrows and microseconds in them
// between what others wrote.
func path(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexAny(s, "→µ")
		if i < 0 {
			b.WriteString(printable(s))
			return b.String()
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		b.WriteString(printable(s[:i]) + s[i:i+n])
		s = s[i+n:]
	}
}

// ANSI colours; paint leaves text as it is where none are wanted.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	reset  = "\x1b[0m"
)

func (t *Text) paint(color, s string) string {
	if !t.Color || color == "" || s == "" {
		return s
	}
	return color + s + reset
}
