package tracer

import "fmt"

// findQuote is find for an ICMP error: it belongs to the lookups whose packet it
// quotes.
func (c *Correlator) findQuote(e *Event) *legState {
	owners := c.quoted(e)
	if len(owners) == 0 {
		c.count.Stragglers++
		return nil
	}
	for _, leg := range owners[0].legs {
		if leg.carries(e) && (e.Freed != nil || !leg.again(e)) {
			return leg
		}
	}
	leg := &legState{response: !e.Response, quote: e.Quote}
	for _, l := range owners {
		c.hold(l, leg)
		for _, other := range l.legs {
			leg.attempt = max(leg.attempt, other.attempt)
		}
	}
	if leg.holders == 0 {
		return nil
	}
	return leg
}

// quoted returns the lookups that an ICMP error is about; over TCP those that
// the connection has not answered yet.
func (c *Correlator) quoted(e *Event) []*lookupState {
	if e.TCP != nil {
		if conn := c.conns[flowOf(e, Flow{e.Src, e.Dst})]; conn != nil {
			return conn.unanswered()
		}
		return nil
	}
	key := flowOf(e, Flow{e.Src, e.Dst})
	if e.Short || e.Nonlinear { // 8 bytes are all that must be quoted (RFC 792): ports and no DNS ID
		key.id, key.kind = 0, flowAny
	}
	if l := c.quotedBy(key, e); l != nil {
		return []*lookupState{l}
	}
	return nil
}

// quotedBy returns the lookup of a flow whose packet has the IP ID of the one
// that e quotes; without such, the only one that there is.
func (c *Correlator) quotedBy(key flowKey, e *Event) *lookupState {
	newest := c.flows[key]
	for l, n := newest, 0; l != nil && n < maxLegs; l, n = l.olderBy(key), n+1 {
		if l.hasDatagram(e) {
			return l
		}
	}
	if newest != nil && newest.olderBy(key) == nil {
		return newest
	}
	return nil
}

// unreachable reports whether the error says that the packet could not be
// delivered, and that another like it could not either.
func (q *Quote) unreachable() bool {
	if q.V6 {
		return q.Type == icmp6Unreachable
	}
	return q.Type == icmpUnreachable && q.Code != icmpFragNeeded
}

// refuses reports whether an ICMP error says that a query, or a SYN, could not be
// delivered: the drop that this node may have seen too is then no more than that.
func (l *legState) refuses(query *legState) bool {
	return l.quote.unreachable() && l.response && l.events[0].Time >= query.events[0].Time
}

// judgeQuotes judges by the newest ICMP error that somebody sent about a packet
// of the lookup; with a condition, of those that meet it.
func (l *lookupState) judgeQuotes(out *Lookup, condition func(*legState) bool) bool {
	for i := len(l.legs) - 1; i >= 0; i-- {
		leg := l.legs[i]
		if leg.quote == nil || condition != nil && !condition(leg) {
			continue
		}
		out.Outcome, out.Detail, l.decided = OutcomeRejected, leg.quoteDetail(out), leg.events[0].Time
		if first := leg.events[0]; first.Local || first.Hook == HookOutput {
			out.FateNetNS = first.NetNS
		}
		return true
	}
	return false
}

// judgeErrors judges by the newest ICMP error, with nothing else to judge by. To
// TCP, one that tells of a smaller MTU is no failure, unless it was not heard.
func (l *lookupState) judgeErrors(out *Lookup) bool {
	return l.judgeQuotes(out, func(q *legState) bool {
		return l.conn == nil || !q.quote.tooBig() || q.fate() != nil && len(out.Why) == 0
	})
}

// quoteDetail says who refused what, and whether that was heard.
func (l *legState) quoteDetail(out *Lookup) string {
	s := fmt.Sprintf("%s from %s", l.quote, l.quote.From)
	if !l.response {
		s = "the reply: " + s
	}
	if fate := l.fate(); fate != nil {
		s += fmt.Sprintf(", which was itself dropped: %s", out.describe(fate))
	}
	return s
}

// RFC 792, RFC 1191; RFC 4443.
const (
	icmpUnreachable  = 3
	icmpFragNeeded   = 4
	icmp6Unreachable = 1
	icmp6TooBig      = 2
)

// icmpNames are those of RFC 792, RFC 1122 section 3.2.2.1 and RFC 1812 section 5.2.7.1.
var icmpNames = map[ICMP]string{
	{3, 0}: "network unreachable", {3, 1}: "host unreachable", {3, 2}: "protocol unreachable",
	{3, 3}: "port unreachable", {3, 4}: "fragmentation needed", {3, 9}: "network prohibited",
	{3, 10}: "host prohibited", {3, 13}: "administratively prohibited",
	{11, 0}: "time to live exceeded", {11, 1}: "fragment reassembly time exceeded",
}

// icmp6Names are those of RFC 4443 section 3.
var icmp6Names = map[ICMP]string{
	{1, 0}: "no route to destination", {1, 1}: "administratively prohibited", {1, 3}: "address unreachable",
	{1, 4}: "port unreachable", {1, 5}: "source address failed policy", {1, 6}: "reject route",
	{2, 0}: "packet too big", {3, 0}: "hop limit exceeded", {3, 1}: "fragment reassembly time exceeded",
}

// String names the error.
func (i *ICMP) String() string { return icmpName(icmpNames, *i) }

// String names the error, and the MTU that it tells of.
func (q *Quote) String() string {
	s, names := "ICMP ", icmpNames
	if q.V6 {
		s, names = "ICMPv6 ", icmp6Names
	}
	s += icmpName(names, ICMP{q.Type, q.Code})
	if q.MTU > 0 {
		s += fmt.Sprintf(" (MTU %d)", q.MTU)
	}
	return s
}

func icmpName(names map[ICMP]string, i ICMP) string {
	if name, ok := names[i]; ok {
		return name
	}
	return fmt.Sprintf("type %d code %d", i.Type, i.Code)
}
