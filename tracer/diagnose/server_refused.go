package diagnose

import (
	"fmt"
	"strings"
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
	if c.Outcome != tracer.OutcomeAnswered || c.Reply == nil || !refuses(c.Reply) || c.asksUpstream() || c.failedBefore() != nil {
		return nil
	}
	in, out := c.served()
	if in == nil || out.Time-in.Time > uint64(byItself) || c.askedForIt(in, out) {
		return nil
	}
	_, takes, _ := c.sockets(in)
	if c.asksUnseen(in, takes) {
		return nil
	}
	ns, rcode := c.NetNS(out.NetNS), dns.RcodeToString[c.Reply.Rcode]
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("the DNS server at %v in %s answers %s for %s, without asking upstream", in.Dst, ns.Name(), rcode, c.Question.Name),
		Evidence:   []string{fmt.Sprintf("its %s left %v after the query had come, and no query of its own", rcode, took(in, out))},
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

// askedForIt reports whether the server sent a query while it had this one, which
// may have been for this one by another name, or had sent one for the same name
// before: it may remember the answer. Who but its client asked another server for the
// name meanwhile may have been this one too, by an address that is not known as its own.
func (c *Case) askedForIt(in, out *tracer.Hop) bool {
	for p := range c.history.all() {
		its := p.client.Addr() == in.Dst.Addr() || p.netns == in.NetNS && p.server != c.Server // a node-local cache asks from its node's address
		meanwhile := p.start >= in.Time && p.start <= out.Time
		same := strings.EqualFold(p.name, c.Question.Name)
		if its && (meanwhile || same) || meanwhile && same && p.server != c.Server && p.client.Addr() != c.Client.Addr() {
			return true
		}
	}
	return false
}

// served returns where a query came last in the namespace of its server, and the
// reply first; nil if the server is not seen here.
func (c *Case) served() (in, out *tracer.Hop) {
	for leg, h := range c.Hops() {
		if isMessage(leg) && leg.Response && h == &leg.Hops[0] {
			out = h
			break
		}
	}
	if out == nil || !sentHere(out) {
		return nil, nil
	}
	for leg, h := range c.Hops() {
		if isMessage(leg) && !leg.Response && h.NetNS == out.NetNS && h.Time <= out.Time && h.Drop == nil && h.Dst == out.Src {
			in = h
		}
	}
	return in, out
}
