package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// serverSilent finds a query that came to its server's socket, and no reply left.
// What the server asks upstream is the case of another rule, if that failed.
func serverSilent(c *Case) *tracer.Finding {
	if !c.Failed() || c.replied() || c.upstreamUnclear() || c.spokeLate() {
		return nil
	}
	leg, at := c.delivered()
	if at == nil {
		leg, at = c.waitsUnseen()
	}
	if at == nil {
		return nil
	}
	purged := unread(leg)
	if c.Outcome != tracer.OutcomeLost && purged == nil {
		return nil
	}
	ns := c.NetNS(at.NetNS)
	_, takes, _ := c.sockets(at)
	if purged == nil && (c.asksUnseen(at, takes) || c.oneOfMany()) && (takes == nil || takes.Queue == 0) {
		return nil
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("the DNS server at %v in %s got the query and sent no reply", at.Dst, ns.Name()),
	}
	c.silence(f, leg, at, takes)
	if purged != nil {
		f.Summary = fmt.Sprintf("the DNS server at %v in %s ended before it had read the query", at.Dst, ns.Name())
		f.Evidence = append(f.Evidence, fmt.Sprintf("its socket was closed with the query in it: %s", dropText(purged)))
	}
	f.Mend = []string{logs(ns, takes)}
	if failed := c.failedConnections(at.NetNS, takes); failed != "" {
		f.Evidence = append(f.Evidence, failed)
		f.Mend = []string{"see to its connections that fail first: their lookups, without a question, say why", "or " + logs(ns, takes)}
	}
	return f
}

// waitsUnseen returns a query that came to its server's namespace, was not dropped
// there, and whose server leaves datagrams in its socket; nil if it is not so. That
// is what remains to be seen where the delivery to sockets is not: on 5.10 by
// tracepoints.
func (c *Case) waitsUnseen() (*tracer.Leg, *tracer.Hop) {
	leg, at := c.last()
	if at == nil || !leg.IsMessage() || leg.Response || at.Name != "rx" || at.Tunnel != nil || at.Drop != nil || c.Transport != tracer.TransportUDP {
		return nil, nil
	}
	if c.ownAddr(c.NetNS(at.NetNS), at.Dst.Addr()) == nil {
		return nil, nil
	}
	if _, takes, _ := c.sockets(at); takes == nil || takes.Queue == 0 {
		return nil, nil
	}
	return leg, at
}

// silence tells how far the query came with the server, and what that did meanwhile.
func (c *Case) silence(f *tracer.Finding, leg *tracer.Leg, at *tracer.Hop, takes *Socket) {
	switch {
	case at.Name == "read" && at.PID != 0:
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s[%d] read the %s; no reply was seen", at.Comm, at.PID, legName(leg)))
	case at.Name == "read":
		f.Evidence = append(f.Evidence, fmt.Sprintf("the %s was read from the server's socket; no reply was seen", legName(leg)))
	case at.Name == "rx":
		f.Evidence = append(f.Evidence, fmt.Sprintf("the %s came in at %s, and nothing dropped it there; no reply was seen", legName(leg), c.At(at)))
	default:
		f.Evidence = append(f.Evidence, fmt.Sprintf("the %s was queued to the server's socket; no reply was seen", legName(leg)))
	}
	switch {
	case takes == nil:
	case takes.Queue > 0 && at.Name != "read":
		f.Confidence = tracer.ConfidenceConfirmed
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s does not take what comes: %s", takes.who(), takes.waits()))
	default:
		f.Evidence = append(f.Evidence, takes.String())
	}
	if n := c.answeredUpstream(); n > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("it had asked upstream, and got %d answers", n))
	}
}

// purgedIn are the functions that empty the queue of a socket that is closed,
// which have given a reason since 6.3 (net/ipv4/udp.c, net/ipv4/af_inet.c).
var purgedIn = map[string]bool{"udp_destruct_common": true, "udp_destruct_sock": true, "inet_sock_destruct": true}

// unread returns the drop of a query whose socket was closed before the query was
// read (skb_queue_purge and its like), or nil.
func unread(leg *tracer.Leg) *tracer.Hop {
	for i := range leg.Hops {
		h := &leg.Hops[i]
		if h.Drop == nil {
			continue
		}
		if reason(h) == "QUEUE_PURGE" && !flushedWith[h.Drop.Function] || unsaid(h) && purgedIn[h.Drop.Function] {
			return h
		}
	}
	return nil
}
