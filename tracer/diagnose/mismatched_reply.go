package diagnose

import (
	"fmt"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/tracer"
)

// mismatchedReply finds a lookup for which replies came, from the right address
// to the right port, that were none to its query.
func mismatchedReply(c *Case) *tracer.Finding {
	if c.Outcome != tracer.OutcomeLost || len(c.Strays) == 0 {
		return nil
	}
	first := &c.Strays[0]
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("the reply of %v has ID %d, the query had %d: the client ignores it", c.Server, first.Message.ID, c.DNSID),
	}
	if first.Message.ID == c.DNSID {
		f.Summary = fmt.Sprintf("the reply of %v is about %s, the query asked for %s: the client ignores it",
			c.Server, asks(first.Message), asks(c.Question))
	}
	for i := range c.Strays {
		s := &c.Strays[i]
		f.Evidence = append(f.Evidence, fmt.Sprintf("a reply with ID %d about %s was seen first at %s", s.Message.ID, asks(s.Message), c.At(&s.First)))
	}
	if h := &first.First; h.SentHere() {
		f.Mend = []string{fmt.Sprintf("in %s: see what answers at %v; it mixes up queries, or rewrites them", c.NetNS(h.NetNS).Name(), h.Src)}
	} else {
		f.Mend = []string{fmt.Sprintf("find who sent it: it came in by %s of %s; a proxy or firewall that answers for %s, or somebody who guesses IDs",
			h.Dev, c.NetNS(h.NetNS).Name(), h.Src.Addr())}
	}
	return f
}

// asks says what a message's question is.
func asks(m *tracer.Message) string { return fmt.Sprintf("%s %s", m.Name, dns.Type(m.Type)) }
