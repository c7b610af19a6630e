package diagnose

import (
	"fmt"
	"slices"

	"github.com/dnspath/dnspath/tracer"
)

// maxOwed bounds how many lookups are told that wait for a connection, maybe.
const maxOwed = 3

// ofServer tells of a connection that failed before it carried a question whether
// it was a DNS server that tried to connect, and what it owed its clients then. The
// question, which would tie it to one of them, was never sent; a server connects for
// reasons of its own too, as CoreDNS does to see whether its upstream is back: so
// that they are told together, and none is said to be the cause.
func (c *Case) ofServer() []string {
	if c.Transport != tracer.TransportTCP || c.Question.Name != "" || c.PID == 0 || !c.Failed() {
		return nil
	}
	ns := c.NetNS(c.Lookup.NetNS)
	all, err := ns.Sockets()
	if err != nil {
		return nil
	}
	own := slices.DeleteFunc(slices.Clone(all), func(s Socket) bool { return s.PID != int(c.PID) })
	if len(own) == 0 {
		return nil
	}
	lines := []string{fmt.Sprintf("who tried to connect is itself a DNS server: %s", own[0].String())}
	for p := range c.history.all() {
		if len(lines) > maxOwed {
			break
		}
		if p.servedIn == c.Lookup.NetNS && p.owedAt(c.Start) && slices.ContainsFunc(own, func(s Socket) bool { return s.serves(p) }) {
			lines = append(lines, fmt.Sprintf("at that time it had the query of %v for %s, which it did not answer", p.client, p.name))
		}
	}
	return lines
}

// owedAt reports whether a lookup waited in vain for its answer at a time.
func (p *past) owedAt(at uint64) bool {
	return p.outcome == tracer.OutcomeLost && p.replyLen == 0 && p.name != "" && p.start <= at && at <= p.end+p.waited
}

// serves reports whether a socket took the query of a lookup.
func (s *Socket) serves(p *past) bool {
	return s.Transport == p.transport && s.Addr.Port() == p.backend.Port() && s.listensOn(&tracer.Hop{Dst: p.backend})
}

// failedConnections tells of a server which of its own connections to others failed
// within the last minute, before they carried a question; empty if none is known.
func (c *Case) failedConnections(netns uint32, server *Socket) string {
	if server == nil || server.PID == 0 {
		return ""
	}
	var n int
	var last *past // the newest
	for p := range c.history.all() {
		own := p.name == "" && p.transport == tracer.TransportTCP && p.failed() && p.netns == netns && p.pid == uint32(server.PID)
		if !own || p.end+transportMemory < c.Start {
			continue
		}
		if n++; last == nil {
			last = p
		}
	}
	if last == nil {
		return ""
	}
	line := fmt.Sprintf("of its own connections %d failed in the last minute, to %v", n, last.server)
	for _, f := range last.findings {
		if f.ID != Unexplained {
			line += fmt.Sprintf(", by %s: %s", f.ID, f.Summary)
			break
		}
	}
	return line
}
