package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tcp sees a connection from its start to its end.
func (m *mixer) tcp(f *mixedFlow) {
	conn, err := m.dialTCP(f)
	if err != nil {
		f.noConnection(err)
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(m.ctx, func() { conn.Close() })
	defer stop()
	defer f.countResent(conn)
	for i, round := range f.rounds {
		if i > 0 && !m.pauseBetween(f) {
			return
		}
		err := f.sendTCP(conn, round)
		if err == nil {
			err = m.awaitTCP(conn, round)
		}
		if err != nil {
			f.fail(err)
			return
		}
	}
}

// mixedConnect is the time for a connection: below a second, after which the SYN
// would be sent again.
const mixedConnect = 700 * time.Millisecond

// dialTCP connects.
func (m *mixer) dialTCP(f *mixedFlow) (conn net.Conn, err error) {
	dialer := net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(f.local), Timeout: mixedConnect,
		// called just before the SYN is sent; not at all where the time is up by then
		Control: func(string, string, syscall.RawConn) error {
			now := time.Now()
			for _, q := range f.rounds[0] {
				q.log.Sent = now // the connection is made for them
			}
			return nil
		},
	}
	doErr := m.lab.NS(f.ns).Do(func() error {
		// With one literal address the dialer stays on this goroutine.
		conn, err = dialer.DialContext(m.ctx, "tcp", f.server.String())
		return nil
	})
	return conn, errors.Join(doErr, err)
}

// countResent logs how many segments the client's kernel sent again of itself.
func (f *mixedFlow) countResent(conn net.Conn) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	var info *unix.TCPInfo
	if err == nil {
		err = setsockopt(raw, func(fd int) (err error) {
			info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			return err
		})
	}
	if err != nil {
		f.fail(err)
		return
	}
	for _, round := range f.rounds {
		for _, q := range round {
			q.log.Resent = int(info.Total_retrans)
		}
	}
}

// noConnection logs how a connection failed: as one lookup, since the others that
// it was for were never asked.
func (f *mixedFlow) noConnection(err error) {
	first := f.rounds[0][0]
	for _, q := range f.rounds[0][1:] {
		q.log.Sent = time.Time{}
	}
	first.log.Unasked = true
	var timeout net.Error
	switch {
	case first.log.Sent.IsZero():
	case errors.Is(err, syscall.ECONNREFUSED):
		first.end(cameRefused)
	case errors.As(err, &timeout) && timeout.Timeout():
		first.end(cameTimeout)
		// Where this process was stopped before or meanwhile, the SYN may never have been
		// sent, or the connection may have been made and closed without a word.
		waited := first.log.Ended.Sub(first.log.Sent)
		first.log.Doubtful = !first.log.asPlanned() || (waited-mixedConnect).Abs() > mixedSlack
	}
	f.fail(err) // for what has not ended
}

// sendTCP writes a round's queries.
func (f *mixedFlow) sendTCP(conn net.Conn, round []*mixedQuery) error {
	var joined []byte
	for i, q := range round {
		message, err := q.pack()
		if err != nil {
			return err
		}
		framed := binary.BigEndian.AppendUint16(nil, uint16(len(message)))
		framed = append(framed, message...)
		if q.log.Sent.IsZero() {
			q.log.Sent = time.Now()
		}
		q.log.Transmissions = 1
		if f.join {
			if joined = append(joined, framed...); i < len(round)-1 {
				continue
			}
			framed = joined
		}
		first := 0
		if f.chop { // each write is a segment: Go sets TCP_NODELAY
			if first = 2; f.join {
				first = len(framed) / 2
			}
			if _, err := conn.Write(framed[:first]); err != nil {
				return err
			}
		}
		if _, err := conn.Write(framed[first:]); err != nil {
			return err
		}
	}
	return nil
}

// awaitTCP reads until all queries of a round have ended. After an error, which
// ends the connection, no more can be sent.
func (m *mixer) awaitTCP(conn net.Conn, round []*mixedQuery) error {
	open := slices.Clone(round)
	deadline := time.Now().Add(m.timeout)
	if leave := round[0].leave; leave > 0 { // as all of the round do
		deadline = time.Now().Add(leave)
	}
	for len(open) > 0 {
		// what is there already is taken even if this process was stopped for a while
		if soon := time.Now().Add(mixedDrain); soon.After(deadline) {
			deadline = soon
		}
		if err := conn.SetReadDeadline(deadline); err != nil {
			return err
		}
		message, err := readFramed(conn)
		switch {
		case err == nil:
			open = finishQuery(open, message)
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			endAll(open, open[0].givesUp())
		case errors.Is(err, io.EOF):
			endAll(open, cameClosed)
		case errors.Is(err, syscall.ECONNRESET):
			endAll(open, cameReset)
		}
		return err
	}
	return nil
}

// readFramed reads a message with its length before it (RFC 1035 section 4.2.2).
func readFramed(conn net.Conn) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(conn, message)
	return message, err
}
