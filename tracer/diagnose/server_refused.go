package diagnose

import (
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/tracer"
)

// byItself is within what time a server that refuses has asked nobody else, whom
// it got no answer from: no resolver gives up sooner.
const byItself = 100 * time.Millisecond

// serverRefused finds a server that is seen here, and refused by itself: it asked
// nobody upstream. What comes from afar may have any cause.
func serverRefused(c *Case) *tracer.Finding {
	if c.Outcome != tracer.OutcomeAnswered || c.Reply == nil || !c.Reply.Refuses() || c.asksUpstream() || c.failedBefore() != nil {
		return nil
	}
	in, out := c.Served()
	if in == nil || out.Time-in.Time > uint64(byItself) || c.ServerAsked || c.Question.Name == "" {
		return nil
	}
	_, takes, _ := c.sockets(in)
	if c.asksUnseen(in, takes) || c.asksElsewhere(out.NetNS, takes) {
		return nil
	}
	ns, rcode := c.NetNS(out.NetNS), dns.RcodeToString[c.Reply.Rcode]
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("the DNS server at %v in %s answers %s for %s, without asking upstream", in.Dst, ns.Name(), rcode, c.Question.Name),
		Evidence:   []string{fmt.Sprintf("its %s left %v after the query had come, and no query of its own (what it asks over TLS, or at other ports than --port, is not seen)", rcode, took(in, out))},
	}
	if c.Reply.Rcode == dns.RcodeServerFailure {
		f.Evidence = append(f.Evidence, "it was not seen to ask for this name before; what failed before the trace began it may remember, mostly for seconds")
	}
	if takes != nil {
		f.Evidence = append(f.Evidence, takes.String())
	}
	if c.Reply.Rcode == dns.RcodeRefused {
		f.Mend = []string{fmt.Sprintf("in the configuration of the DNS server in %s: where it is to ask for names like %s (forward, server=), and whether %s may ask it (acl, access-control)",
			ns.Name(), c.Question.Name, c.Client.Addr())}
	} else {
		f.Mend = []string{fmt.Sprintf("in the configuration of the DNS server in %s: where it is to ask for names like %s; CoreDNS without \"forward . /etc/resolv.conf\" does this",
			ns.Name(), c.Question.Name)}
	}
	f.Mend = append(f.Mend, logs(ns, takes))
	return f
}

// asksElsewhere reports whether a server is connected to another one whose packets
// are not observed: over TLS, or at a port of its own.
func (c *Case) asksElsewhere(netns uint32, server *Socket) bool {
	ns := c.NetNS(netns)
	sockets, _ := read(c, ns, "connections", ns.Unobserved)
	return slices.ContainsFunc(sockets, func(s Socket) bool {
		return server == nil || server.PID == 0 || s.PID == 0 || s.PID == server.PID
	})
}
