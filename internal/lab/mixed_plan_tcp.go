package lab

import (
	"time"

	"github.com/miekg/dns"
)

// planTCP plans a connection.
func (p *mixedPlanner) planTCP(act *mixedAct) {
	f := p.flow(act, p.rand.IntN(len(p.clients)), true)
	f.chop = p.chance(0.25)
	n := p.rand.IntN(100)
	if p.opts.Healthy {
		n = 20 + n*80/100 // one that comes to an answer
	}
	switch {
	case p.opts.Noise && p.chance(goesTCP):
		p.tcpRound(f, 1+p.rand.IntN(2), planGone)
	case n < 5:
		f.toNobody()
		p.tcpRound(f, 1, planReject)
	case n < 9:
		f.toPort(dropQueryPort)
		p.tcpRound(f, 1, planDropQuery)
	case n < 13:
		p.tcpRound(f, 1, planSilent)
	case n < 17:
		p.tcpRound(f, 1, planClose)
	case n < 20:
		p.tcpRound(f, 1, planReset)
	case n < 50 || p.left() < 8:
		p.tcpRound(f, 1, "")
	case n < 75:
		f.join = p.chance(0.5)
		p.tcpRound(f, 2+p.rand.IntN(3), "")
	default:
		f.pause = p.pause(20*time.Millisecond, 400*time.Millisecond)
		for range 2 + p.rand.IntN(2) {
			p.tcpRound(f, 1+p.rand.IntN(2), "")
		}
	}
}

// tcpRound plans queries that are sent at once, of which all come to the same
// or, without a plan, each has its own answer. RFC 7766 section 6.2.1.1 wants
// IDs that differ.
func (p *mixedPlanner) tcpRound(f *mixedFlow, size int, plan string) {
	var queries []*mixedQuery
	id := p.id()
	for range size {
		what := plan
		if what == "" {
			what = p.answer()
		}
		qtype := dns.TypeA
		switch {
		case p.chance(0.4):
			qtype = dns.TypeAAAA
		case p.opts.Healthy && p.chance(0.3):
			qtype = dns.TypeTXT
		}
		queries = append(queries, p.query(f, what, p.name(what), id, qtype))
		id += 1 + uint16(p.rand.UintN(1000))
	}
	f.round(queries...)
}
