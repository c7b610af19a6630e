package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// truncatedNoTCP finds a lookup over TCP that failed, and was made since the
// answer over UDP was truncated: large answers can't be had. Why TCP fails, other
// findings tell.
func truncatedNoTCP(c *Case) *tracer.Finding {
	if !c.Failed() || c.Transport != tracer.TransportTCP {
		return nil
	}
	for _, link := range c.Links {
		if link.Kind != tracer.LinkTruncationOf {
			continue
		}
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Summary:    fmt.Sprintf("%v truncates its answer over UDP, and TCP, where all of it could be had, fails", c.Server),
			Evidence:   []string{"over TCP: " + ending(c.Lookup)},
			Mend: []string{
				"let TCP to port 53 pass wherever UDP to port 53 may",
				"until then, a client that takes more over UDP: options edns0 in resolv.conf, or EDNS of 1232 bytes",
			},
		}
		if udp := c.truncated(link.Ref); udp != "" {
			f.Evidence = append([]string{udp}, f.Evidence...)
		}
		return f
	}
	return nil
}

// truncated tells of the lookup over UDP; "" if it is not known any more.
func (c *Case) truncated(ref tracer.Ref) string {
	const text = "over UDP: the answer for %s was truncated to %d bytes (TC)"
	for _, l := range c.story {
		if l.Ref() == ref {
			return fmt.Sprintf(text, l.Question.Name, l.ReplyLen)
		}
	}
	if p := c.history.find(ref); p != nil {
		return fmt.Sprintf(text, p.name, p.replyLen)
	}
	return ""
}
