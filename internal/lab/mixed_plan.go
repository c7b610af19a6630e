package lab

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/miekg/dns"
)

// mixedZone is the domain of the mixed lookups' names.
const mixedZone = "mixed." + Zone

// Ports of dns-b beside 53: a firewall drops queries to the one, replies from
// the other. Nobody listens at port 53 of node-b itself.
const (
	dropQueryPort = 5300
	dropReplyPort = 5301
)

// What is to come of a mixed lookup that has no rcode.
const (
	planSilent    = "silent"     // the server says nothing
	planDropQuery = "drop-query" // a firewall drops the query, of TCP the SYN
	planDropReply = "drop-reply" // a firewall drops the reply
	planReject    = "reject"     // nobody listens: ICMP, or a reset
	planClose     = "close"      // the server closes the connection
	planReset     = "reset"      // the server resets it
	planSlow      = "slow"       // the server answers, and takes its time
	planGone      = "gone"       // so does it, and the client gives up before
)

// Parts of a mixed load, of all its lookups.
const (
	mixedSameName = 0.05 // ask what other clients ask at that moment
	mixedSameID   = 0.30 // have the ID of another client's lookup that is in flight
	mixedRetried  = 0.10 // are sent a second time
	mixedIPv6     = 0.40
)

// mixedClient is who asks: a namespace and the addresses to ask from.
type mixedClient struct {
	ns           string
	addr4, addr6 netip.Addr
}

// mixedExtra are the last parts of the client pod's additional addresses.
var mixedExtra = []byte{111, 112, 113, 114, 115, 116, 117}

// mixedClients lists who asks: a pod with several addresses, a DNS pod, and a
// node, whose lookups of the service are masqueraded.
func mixedClients() []mixedClient {
	clients := []mixedClient{
		{Client, ipv4.host(0, 10), ipv6.host(0, 10)},
		{DNSA, ipv4.host(0, 53), ipv6.host(0, 53)},
		{NodeA, wireAddr(0), ipv6.host(0, ipv6.bridge)},
	}
	for _, last := range mixedExtra {
		clients = append(clients, mixedClient{Client, ipv4.host(0, last), ipv6.host(0, last)})
	}
	return clients
}

// mixedAct is what happens at one time: flows that start together.
type mixedAct struct {
	at    time.Duration // after the run's start
	part  int           // of the run
	flows []*mixedFlow
}

// mixedFlow is a socket and what is asked through it: in each round its
// queries at once, and the next when all of a round have ended.
type mixedFlow struct {
	ns     string
	tcp    bool
	local  netip.AddrPort
	server netip.AddrPort
	rounds [][]*mixedQuery
	pause  time.Duration // between rounds
	join   bool          // of TCP: a round's messages are one write
	chop   bool          // of TCP: the length and the message are two writes
}

// mixedQuery is a lookup to make.
type mixedQuery struct {
	log   *MixedLookup
	qtype uint16
	edns  uint16        // announced size; 0: no EDNS
	again time.Duration // from the first transmission to the second; 0 means one alone
	leave time.Duration // after which the client gives up; 0 means after as long as all others
}

// mixedPlanner makes a plan: the same for the same options.
type mixedPlanner struct {
	opts    MixedOptions
	rand    *rand.Rand
	clients []mixedClient
	ports   map[netip.Addr]int // sockets so far
	log     []*MixedLookup
	acts    []*mixedAct

	tcp, sameName, sameID, retried int // lookups so far
}

// planMixed lays out a run.
func planMixed(opts MixedOptions) *mixedPlanner {
	p := &mixedPlanner{
		opts: opts, rand: rand.New(rand.NewPCG(opts.Seed, 0)),
		clients: mixedClients(), ports: map[netip.Addr]int{},
	}
	p.clients = slices.DeleteFunc(p.clients, func(c mixedClient) bool { return c.ns == opts.Without })
	for len(p.log) < opts.Count {
		act := &mixedAct{at: time.Duration(float64(len(p.log)) / float64(opts.Rate) * float64(time.Second)), part: p.part()}
		n := float64(len(p.log) + 1)
		switch {
		case float64(p.tcp) < opts.TCP*n:
			p.planTCP(act)
		case float64(p.sameName) < mixedSameName*n && p.left() >= 4:
			p.planSameName(act)
		case float64(p.sameID) < mixedSameID*n && p.left() >= 6:
			p.planSameID(act)
		default:
			p.planPlain(act)
		}
		p.acts = append(p.acts, act)
	}
	return p
}

// left is how many lookups are still to be planned, of those of one part.
func (p *mixedPlanner) left() int {
	parts := max(len(p.opts.Parts), 1)
	return ((p.part()+1)*p.opts.Count+parts-1)/parts - len(p.log)
}

// part is that of the next lookup, the last one's if no more are to be planned.
func (p *mixedPlanner) part() int {
	parts := max(len(p.opts.Parts), 1)
	return min(len(p.log)*parts/p.opts.Count, parts-1)
}

func (p *mixedPlanner) chance(part float64) bool { return p.rand.Float64() < part }

// between returns a time from the range, which is the same for the same seed.
func (p *mixedPlanner) between(from, to time.Duration) time.Duration {
	return from + time.Duration(p.rand.Int64N(int64(to-from)))
}

// pause is between, of a time between rounds. With parts the next one waits for
// the last round of each.
func (p *mixedPlanner) pause(from, to time.Duration) time.Duration {
	if len(p.opts.Parts) > 1 {
		from, to = from/10, to/10
	}
	return p.between(from, to)
}

// flow starts a flow of a client to a server that answers.
func (p *mixedPlanner) flow(act *mixedAct, client int, tcp bool) *mixedFlow {
	c := p.clients[client]
	servers := p.servers(c)
	fl := &mixedFlow{ns: c.ns, tcp: tcp, server: servers[p.rand.IntN(len(servers))]}
	addr := c.addr4
	if fl.server.Addr().Is6() {
		addr = c.addr6
	}
	fl.local = p.localPort(addr)
	act.flows = append(act.flows, fl)
	return fl
}

// servers lists those that a client may ask.
func (p *mixedPlanner) servers(c mixedClient) []netip.AddrPort {
	itself := func(s netip.AddrPort) bool { return s.Addr() == c.addr4 || s.Addr() == c.addr6 }
	if p.opts.Servers != nil {
		return slices.DeleteFunc(slices.Clone(p.opts.Servers), itself)
	}
	f, service := ipv4, Service()
	if p.chance(mixedIPv6) {
		f, service = ipv6, Service6()
	}
	return slices.DeleteFunc([]netip.AddrPort{
		service, service, netip.AddrPortFrom(f.host(1, 53), dnsPort), netip.AddrPortFrom(f.host(0, 53), dnsPort),
	}, itself)
}

// localPort counts up: no two sockets of an address share a port within tens of
// thousands, so that an address and a port stand for one socket.
func (p *mixedPlanner) localPort(addr netip.Addr) netip.AddrPort {
	const first, ports = 10000, 50000
	n := p.ports[addr]
	p.ports[addr]++
	return netip.AddrPortFrom(addr, uint16(first+n%ports))
}

// toPort sends a flow to another port of dns-b.
func (f *mixedFlow) toPort(port uint16) {
	addr := ipv4.host(1, 53)
	if f.local.Addr().Is6() {
		addr = ipv6.host(1, 53)
	}
	f.server = netip.AddrPortFrom(addr, port)
}

// toNobody sends a flow to where nobody listens.
func (f *mixedFlow) toNobody() {
	addr := ipv4.host(1, ipv4.bridge)
	if f.local.Addr().Is6() {
		addr = ipv6.host(1, ipv6.bridge)
	}
	f.server = netip.AddrPortFrom(addr, dnsPort)
}

// round gives a flow another round.
func (f *mixedFlow) round(queries ...*mixedQuery) { f.rounds = append(f.rounds, queries) }

// query logs another lookup of a flow. The plan is an rcode or one of plan….
func (p *mixedPlanner) query(f *mixedFlow, plan, name string, id, qtype uint16) *mixedQuery {
	transport := "udp"
	if f.tcp {
		transport = "tcp"
		p.tcp++
	}
	q := &mixedQuery{qtype: qtype}
	if p.chance(0.3) {
		q.edns = 1232
	}
	if p.opts.Healthy && qtype == dns.TypeTXT && plan == "NOERROR" {
		name = p.large(q, f) + "." + name
	}
	q.log = &MixedLookup{
		N: len(p.log), Part: p.part(), Transport: transport, Client: f.local, Server: f.server, ID: id, Name: name,
		Type: dns.TypeToString[qtype], Plan: plan,
	}
	p.log = append(p.log, q.log)
	if plan == planGone {
		q.leave = p.patience(name)
	}
	return q
}

// large has a query ask for a large answer, by the label that it returns: over
// UDP one that fits into a packet, or takes two, over TCP several segments. Over
// IPv6 a tunnel would not take the fragments of pods that don't know it, and
// there a new client asks each time.
func (p *mixedPlanner) large(q *mixedQuery, f *mixedFlow) string {
	switch {
	case f.tcp:
		return "big5000"
	case f.local.Addr().Is4() && p.chance(0.3):
		q.edns = ednsSize
		return "big2000"
	}
	q.edns = 1232
	return "big900"
}

// name returns a name of which a server makes what is planned.
func (p *mixedPlanner) name(plan string) string {
	label := "n"
	switch plan {
	case "NXDOMAIN":
		label = "nx"
	case "SERVFAIL":
		label = "servfail"
	case "REFUSED":
		label = "refused"
	case planSilent:
		label = "silent"
	case planClose:
		label = "close"
	case planReset:
		label = "reset"
	case planSlow, planGone:
		label = p.slow() + ".n"
	}
	return label + strconv.Itoa(len(p.log)) + "." + mixedZone
}

// answer picks what a server makes of an ordinary lookup.
func (p *mixedPlanner) answer() string {
	switch n := p.rand.IntN(100); {
	case p.opts.Noise:
		return p.noise(n)
	case n >= 14 && p.opts.Healthy:
	case n < 14:
		return "NXDOMAIN"
	case n < 20:
		return "SERVFAIL"
	case n < 23:
		return "REFUSED"
	}
	return "NOERROR"
}

func (p *mixedPlanner) id() uint16 { return uint16(p.rand.UintN(1 << 16)) }
