package tracer

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// The relations of a lookup to earlier ones of the same client, which are in
// stories.near, the newest first. If several could be the other one, none is.

// siblingTypes are what clients ask for together: addresses, and how to use them
// (RFC 9460).
var siblingTypes = map[uint16]bool{dns.TypeA: true, dns.TypeAAAA: true, dns.TypeHTTPS: true, dns.TypeSVCB: true}

// twins ties m to the same question at another server, from the same socket at
// the same time: musl asks all servers at once.
func (s *stories) twins(m *member) {
	for _, o := range s.near {
		same := o.question == m.question && o.port == m.port && o.id == m.id && m.local
		if same && o.server != m.server && apart(o.start, m.start) < soonestTry {
			s.bind(m, o, LinkSibling, HowSeen)
		}
	}
}

// siblings ties m to those that ask for other types of the same name.
func (s *stories) siblings(m *member) {
	if !siblingTypes[m.qtype] {
		return
	}
	var group, sure []*member
	for _, o := range s.near {
		if o.name != m.name || o.qtype == m.qtype || !siblingTypes[o.qtype] || apart(o.start, m.start) > nearby || o.hasSibling(m.qtype) {
			continue
		}
		group = append(group, o)
		if o.port == m.port && o.server == m.server {
			sure = append(sure, o)
		}
	}
	if sure != nil {
		group = sure
	}
	for _, o := range group {
		if o != group[0] && !o.hasSibling(group[0].qtype) {
			return // two lookups that are none of each other
		}
	}
	for _, o := range group {
		how := ""
		if sure != nil {
			how = HowSeen
		}
		s.bind(m, o, LinkSibling, how)
	}
}

func (m *member) hasSibling(qtype uint16) bool {
	return slices.ContainsFunc(m.ties, func(t tie) bool { return t.kind == LinkSibling && t.to.qtype == qtype })
}

func apart(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// retry ties m to the first try of its question.
func (s *stories) retry(m *member) {
	var last *member
	for _, o := range s.near {
		if o.question != m.question || o.retried || o == m || !s.waitsFor(o, m) {
			continue
		}
		if last != nil {
			return
		}
		last = o
	}
	if last == nil {
		return
	}
	last.retried = true
	m.first, m.try = last, 2
	if last.first != nil {
		m.first, m.try = last.first, last.try+1
	}
	m.ties = append(m.ties, tie{kind: LinkRetryOf, to: m.first, try: m.try})
}

// waitsFor reports whether o has no answer when m asks the same, and should have
// one by then, or has one that makes resolvers ask elsewhere.
func (s *stories) waitsFor(o, m *member) bool {
	reply, at := o.answer()
	switch {
	case at != 0:
		return reply != nil && asksElsewhere[reply.Rcode] && answeredJustBefore(o, m) != nil
	case o.state == nil:
		return o.failed && m.start >= o.last && m.start-o.last <= nearby
	case o.state.hasFailed():
		return true
	}
	sent := max(o.state.sent, o.start)
	return m.start >= sent+soonestTry && m.start <= sent+s.window
}

// asksElsewhere are the answers after which resolvers ask the next server, or
// without EDNS (glibc, resolv/res_send.c; RFC 6891 section 7).
var asksElsewhere = map[int]bool{
	dns.RcodeServerFailure: true, dns.RcodeRefused: true, dns.RcodeNotImplemented: true, dns.RcodeFormatError: true,
}

// hasFailed reports whether the client may know that it need not wait: all that
// it sent was dropped or rejected, by this node or another, or its connection reset.
func (l *lookupState) hasFailed() bool {
	over := true
	for _, leg := range l.legs {
		switch {
		case len(leg.events) == 0:
		case leg.quote != nil:
			if leg.refuses(l.legs[0]) {
				return true
			}
		case leg.response:
			if leg.tcp != nil && leg.tcp.kind == "RST" {
				return true
			}
			over = false
		case leg.rejection() == nil && leg.fate() == nil:
			over = false
		}
	}
	return over
}

// truncation ties m, over TCP, to the same question over UDP whose answer was
// truncated.
func (s *stories) truncation(m *member) {
	if !m.tcp {
		return
	}
	var cut *member
	for _, o := range s.near {
		if o.tcp || o.overTCP || o.question != m.question || o.server.Addr() != m.server.Addr() {
			continue
		}
		if reply := answeredJustBefore(o, m); reply == nil || !reply.TC {
			continue
		}
		if cut != nil {
			return
		}
		cut = o
	}
	if cut != nil {
		cut.overTCP = true
		s.bind(m, cut, LinkTruncationOf, "")
	}
}

// search ties m to the step before it of a walk through a search list: that
// asked for a name with the same beginning, which does not exist.
func (s *stories) search(m *member) {
	var steps []*member // that m could follow
	for _, o := range s.near {
		if o.qtype == m.qtype && o.name != m.name && !o.walked && negative(answeredJustBefore(o, m)) && !o.walkHas(m.name) {
			steps = append(steps, o)
		}
	}
	base := ""
	for _, o := range steps {
		if base = walkBase(o, m); base != "" {
			break
		}
	}
	if base == "" {
		return
	}
	steps = slices.DeleteFunc(steps, func(o *member) bool { return !beginsWith(o.name, base) })
	for i, o := range steps {
		if slices.ContainsFunc(steps[:i], func(other *member) bool { return other.name == o.name }) {
			return // two walks for one name
		}
	}
	s.walk(m, steps, base)
}

// walk ties the steps of a walk, the newest first, each to the one before.
func (s *stories) walk(m *member, steps []*member, base string) {
	m.base = base
	for _, o := range steps {
		if answeredJustBefore(o, m) == nil {
			return
		}
		o.base, o.walked, m.before = base, true, o
		s.bind(m, o, LinkSearchOf, "")
		m = o
	}
}

// walkHas reports whether the walk that m is a step of had a name before, or may
// have had it: then that name begins another walk.
func (m *member) walkHas(name string) bool {
	if m.base != "" && m.gone() {
		return true
	}
	for ; m != nil; m = m.before {
		if m.name == name {
			return true
		}
	}
	return false
}

// negative reports whether a reply sends clients on to the next search domain.
func negative(reply *Message) bool {
	return reply != nil && (reply.Rcode == dns.RcodeNameError || noData(reply))
}

// noData reports whether the name exists, without records of the type.
func noData(reply *Message) bool {
	return reply.Rcode == dns.RcodeSuccess && reply.Records == 0 && !reply.TC && reply.Defect == ""
}

// walkBase returns the name that two steps of a walk have search domains after,
// or "" if they need not be of one walk: www.a.test and www.b.test are just two
// names. It is known if one step has no search domain, if one's domain is within
// the other's, as those of a cluster are, or by the steps before.
func walkBase(o, m *member) string {
	if o.base != "" {
		if beginsWith(m.name, o.base) {
			return o.base
		}
		return ""
	}
	common, before, after := 0, dns.SplitDomainName(o.name), dns.SplitDomainName(m.name)
	for common < min(len(before), len(after)) && before[common] == after[common] {
		common++
	}
	if common == 0 {
		return ""
	}
	base := strings.Join(after[:common], ".")
	before, after = before[common:], after[common:]
	if len(before) < len(after) {
		before, after = after, before
	}
	if !slices.Equal(before[len(before)-len(after):], after) {
		return ""
	}
	return base
}

// beginsWith reports whether the first labels of a name are those of base, which
// has no dot at its end.
func beginsWith(name, base string) bool { return strings.HasPrefix(name, base+".") }
