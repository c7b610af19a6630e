package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Zone is the domain that the lab's DNS servers answer for.
const Zone = "example.test."

const (
	ednsSize  = 4096
	answerTTL = 30 // seconds
)

// Answer returns the address that every ordinary name in Zone has.
func Answer() netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, 7}) }

// Answer6 returns the IPv6 address that every ordinary name in Zone has.
func Answer6() netip.Addr { return netip.MustParseAddr("2001:db8::7") }

// DNSOptions shape a DNS server. The zero value is a good server.
type DNSOptions struct {
	// Addrs are where it listens, by UDP and TCP; none means port 53 of the
	// namespace's Addr and Addr6.
	Addrs []netip.AddrPort
	// Workers is the number of UDP sockets for each address; 0 means 1.
	Workers int
	// Delay is how long each answer takes.
	Delay time.Duration
	// WrongID and WrongName have answers bear an ID, or a question, that nobody
	// sent.
	WrongID, WrongName bool
}

// DNSServer is a DNS server that runs in this process, in a namespace.
type DNSServer struct {
	queries   atomic.Uint64
	servers   []*dns.Server // of UDP
	listeners []net.Listener
	running   sync.WaitGroup
	opts      DNSOptions
	closing   chan struct{}
	close     sync.Once
	err       error // of the first Close

	mu   sync.Mutex
	once map[transmission]bool // queries for retry… names that came once
}

// transmission is what the transmissions of one query have in common.
type transmission struct {
	from     string // address and port
	id       uint16
	question dns.Question
}

// StartDNS runs a DNS server in the namespace, ready when it returns. The first
// label of a name in Zone says what comes back:
//
//	nx…         NXDOMAIN
//	servfail…   SERVFAIL
//	refused…    REFUSED
//	silent…     nothing
//	retry…      the answer; over UDP nothing until the same query comes again
//	slow250     the answer, after 250 ms
//	big1500     TXT with 1500 bytes of text
//	split…      the answer; over TCP its length in a segment of its own
//	half…       the answer; over TCP its first half, then the connection's end
//	close…      the answer; over TCP the connection's end
//	reset…      the answer; over TCP a reset
//	others      A Answer(), AAAA Answer6(), nothing for other types
//
// Names elsewhere get REFUSED. The lab's Close ends the server too.
func StartDNS(ns *NS, opts DNSOptions) (*DNSServer, error) {
	if len(opts.Addrs) == 0 {
		for _, a := range []netip.Addr{ns.Addr, ns.Addr6} {
			opts.Addrs = append(opts.Addrs, netip.AddrPortFrom(a, dnsPort))
		}
	}
	s := &DNSServer{opts: opts, closing: make(chan struct{}), once: map[transmission]bool{}}
	for _, addr := range opts.Addrs {
		if err := s.serve(ns, addr, max(opts.Workers, 1)); err != nil {
			return nil, errors.Join(fmt.Errorf("start dns server on %s: %w", addr, err), s.Close())
		}
	}
	if ns.lab != nil {
		ns.lab.onClose(s.Close)
	}
	return s, nil
}

// serve opens the sockets of one address and starts their servers.
func (s *DNSServer) serve(ns *NS, addr netip.AddrPort, workers int) error {
	for range workers {
		conn, err := ns.ListenUDP(addr)
		if err != nil {
			return err
		}
		if err := s.activate(&dns.Server{PacketConn: conn}); err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	ln, err := ns.ListenTCP(addr)
	if err != nil {
		return err
	}
	s.listeners = append(s.listeners, ln)
	s.running.Go(func() { s.serveStreams(ln) })
	return nil
}

// activate runs one server and returns once it serves.
func (s *DNSServer) activate(srv *dns.Server) error {
	started := make(chan error, 2)
	srv.Handler = s
	srv.UDPSize = ednsSize
	srv.NotifyStartedFunc = func() { started <- nil }
	s.running.Go(func() { started <- srv.ActivateAndServe() })
	if err := <-started; err != nil {
		return err
	}
	s.servers = append(s.servers, srv)
	return nil
}

// Queries returns how many queries have come in so far.
func (s *DNSServer) Queries() uint64 { return s.queries.Load() }

// Close ends the server and waits for its goroutines. Closing twice is no
// error.
func (s *DNSServer) Close() error {
	s.close.Do(func() {
		close(s.closing)
		var errs []error
		for _, srv := range s.servers {
			if err := srv.Shutdown(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, fmt.Errorf("stop dns server: %w", err))
			}
		}
		for _, ln := range s.listeners {
			errs = append(errs, ln.Close())
		}
		s.running.Wait()
		s.err = errors.Join(errs...)
	})
	return s.err
}

// ServeDNS answers one query over UDP, as a dns.Handler.
func (s *DNSServer) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	s.queries.Add(1)
	if strings.HasPrefix(firstLabel(query), "retry") && s.isFirst(w, query) {
		return
	}
	reply := s.reply(query)
	if reply == nil {
		return
	}
	limit := dns.MinMsgSize
	if opt := query.IsEdns0(); opt != nil {
		limit = max(limit, int(opt.UDPSize()))
	}
	reply.Truncate(limit)
	// An error is the client's to notice: its socket may be gone.
	_ = w.WriteMsg(reply)
}

// isFirst reports whether a query comes for the first time; it forgets those
// that came twice.
func (s *DNSServer) isFirst(w dns.ResponseWriter, query *dns.Msg) bool {
	key := transmission{w.RemoteAddr().String(), query.Id, query.Question[0]}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.once[key] {
		delete(s.once, key)
		return false
	}
	s.once[key] = true
	return true
}

// reply returns the answer to a query, whole; nil for none at all.
func (s *DNSServer) reply(query *dns.Msg) *dns.Msg {
	reply := new(dns.Msg)
	reply.SetReply(query)
	reply.Authoritative = true
	if query.IsEdns0() != nil {
		reply.SetEdns0(ednsSize, false)
	}
	if !s.answer(reply, query) {
		return nil
	}
	if s.opts.WrongID {
		reply.Id ^= 0x5555
	}
	if s.opts.WrongName {
		reply.Question[0].Name = "other." + Zone
	}
	return reply
}

// answer fills in the reply. It returns false for no reply at all.
func (s *DNSServer) answer(reply, query *dns.Msg) bool {
	if len(query.Question) != 1 {
		reply.Rcode = dns.RcodeFormatError
		return true
	}
	q := query.Question[0]
	if !dns.IsSubDomain(Zone, q.Name) {
		reply.Rcode = dns.RcodeRefused
		return true
	}
	label := firstLabel(query)
	switch {
	case strings.HasPrefix(label, "silent"):
		return false
	case strings.HasPrefix(label, "nx"):
		reply.Rcode = dns.RcodeNameError
		return true
	case strings.HasPrefix(label, "servfail"):
		reply.Rcode = dns.RcodeServerFailure
		return true
	case strings.HasPrefix(label, "refused"):
		reply.Rcode = dns.RcodeRefused
		return true
	}
	delay := s.opts.Delay
	if ms, ok := suffixNumber(label, "slow"); ok {
		delay = time.Duration(ms) * time.Millisecond
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.closing:
			return false
		}
	}
	reply.Answer = records(q, label)
	return true
}

// records returns what an ordinary name holds.
func records(q dns.Question, label string) []dns.RR {
	hdr := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: answerTTL}
	switch q.Qtype {
	case dns.TypeA:
		return []dns.RR{&dns.A{Hdr: hdr, A: Answer().AsSlice()}}
	case dns.TypeAAAA:
		return []dns.RR{&dns.AAAA{Hdr: hdr, AAAA: Answer6().AsSlice()}}
	case dns.TypeTXT:
		size, ok := suffixNumber(label, "big")
		if !ok {
			return nil
		}
		txt := &dns.TXT{Hdr: hdr}
		for size > 0 {
			part := min(size, 255) // RFC 1035 section 3.3: a character-string's limit
			txt.Txt = append(txt.Txt, strings.Repeat("x", part))
			size -= part
		}
		return []dns.RR{txt}
	}
	return nil
}

// suffixNumber reads the number in labels like slow250.
func suffixNumber(label, prefix string) (int, bool) {
	digits, ok := strings.CutPrefix(label, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	return int(n), err == nil
}
