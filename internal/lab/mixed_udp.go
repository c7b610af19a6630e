package lab

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// mixedDrain is time enough to be given what is there already.
const mixedDrain = 5 * time.Millisecond

// udpFlow is a flow's socket.
type udpFlow struct {
	*mixedFlow
	m    *mixer
	conn *net.UDPConn
	open []*mixedQuery // of the round, that have not ended
}

// openUDP opens a flow's socket. It returns nil, and logs why, if that fails.
func (m *mixer) openUDP(f *mixedFlow) *udpFlow {
	u := &udpFlow{mixedFlow: f, m: m}
	err := m.lab.NS(f.ns).Do(func() (err error) {
		u.conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(f.local), net.UDPAddrFromAddrPort(f.server))
		return err
	})
	if err != nil {
		f.fail(err)
		return nil
	}
	return u
}

// send sends all queries of a round.
func (u *udpFlow) send(round []*mixedQuery) {
	for _, q := range round {
		u.transmit(q)
	}
	u.open = slices.DeleteFunc(slices.Clone(round), func(q *mixedQuery) bool { return q.log.Err != "" })
}

// transmit sends a query once.
func (u *udpFlow) transmit(q *mixedQuery) {
	message, err := q.pack()
	if err == nil {
		if q.log.Transmissions == 0 {
			q.log.Sent = time.Now()
		}
		err = write(u.conn, message)
	}
	if err != nil {
		q.log.Err = err.Error()
		return
	}
	q.log.Transmissions++
}

// follow sees the flow's rounds to their end; the first was sent.
func (u *udpFlow) follow() {
	defer u.conn.Close()
	stop := context.AfterFunc(u.m.ctx, func() { u.conn.Close() })
	defer stop()
	for i, round := range u.rounds {
		if i > 0 {
			if !u.m.pauseBetween(u.mixedFlow) {
				return
			}
			u.send(round)
		}
		u.await()
	}
}

// await reads until all queries of the round have ended, and sends those again
// that are to be.
func (u *udpFlow) await() {
	buf := make([]byte, ednsSize)
	for len(u.open) > 0 {
		if err := u.conn.SetReadDeadline(u.next()); err != nil {
			u.fail(err)
			return
		}
		n, err := u.conn.Read(buf)
		switch {
		case err == nil:
			u.open = finishQuery(u.open, buf[:n])
		case errors.Is(err, os.ErrDeadlineExceeded):
			u.drain(buf)
			u.open = slices.DeleteFunc(u.open, u.expire)
		case errors.Is(err, syscall.ECONNREFUSED):
			endAll(u.open, cameRefused)
			u.open = nil
		default:
			u.fail(err)
			return
		}
	}
}

// drain takes the answers that wait in the socket: a process that was stopped for
// a while is told first that its time is up.
func (u *udpFlow) drain(buf []byte) {
	for len(u.open) > 0 {
		if err := u.conn.SetReadDeadline(time.Now().Add(mixedDrain)); err != nil {
			return // closed: the next read says so
		}
		n, err := u.conn.Read(buf)
		if err != nil {
			return
		}
		u.open = finishQuery(u.open, buf[:n])
	}
}

// due is when a query is sent again, or is over.
func (u *udpFlow) due(q *mixedQuery) (at time.Time, again bool) {
	if q.again > 0 && q.log.Transmissions == 1 {
		return q.log.Sent.Add(q.again), true
	}
	if q.leave > 0 {
		return q.log.Sent.Add(q.leave), false
	}
	return q.log.Sent.Add(q.again + u.m.timeout), false
}

// next is when the first of the open queries is due.
func (u *udpFlow) next() time.Time {
	first, _ := u.due(u.open[0])
	for _, q := range u.open[1:] {
		if at, _ := u.due(q); at.Before(first) {
			first = at
		}
	}
	return first
}

// expire does what is due for a query, and reports whether it has ended.
func (u *udpFlow) expire(q *mixedQuery) bool {
	at, again := u.due(q)
	switch {
	case time.Now().Before(at):
		return false
	case again:
		u.transmit(q)
		return q.log.Err != ""
	}
	q.end(q.givesUp())
	return true
}

// givesUp is what comes of a query when its time is up.
func (q *mixedQuery) givesUp() string {
	if q.leave > 0 {
		return cameGone
	}
	return cameTimeout
}

// pack makes a query's message.
func (q *mixedQuery) pack() ([]byte, error) {
	m := new(dns.Msg)
	m.SetQuestion(q.log.Name, q.qtype)
	m.Id = q.log.ID
	if q.edns != 0 {
		m.SetEdns0(q.edns, false)
	}
	return m.Pack()
}

// finishQuery ends the query that a message answers and returns the others.
func finishQuery(open []*mixedQuery, message []byte) []*mixedQuery {
	var reply dns.Msg
	if err := reply.Unpack(message); err != nil || len(reply.Question) != 1 {
		return open
	}
	q := reply.Question[0]
	for i, o := range open {
		if o.log.ID == reply.Id && o.log.Name == q.Name && o.qtype == q.Qtype {
			o.end(dns.RcodeToString[reply.Rcode])
			return slices.Delete(open, i, i+1)
		}
	}
	return open
}

// endAll ends all queries alike.
func endAll(open []*mixedQuery, came string) {
	for _, q := range open {
		q.end(came)
	}
}
