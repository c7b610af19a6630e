package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// LookupOptions say what to ask, and how. Server and Name are needed.
type LookupOptions struct {
	Server    netip.AddrPort
	Name      string        // a trailing dot is added
	Type      uint16        // 0 means A
	TCP       bool          // otherwise UDP, from a connected socket
	ID        uint16        // 0 means a random one
	LocalPort uint16        // 0 means any
	Timeout   time.Duration // of each attempt; 0 means Patience(time.Second)
	Attempts  int           // with the same socket and ID, as glibc does; 0 means 1
	EDNSSize  uint16        // size announced with EDNS; 0 means no EDNS
	TTL       uint8         // of the IPv4 packets; 0 means the namespace's default
}

// Result is what came of a lookup. ID, Local and Attempts are set even when no
// answer came, so that the lookup can be found in a trace.
type Result struct {
	ID       uint16
	Local    netip.AddrPort
	Attempts int           // queries sent
	Latency  time.Duration // from the first query, over TCP the handshake, to the answer
	Rcode    int
	Answers  []string // addresses and texts, in the answer's order
	Response *dns.Msg
}

// Lookup asks a DNS server from the namespace. Without an answer the error
// matches os.ErrDeadlineExceeded; after an ICMP error it matches
// syscall.ECONNREFUSED or another errno; when ctx ended, the cause of that.
// NXDOMAIN and the like are answers, not errors.
func (ns *NS) Lookup(ctx context.Context, opts LookupOptions) (Result, error) {
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(opts.Name), dns.TypeA)
	if opts.Type != 0 {
		query.Question[0].Qtype = opts.Type
	}
	if opts.ID != 0 {
		query.Id = opts.ID
	}
	if opts.EDNSSize != 0 {
		query.SetEdns0(opts.EDNSSize, false)
	}
	if opts.Timeout == 0 {
		opts.Timeout = Patience(time.Second)
	}
	res := Result{ID: query.Id}
	start := time.Now()
	conn, err := ns.dialDNS(ctx, opts)
	if err != nil {
		return res, fmt.Errorf("look %s up: %w", query.Question[0].Name, err)
	}
	defer conn.Close()
	if opts.TTL != 0 {
		if err := setTTL(conn, opts.TTL); err != nil {
			return res, fmt.Errorf("set ttl: %w", err)
		}
	}
	if res.Local, err = netip.ParseAddrPort(conn.LocalAddr().String()); err != nil {
		return res, fmt.Errorf("look %s up: %w", query.Question[0].Name, err)
	}
	if err := exchange(ctx, &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}, query, opts, &res); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return res, fmt.Errorf("look %s up at %s: %w", query.Question[0].Name, opts.Server, err)
	}
	res.Latency = time.Since(start)
	return res, nil
}

func (ns *NS) dialDNS(ctx context.Context, opts LookupOptions) (net.Conn, error) {
	if !opts.TCP {
		return ns.DialUDP(opts.LocalPort, opts.Server)
	}
	within, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	conn, err := ns.DialTCP(within, opts.LocalPort, opts.Server)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err) // the dialer's own differs
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// setTTL sets the TTL of the IPv4 packets that a connection sends from now on.
func setTTL(conn net.Conn, ttl uint8) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	return setsockopt(raw, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, int(ttl))
	})
}

// exchange sends the query, again after each timeout, and reads the answer.
func exchange(ctx context.Context, conn *dns.Conn, query *dns.Msg, opts LookupOptions, res *Result) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for {
		res.Attempts++
		if err := conn.SetDeadline(time.Now().Add(opts.Timeout)); err != nil {
			return err
		}
		if err := conn.WriteMsg(query); err != nil {
			return err
		}
		response, err := readAnswer(conn, query.Id)
		if errors.Is(err, os.ErrDeadlineExceeded) && res.Attempts < opts.Attempts {
			continue
		}
		if err != nil {
			return err
		}
		res.Response, res.Rcode, res.Answers = response, response.Rcode, answerTexts(response)
		return nil
	}
}

// readAnswer reads until a message has the wanted ID: an earlier lookup from
// the same port may have had another.
func readAnswer(conn *dns.Conn, id uint16) (*dns.Msg, error) {
	for {
		response, err := conn.ReadMsg()
		if err != nil || response.Id == id {
			return response, err
		}
	}
}

func answerTexts(m *dns.Msg) []string {
	var texts []string
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			texts = append(texts, rr.A.String())
		case *dns.AAAA:
			texts = append(texts, rr.AAAA.String())
		case *dns.TXT:
			texts = append(texts, rr.Txt...)
		}
	}
	return texts
}
