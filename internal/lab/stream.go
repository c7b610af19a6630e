package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// serveStreams accepts connections until the listener is closed.
func (s *DNSServer) serveStreams(ln *net.TCPListener) {
	for {
		conn, err := ln.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			s.running.Go(func() { s.serveStream(conn) })
		}
	}
}

// serveStream answers the queries of one connection in their order, but that
// slow answers are overtaken, as RFC 7766 section 6.2.1.1 allows.
func (s *DNSServer) serveStream(conn *net.TCPConn) {
	var answering sync.WaitGroup
	done := make(chan struct{})
	s.running.Go(func() {
		select {
		case <-s.closing:
		case <-done:
		}
		conn.Close()
	})
	defer close(done)
	defer answering.Wait()
	in := &dns.Conn{Conn: conn}
	for {
		query, err := in.ReadMsg()
		if err != nil {
			return // the client has closed it, or sent what is no message
		}
		s.queries.Add(1)
		if isSlow(query) {
			answering.Go(func() { s.answerStream(conn, query) })
		} else {
			s.answerStream(conn, query)
		}
	}
}

// answerStream sends one answer, or what its name asks for in place of one. An
// error is the client's to notice: its socket may be gone.
func (s *DNSServer) answerStream(conn *net.TCPConn, query *dns.Msg) {
	reply := s.reply(query)
	if reply == nil {
		return
	}
	message, err := packStream(reply)
	if err != nil {
		return
	}
	label := firstLabel(query)
	is := func(what string) bool { return strings.HasPrefix(label, what) }
	switch {
	case is("close"):
		conn.Close()
	case is("reset"):
		_ = conn.SetLinger(0)
		conn.Close()
	case is("half"):
		_, _ = conn.Write(message[:len(message)/2])
		conn.Close()
	case is("split"):
		_, _ = conn.Write(message[:2])
		_, _ = conn.Write(message[2:])
	default:
		_, _ = conn.Write(message)
	}
}

func isSlow(query *dns.Msg) bool {
	_, slow := suffixNumber(firstLabel(query), "slow")
	return slow
}

// firstLabel returns the first label of what is asked, in lower case.
func firstLabel(query *dns.Msg) string {
	if len(query.Question) == 0 {
		return ""
	}
	label, _, _ := strings.Cut(strings.ToLower(query.Question[0].Name), ".")
	return label
}

// packStream returns a message with its length before it (RFC 1035 section 4.2.2).
func packStream(m *dns.Msg) ([]byte, error) {
	wire, err := m.Pack()
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...), nil
}

// StreamOptions say what to ask over one TCP connection. Server and Names are
// needed.
type StreamOptions struct {
	Server netip.AddrPort
	Names  []string // trailing dots are added
	Type   uint16   // 0 means A
	// Cuts are where the stream of queries, with their length prefixes, is cut
	// into segments: offsets in bytes, ascending. None sends one segment.
	Cuts      []int
	LocalPort uint16        // 0 means any
	Timeout   time.Duration // of the handshake, and of all answers; 0 means Patience(time.Second)
}

// StreamResult is what came of a Stream. IDs and Local are set even when no
// answer came.
type StreamResult struct {
	IDs       []uint16 // of the queries, in the order of Names
	Local     netip.AddrPort
	Responses []*dns.Msg // as they came
}

// Stream asks a DNS server several questions over one connection, without
// waiting between them. A server that closes the connection before all answers
// are there gives io.EOF or io.ErrUnexpectedEOF, one that resets it
// syscall.ECONNRESET; other errors are those of Lookup.
func (ns *NS) Stream(ctx context.Context, opts StreamOptions) (StreamResult, error) {
	if opts.Timeout == 0 {
		opts.Timeout = Patience(time.Second)
	}
	res, stream, err := opts.queries()
	if err != nil {
		return res, err
	}
	conn, err := ns.dialDNS(ctx, LookupOptions{Server: opts.Server, TCP: true, LocalPort: opts.LocalPort, Timeout: opts.Timeout})
	if err != nil {
		return res, fmt.Errorf("stream to %s: %w", opts.Server, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if res.Local, err = netip.ParseAddrPort(conn.LocalAddr().String()); err != nil {
		return res, err
	}
	if err := conn.SetDeadline(time.Now().Add(opts.Timeout)); err != nil {
		return res, err
	}
	if err := writeCut(conn, stream, opts.Cuts); err != nil {
		return res, fmt.Errorf("stream to %s: %w", opts.Server, err)
	}
	in := &dns.Conn{Conn: conn}
	for range opts.Names {
		response, err := in.ReadMsg()
		if err != nil {
			return res, fmt.Errorf("stream from %s: %w", opts.Server, err)
		}
		res.Responses = append(res.Responses, response)
	}
	return res, nil
}

// queries returns the stream to send.
func (opts *StreamOptions) queries() (res StreamResult, stream []byte, err error) {
	for _, name := range opts.Names {
		query := new(dns.Msg)
		query.SetQuestion(dns.Fqdn(name), dns.TypeA)
		if opts.Type != 0 {
			query.Question[0].Qtype = opts.Type
		}
		wire, err := packStream(query)
		if err != nil {
			return res, nil, fmt.Errorf("query for %s: %w", name, err)
		}
		res.IDs = append(res.IDs, query.Id)
		stream = append(stream, wire...)
	}
	return res, stream, nil
}

// writeCut writes each part at once: Go's sockets have TCP_NODELAY set, so it
// becomes a segment of its own.
func writeCut(w io.Writer, stream []byte, cuts []int) error {
	at := 0
	for _, cut := range append(cuts[:len(cuts):len(cuts)], len(stream)) {
		if cut <= at || cut > len(stream) {
			return fmt.Errorf("cut at %d of %d bytes, after %d", cut, len(stream), at)
		}
		if _, err := w.Write(stream[at:cut]); err != nil {
			return err
		}
		at = cut
	}
	return nil
}
