package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// How many lookups of a client must have failed over one transport, and been
// answered over the other, for the transport to be what is wrong: two in a row fail
// by chance now and then where packets are lost.
const (
	enoughFailed   = 4
	enoughAnswered = 2
)

// tcpOnlyFails and udpOnlyFails find a client and a server between which one
// transport fails, whenever it is tried, and the other works.
func tcpOnlyFails(c *Case) *tracer.Finding { return c.onlyFails(tracer.TransportTCP) }
func udpOnlyFails(c *Case) *tracer.Finding { return c.onlyFails(tracer.TransportUDP) }

func (c *Case) onlyFails(transport tracer.Transport) *tracer.Finding {
	if !c.Failed() || c.Transport != transport {
		return nil
	}
	var over, other tally
	over.add(true)
	for p := range c.history.all() {
		if p.client.Addr() != c.Client.Addr() || p.server != c.Server || p.end+transportMemory < c.End || !p.counts() {
			continue
		}
		if p.transport == transport {
			over.add(p.failed())
		} else {
			other.add(p.failed())
		}
	}
	if over.failed < over.of || over.of < enoughFailed || other.failed > 0 || other.of < enoughAnswered {
		return nil
	}
	bad, good, flag := "TCP", "UDP", "+tcp"
	if transport == tracer.TransportUDP {
		bad, good, flag = good, bad, "+notcp"
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceLikely,
		Summary:    fmt.Sprintf("between %s and %v %s fails and %s works", c.Client.Addr(), c.Server, bad, good),
		Evidence:   []string{fmt.Sprintf("of the last minute's lookups, %v fail over %s, %v over %s", over, bad, other, good)},
		Mend:       []string{fmt.Sprintf("let %s to port %d pass as %s does: policies and firewalls on the way, the node of %s first", bad, c.Server.Port(), good, c.to().Addr())},
	}
	if leg, h := c.last(); h != nil {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the %s was seen last at %s", legName(leg), c.At(h)))
	}
	f.Mend = append(f.Mend, fmt.Sprintf("see that the server listens: dig %s @%s", flag, c.to().Addr()))
	return f
}
