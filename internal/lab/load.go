package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// loadZone is the domain of the load generator's names.
const loadZone = "load." + Zone

// idsPerSocket is how many lookups one socket can tell apart.
const idsPerSocket = 1 << 16

// DNS IDs are spread over all values, as real ones are: a tracer that samples
// by ID must get its share. The two factors are inverse modulo 65536.
const (
	idSpread   uint16 = 40503
	idGather   uint16 = 30599
	idDistance uint16 = 1021 // between the first IDs of two sockets
)

// loadID returns the DNS ID of a socket's lookup number k.
func loadID(socket, k int) uint16 { return uint16(k)*idSpread + uint16(socket)*idDistance }

// loadIndex is the inverse of loadID.
func loadIndex(socket int, id uint16) int {
	return int((id - uint16(socket)*idDistance) * idGather)
}

// LoadOptions shape a run of lookups. Server, Count and Rate are needed.
type LoadOptions struct {
	Server  netip.AddrPort
	Count   int           // lookups in all
	Rate    int           // lookups a second
	Sockets int           // UDP sockets, used in turn; 0 means 64
	Type    uint16        // 0 means A
	Timeout time.Duration // to wait for answers after the last query; 0 means Patience(time.Second)
}

// LoadResult is what came of a run. Lookup N asks for LoadName(N), once.
type LoadResult struct {
	Sent       int
	Answered   int           // lookups with at least one answer
	Lost       int           // lookups sent and not answered
	Duplicates int           // answers to lookups that had one
	Errors     int           // lookups that the kernel did not take
	Elapsed    time.Duration // from the first query to the last
	Rate       float64       // queries a second, as achieved
	Latencies  []time.Duration
	LostNames  []string
}

// Quantile returns the latency that the given part of all answers, 0 to 1, did
// not exceed; 0 without answers.
func (r LoadResult) Quantile(q float64) time.Duration {
	if len(r.Latencies) == 0 {
		return 0
	}
	return r.Latencies[int(q*float64(len(r.Latencies)-1))]
}

// LoadName returns the name that lookup n of a run asks for.
func LoadName(n int) string { return "q" + strconv.Itoa(n) + "." + loadZone }

// Load sends Count lookups with unique names at a steady rate, whether answers
// come or not (open loop), and waits for the answers. Latencies come sorted.
// When ctx ends early, it returns what it has and the cause.
func Load(ctx context.Context, ns *NS, opts LoadOptions) (LoadResult, error) {
	if opts.Sockets == 0 {
		opts.Sockets = 64
	}
	if opts.Timeout == 0 {
		opts.Timeout = Patience(time.Second)
	}
	if opts.Type == 0 {
		opts.Type = dns.TypeA
	}
	if opts.Count < 1 || opts.Rate < 1 || opts.Sockets < 1 || opts.Count > opts.Sockets*idsPerSocket {
		return LoadResult{}, fmt.Errorf("generate load: %d lookups at %d/s on %d sockets: out of range",
			opts.Count, opts.Rate, opts.Sockets)
	}
	l := &loader{
		opts: opts,
		sent: make([]atomic.Int64, opts.Count), latency: make([]int64, opts.Count),
		done: make(chan struct{}), start: time.Now(),
	}
	defer l.closeSockets()
	for range opts.Sockets {
		conn, err := ns.DialUDP(0, opts.Server)
		if err != nil {
			return LoadResult{}, fmt.Errorf("generate load: %w", err)
		}
		l.conns = append(l.conns, conn)
	}
	return l.run(ctx)
}

// loader is the state of one run. Lookup n goes out on socket n%S as its
// number n/S, which gives the ID. So a reader finds n from its socket and the ID alone.
type loader struct {
	opts  LoadOptions
	conns []*net.UDPConn
	start time.Time

	sent       []atomic.Int64 // ns after start, 0 for not sent
	latency    []int64        // ns, 0 for no answer; n belongs to its socket's reader
	answered   atomic.Int64
	duplicates atomic.Int64
	done       chan struct{} // closed when all are answered
}

// run starts the readers, sends, waits and sums up.
func (l *loader) run(ctx context.Context) (LoadResult, error) {
	var readers sync.WaitGroup
	for i, conn := range l.conns {
		readers.Go(func() { l.read(i, conn) })
	}
	var res LoadResult
	begin := time.Now()
	err := l.send(ctx, &res)
	res.Elapsed = time.Since(begin)

	late := time.NewTimer(l.opts.Timeout)
	defer late.Stop()
	if err == nil {
		select {
		case <-l.done:
		case <-late.C:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	l.closeSockets()
	readers.Wait()
	l.sum(&res)
	if err != nil {
		err = fmt.Errorf("generate load: %w", err)
	}
	return res, err
}

// send paces the queries: at each tick those that are due by then.
func (l *loader) send(ctx context.Context, res *LoadResult) error {
	const tick = 2 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	buf := make([]byte, 0, 64)
	begin := time.Now()
	for n := 0; ; {
		due := min(1+int(time.Since(begin).Seconds()*float64(l.opts.Rate)), l.opts.Count)
		for ; n < due; n++ {
			buf = l.appendQuery(buf[:0], n)
			l.sent[n].Store(int64(time.Since(l.start)))
			if err := write(l.conns[n%len(l.conns)], buf); err != nil {
				l.sent[n].Store(0)
				res.Errors++
				continue
			}
			res.Sent++
		}
		if n == l.opts.Count {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// write sends a query. An ICMP error for an earlier one shows on the next call,
// which then sends nothing: it is made again.
func write(conn *net.UDPConn, query []byte) error {
	_, err := conn.Write(query)
	if errors.Is(err, syscall.ECONNREFUSED) {
		_, err = conn.Write(query)
	}
	return err
}

// appendQuery writes lookup n by hand: packing a dns.Msg costs ten times more.
func (l *loader) appendQuery(b []byte, n int) []byte {
	b = binary.BigEndian.AppendUint16(b, loadID(n%len(l.conns), n/len(l.conns)))
	b = append(b, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0) // recursion desired, one question
	label := len(b)
	b = append(b, 0, 'q')
	b = strconv.AppendInt(b, int64(n), 10)
	b[label] = byte(len(b) - label - 1)
	b = append(b, "\x04load\x07example\x04test\x00"...)
	b = binary.BigEndian.AppendUint16(b, l.opts.Type)
	return binary.BigEndian.AppendUint16(b, dns.ClassINET)
}

// read takes answers from socket i until it is closed.
func (l *loader) read(i int, conn *net.UDPConn) {
	buf := make([]byte, 512)
	for {
		size, err := conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || size < 12 {
			continue // an ICMP error for one lookup, which counts as lost
		}
		n := loadIndex(i, binary.BigEndian.Uint16(buf))*len(l.conns) + i
		if n >= len(l.sent) || l.sent[n].Load() == 0 {
			continue // not ours
		}
		if l.latency[n] != 0 {
			l.duplicates.Add(1)
			continue
		}
		l.latency[n] = max(int64(time.Since(l.start))-l.sent[n].Load(), 1)
		if l.answered.Add(1) == int64(l.opts.Count) {
			close(l.done)
		}
	}
}

func (l *loader) closeSockets() {
	for _, conn := range l.conns {
		conn.Close() // a second close is harmless
	}
}

// sum fills in the result once all readers have ended.
func (l *loader) sum(res *LoadResult) {
	res.Answered = int(l.answered.Load())
	res.Duplicates = int(l.duplicates.Load())
	res.Lost = res.Sent - res.Answered
	if s := res.Elapsed.Seconds(); s > 0 {
		res.Rate = float64(res.Sent) / s
	}
	for n := range l.sent {
		switch {
		case l.latency[n] != 0:
			res.Latencies = append(res.Latencies, time.Duration(l.latency[n]))
		case l.sent[n].Load() != 0:
			res.LostNames = append(res.LostNames, LoadName(n))
		}
	}
	slices.Sort(res.Latencies)
}
