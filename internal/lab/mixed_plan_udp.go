package lab

import (
	"slices"
	"strconv"
	"time"

	"github.com/miekg/dns"
)

// The wait for a second transmission.
const (
	mixedAgainMin = 30 * time.Millisecond
	mixedAgainMax = 200 * time.Millisecond
)

// planPlain plans one socket: a lookup, a pair of A and AAAA, or several
// lookups one after the other.
func (p *mixedPlanner) planPlain(act *mixedAct) {
	f := p.flow(act, p.rand.IntN(len(p.clients)), false)
	switch n := p.rand.IntN(100); {
	case n < 50 || p.left() < 4:
		p.one(f, p.id(), p.fate(f, false))
	case n < 85:
		p.pair(f, p.ids())
	default:
		p.series(f)
	}
}

// planSameID plans lookups of two or three clients at once, with the same IDs.
func (p *mixedPlanner) planSameID(act *mixedAct) {
	ids, pair := p.ids(), p.chance(0.4)
	for _, client := range p.rand.Perm(len(p.clients))[:2+p.rand.IntN(2)] {
		f := p.flow(act, client, false)
		before := len(p.log)
		if pair {
			p.pair(f, ids)
		} else {
			p.one(f, ids[0], p.fate(f, false))
		}
		p.sameID += len(p.log) - before
	}
}

// planSameName plans four clients that ask the same at once, half of the time
// with the same ID.
func (p *mixedPlanner) planSameName(act *mixedAct) {
	plan, name, retried := p.retry(p.answer(), true)
	id, shared := p.id(), p.chance(0.5)
	clients := p.rand.Perm(len(p.clients))
	if p.opts.Noise { // a DNS pod that asks what it is asked looks as if it forwards
		clients = slices.DeleteFunc(clients, func(i int) bool { return p.clients[i].ns == DNSA })
	}
	for _, client := range clients[:4] {
		if shared {
			p.sameID++
		} else {
			id = p.id()
		}
		f := p.flow(act, client, false)
		f.round(p.udp(f, plan, name, id, dns.TypeA, retried))
		p.sameName++
	}
}

// ids returns the IDs of a pair: two that follow no order, as of glibc; some
// resolvers have one for both.
func (p *mixedPlanner) ids() [2]uint16 {
	a := p.id()
	if p.chance(0.2) {
		return [2]uint16{a, a}
	}
	return [2]uint16{a, a + 1 + uint16(p.rand.UintN(1<<15))}
}

// fate picks what becomes of a flow's lookups, and sends it where that happens.
func (p *mixedPlanner) fate(f *mixedFlow, pair bool) string {
	switch n := p.rand.IntN(100); {
	case n < goesUDP && p.opts.Noise:
		return planGone
	case p.opts.Healthy:
	case n < 4:
		f.toPort(dropQueryPort)
		return planDropQuery
	case n < 7:
		f.toPort(dropReplyPort)
		return planDropReply
	case n < 10 && !pair: // an error of the first would keep the second from being sent
		f.toNobody()
		return planReject
	case n < 14:
		return planSilent
	}
	return p.answer()
}

// one plans a single lookup.
func (p *mixedPlanner) one(f *mixedFlow, id uint16, plan string) {
	types := []uint16{dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeTXT}
	plan, name, retried := p.retry(plan, plan != planReject)
	f.round(p.udp(f, plan, name, id, types[p.rand.IntN(len(types))], retried))
}

// pair plans A and AAAA for one name at once.
func (p *mixedPlanner) pair(f *mixedFlow, ids [2]uint16) {
	plan, name, retried := p.retry(p.fate(f, true), true)
	f.round(p.udp(f, plan, name, ids[0], dns.TypeA, retried), p.udp(f, plan, name, ids[1], dns.TypeAAAA, retried))
}

// series plans a socket that is used again, with a new ID each time or always
// the same.
func (p *mixedPlanner) series(f *mixedFlow) {
	id, fixed := p.id(), p.chance(0.5)
	f.pause = p.pause(5*time.Millisecond, 300*time.Millisecond)
	for range 3 + p.rand.IntN(2) {
		if !fixed {
			id = p.id()
		}
		plan, name, retried := p.retry(p.answer(), true)
		f.round(p.udp(f, plan, name, id, dns.TypeA, retried))
	}
}

// udp plans a lookup by UDP.
func (p *mixedPlanner) udp(f *mixedFlow, plan, name string, id, qtype uint16, retried bool) *mixedQuery {
	q := p.query(f, plan, name, id, qtype)
	if retried {
		q.again = p.between(mixedAgainMin, mixedAgainMax)
		p.retried++
	}
	if p.opts.Noise && plan != planGone && p.chance(asksAgain) {
		q.again = p.between(noiseAgainMin, noiseAgainMax)
	}
	return q
}

// retry picks whether lookups are sent a second time, and returns their plan,
// which may be another then, and their name: a server that answers at once gives
// no reason to ask again.
func (p *mixedPlanner) retry(plan string, may bool) (string, string, bool) {
	behind := float64(p.retried) < mixedRetried*float64(len(p.log)+1)
	if !may || !behind || p.opts.Healthy || p.chance(0.5) {
		return plan, p.name(plan), false
	}
	switch plan {
	case planSilent, planDropQuery, planDropReply:
		return plan, p.name(plan), true
	}
	return "NOERROR", "retry" + strconv.Itoa(len(p.log)) + "." + mixedZone, true
}
