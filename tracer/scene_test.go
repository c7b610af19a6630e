package tracer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Network namespaces of the made-up cluster: a pod on node-a asks a service
// whose DNS server is a pod on node-b; VXLAN joins the nodes.
const (
	nsPod uint32 = 4026532101 + iota
	nsNodeA
	nsNodeB
	nsDNS
)

var nsNames = map[uint32]string{nsPod: "pod", nsNodeA: "node-a", nsNodeB: "node-b", nsDNS: "dns"}

// place is a device in a namespace.
type place struct {
	ns    uint32
	index uint32
	dev   string
}

var (
	podEth0    = place{nsPod, 2, "eth0"}
	aVeth      = place{nsNodeA, 5, "veth1"}
	aBridge    = place{nsNodeA, 4, "cni0"}
	aTunnel    = place{nsNodeA, 3, "flannel.1"}
	aEth0      = place{nsNodeA, 2, "eth0"}
	bEth0      = place{nsNodeB, 2, "eth0"}
	bTunnel    = place{nsNodeB, 3, "flannel.1"}
	bBridge    = place{nsNodeB, 4, "cni0"}
	bVeth      = place{nsNodeB, 5, "veth1"}
	dnsEth0    = place{nsDNS, 2, "eth0"}
	aSocket    = place{ns: nsNodeA}
	service    = netip.MustParseAddrPort("10.96.0.10:53")
	backend    = netip.MustParseAddrPort("10.244.2.53:53")
	webPod     = netip.MustParseAddrPort("10.244.1.10:41522")
	nodeAddr   = netip.MustParseAddrPort("192.0.2.1:40001")
	answerAddr = netip.MustParseAddr("203.0.113.7")
	overlay    = &Tunnel{
		Kind: "vxlan", VNI: 4096,
		Src: netip.MustParseAddrPort("192.0.2.1:50741"), Dst: netip.MustParseAddrPort("192.0.2.2:4789"),
	}
	overlayBack = &Tunnel{
		Kind: "vxlan", VNI: 4096,
		Src: netip.MustParseAddrPort("192.0.2.2:50741"), Dst: netip.MustParseAddrPort("192.0.2.1:4789"),
	}
)

// sceneStart is when a scene's first event happens, ns; sceneStep is the time between events.
const (
	sceneStart = uint64(10 * time.Second)
	sceneStep  = uint64(10 * time.Microsecond)
)

// scene makes up the events of packets on their way, as the probes report them.
type scene struct {
	blind  bool // no netfilter probes
	now    uint64
	events []*Event
	ids    uint64
}

func newScene() *scene { return &scene{now: sceneStart} }

func (s *scene) pass(d time.Duration) { s.now += uint64(d) }

func (s *scene) id() uint64 {
	s.ids++
	return s.ids
}

// packet is one on its way through a scene.
type packet struct {
	sender   uint32 // namespace whose socket sends it
	s        *scene
	id       uint64
	src, dst netip.AddrPort
	ipid     uint16
	ttl      uint8
	response bool
	message  []byte
	tunnel   *Tunnel
	ct       *Conntrack
	hook     Hook
	left     bool
	fresh    bool // the next event has a capture
	tcp      *TCP
	offset   uint16 // of a fragment
	piece    bool   // it is a fragment
	last     bool   // of its datagram
	length   int    // of its payload; 0: that of message
	quote    *Quote
}

// ipHeaders is the length of what precedes the DNS message in captures: IPv4, UDP.
const ipHeaders = 28

func (s *scene) query(client, server netip.AddrPort, id uint16, name string, qtype uint16) *packet {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.Id = id
	number := s.id()
	return &packet{
		s: s, id: number, src: client, dst: server, ipid: uint16(1000 + number), ttl: 64, message: mustPack(m), fresh: true,
	}
}

// ask is a query for a.example.test. A from the pod to the service.
func (s *scene) ask() *packet { return s.query(webPod, service, 4711, "a.example.test.", dns.TypeA) }

// reply answers p as it arrived.
func (p *packet) reply() *packet {
	q := new(dns.Msg)
	if err := q.Unpack(p.message); err != nil {
		panic(err)
	}
	m := new(dns.Msg)
	m.SetReply(q)
	if q.Question[0].Qtype == dns.TypeA {
		m.Answer = append(m.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 30},
			A:   answerAddr.AsSlice(),
		})
	}
	number := p.s.id()
	return &packet{
		s: p.s, id: number, src: p.dst, dst: p.src, ipid: uint16(1000 + number), ttl: 64,
		response: true, message: mustPack(m), fresh: true,
	}
}

func mustPack(m *dns.Msg) []byte {
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// see adds an event of p.
func (p *packet) see(probe Probe, at place, more ...func(*Event)) *packet {
	if p.sender == 0 && probe != ProbeNetifRx && probe != ProbeNetifReceiveSkb {
		p.sender = at.ns
	} else if p.sender == 0 {
		p.sender = ^uint32(0) // it comes from elsewhere
	}
	e := &Event{
		Time: p.s.now, Packet: p.id, Probe: probe, NetNS: at.ns, Ifindex: at.index, Dev: at.dev,
		Src: p.src, Dst: p.dst, Len: uint32(ipHeaders + len(p.message)), TTL: p.ttl, IPID: p.ipid,
		Tunnel: p.tunnel, CT: p.ct, Hook: p.hook, HookLeft: p.hook != "" && p.left,
		DNSLen: uint16(len(p.message)), Response: p.response,
		Local: p.sender == at.ns, TCP: p.tcp, Quote: p.quote, Fragment: p.piece, FragOffset: p.offset, FragLast: p.last,
	}
	if p.length > 0 {
		e.Len = uint32(20 + p.length)
	}
	if p.tcp == nil {
		e.DNSID, e.DNSFlags = be16(p.message, 0), be16(p.message, 2)
	}
	if p.fresh {
		e.Captured, e.DNSOffset = append(make([]byte, ipHeaders), p.message...), ipHeaders
		p.fresh = false
	}
	for _, change := range more {
		change(e)
	}
	p.s.now += sceneStep
	p.s.events = append(p.s.events, e)
	return p
}

func (p *packet) device(probe Probe, at place, more ...func(*Event)) *packet {
	p.hook, p.left = "", false
	return p.see(probe, at, more...)
}

func (p *packet) tx(at place) *packet {
	return p.device(ProbeNetDevQueue, at).device(ProbeNetDevStartXmit, at)
}

func (p *packet) rx(at place) *packet {
	return p.device(ProbeNetifRx, at).device(ProbeNetifReceiveSkb, at)
}

// hooks lets p pass hooks that change nothing.
func (p *packet) hooks(at place, hooks ...Hook) *packet {
	for _, h := range hooks {
		if !p.s.blind {
			p.hook, p.left = h, false
			p.see(ProbeNFEnter, at)
			p.left = true
		}
	}
	return p
}

// nat lets p pass a hook that rewrites it.
func (p *packet) nat(at place, h Hook, rewrite func(*packet)) *packet {
	p.hooks(at, h)
	rewrite(p)
	p.fresh = true
	if !p.s.blind {
		p.see(ProbeNFLeave, at)
	}
	return p
}

// loseIdentity makes the events to come those of a packet not seen before.
func (p *packet) loseIdentity() *packet {
	p.id, p.fresh = p.s.id(), true
	return p
}

func (p *packet) drop(at place, reason, function string) *packet {
	return p.see(ProbeKfreeSkb, at, func(e *Event) { e.Freed = &Freed{Reason: reason, Function: function} })
}

func (p *packet) consume(at place, function string, more ...func(*Event)) *packet {
	return p.see(ProbeConsumeSkb, at, append(more, func(e *Event) { e.Freed = &Freed{Function: function} })...)
}

func (p *packet) read(at place, pid uint32, comm string) *packet {
	return p.consume(place{ns: at.ns}, "skb_consume_udp", func(e *Event) { e.PID, e.Comm = pid, comm })
}

func (p *packet) icmp(at place, typ, code uint8) *packet {
	return p.see(ProbeICMPSend, at, func(e *Event) { e.ICMP = &ICMP{typ, code} })
}

// The stretches of a query's way to the server.

func (p *packet) leavePod() *packet {
	p.device(ProbeNetDevQueue, podEth0, func(e *Event) { e.PID, e.Comm = 4242, "dig" })
	return p.device(ProbeNetDevStartXmit, podEth0).rx(aVeth)
}

func (p *packet) translate() *packet {
	client, server := p.src, p.dst
	p.nat(aBridge, HookPrerouting, func(p *packet) {
		p.dst = backend
		p.ct = &Conntrack{Info: 2, Orig: Flow{client, server}, Reply: Flow{backend, client}}
	})
	return p.device(ProbeNetifReceiveSkb, aBridge)
}

func (p *packet) forward() *packet {
	p.ttl--
	return p.hooks(aBridge, HookForward).hooks(aTunnel, HookPostrouting).tx(aTunnel)
}

func (p *packet) encapsulate() *packet {
	p.tunnel, p.ct, p.hook = overlay, nil, ""
	p.fresh = true
	return p.hooks(aEth0, HookOutput, HookPostrouting).tx(aEth0)
}

func (p *packet) crossWire() *packet {
	return p.rx(bEth0).hooks(bEth0, HookPrerouting, HookInput)
}

func (p *packet) decapsulate() *packet {
	p.tunnel, p.fresh = nil, true
	p.rx(bTunnel).hooks(bTunnel, HookPrerouting, HookForward)
	p.ttl--
	return p.hooks(bBridge, HookPostrouting).tx(bBridge).tx(bVeth)
}

func (p *packet) enterServer() *packet {
	return p.rx(dnsEth0).hooks(dnsEth0, HookPrerouting, HookInput)
}

// toServer is the whole way of a query.
func (p *packet) toServer() *packet {
	return p.leavePod().translate().forward().encapsulate().crossWire().decapsulate().enterServer().read(dnsEth0, 99, "coredns")
}

// The stretches of a reply's way to the client.

func (p *packet) leaveServer() *packet {
	p.tx(dnsEth0).rx(bVeth).device(ProbeNetifReceiveSkb, bBridge).hooks(bBridge, HookPrerouting, HookForward)
	p.ttl--
	p.hooks(bTunnel, HookPostrouting).tx(bTunnel)
	p.tunnel, p.fresh = overlayBack, true
	return p.hooks(bEth0, HookOutput, HookPostrouting).tx(bEth0)
}

// enterNodeA takes the reply to the client, whose query went to server, as far as FORWARD.
func (p *packet) enterNodeA(server netip.AddrPort) *packet {
	p.rx(aEth0).hooks(aEth0, HookPrerouting, HookInput)
	p.tunnel, p.fresh = nil, true
	p.rx(aTunnel).hooks(aTunnel, HookPrerouting)
	p.ct = &Conntrack{Info: 3, Orig: Flow{p.dst, server}, Reply: Flow{p.src, p.dst}}
	p.ttl--
	return p.hooks(aTunnel, HookForward)
}

func (p *packet) untranslate(server netip.AddrPort) *packet {
	p.nat(aBridge, HookPostrouting, func(p *packet) { p.src = server })
	p.tx(aBridge).tx(aVeth)
	p.ct = nil
	return p
}

func (p *packet) enterPod() *packet {
	return p.rx(podEth0).hooks(podEth0, HookPrerouting, HookInput)
}

// toClient is the whole way of a reply.
func (p *packet) toClient() *packet {
	return p.leaveServer().enterNodeA(service).untranslate(service).enterPod().read(podEth0, 4242, "dig")
}

// whole is a lookup in which nothing goes wrong.
func (s *scene) whole(q *packet) {
	q.toServer()
	q.reply().toClient()
}

// correlate gives events to a new Correlator, lets the time of all lookups
// pass, and returns them. It fails the test if anything is left behind.
func correlate(t *testing.T, opts CorrelatorOptions, events []*Event) []*Lookup {
	t.Helper()
	var done []*Lookup
	c := NewCorrelator(opts, func(l *Lookup) { done = append(done, l) })
	last := uint64(0)
	for _, e := range events {
		c.Add(e)
		last = max(last, e.Time)
	}
	c.Advance(last + uint64(time.Hour))
	n := len(done)
	c.Flush()
	if len(done) != n {
		t.Errorf("%d lookups were open a minute after their last event", len(done)-n)
	}
	wantEmpty(t, c)
	return done
}

// wantEmpty fails the test if c still knows anything of a lookup.
func wantEmpty(t *testing.T, c *Correlator) {
	t.Helper()
	if c.pending.len() > 0 || len(c.packets) > 0 || len(c.flows) > 0 || c.Open() > 0 || c.held != 0 {
		t.Errorf("left behind: %d pending events, %d packets, %d flows, %d lookups, %d held events",
			c.pending.len(), len(c.packets), len(c.flows), c.Open(), c.held)
	}
	if len(c.conns) > 0 || c.idle.len() > 0 || c.ending.len() > 0 {
		t.Errorf("left behind: %d connections, to be looked at %d and %d times", len(c.conns), c.idle.len(), c.ending.len())
	}
	if s := c.stories; s.waiting.Len() > 0 || s.held != 0 || len(s.questions.heads) > 0 || len(s.clients.heads) > s.remembered {
		t.Errorf("left behind in stories: %d, %d hops, %d questions; %d clients of %d lookups remembered",
			s.waiting.Len(), s.held, len(s.questions.heads), len(s.clients.heads), s.remembered)
	}
}

// verdict is what a user is told of a lookup.
type verdict struct {
	Outcome    Outcome
	Detail     string
	Attempts   int
	Incomplete bool
	Legs       []string // each by its direction, attempt and last hop
}

func verdictOf(l *Lookup) verdict {
	v := verdict{Outcome: l.Outcome, Detail: l.Detail, Attempts: l.Attempts, Incomplete: l.Incomplete}
	for _, leg := range l.Legs {
		hops := hopsOf(leg)
		v.Legs = append(v.Legs, fmt.Sprintf("%s: %s", legName(leg), hops[len(hops)-1]))
	}
	return v
}

func verdictsOf(lookups []*Lookup) []verdict {
	var all []verdict
	for _, l := range lookups {
		all = append(all, verdictOf(l))
	}
	return all
}

func legName(leg Leg) string {
	if leg.Response {
		return fmt.Sprintf("reply %d", leg.Attempt)
	}
	return fmt.Sprintf("query %d", leg.Attempt)
}

// hopsOf describes each hop of a leg in one line; "none" if it has no hop.
func hopsOf(leg Leg) []string {
	var lines []string
	for i := range leg.Hops {
		lines = append(lines, describeHop(&leg.Hops[i]))
	}
	if lines == nil {
		return []string{"none"}
	}
	return lines
}

func describeHop(h *Hop) string {
	parts := []string{h.Name, nsNames[h.NetNS] + "/" + h.Dev}
	if h.Hook != "" {
		parts = append(parts, string(h.Hook))
	}
	if h.Queued {
		parts = append(parts, "queued")
	}
	if h.Inferred {
		parts = append(parts, "inferred")
	}
	for c := h.Change; c != nil; c = c.Also {
		parts = append(parts, describeChange(c))
	}
	if d := h.Drop; d != nil {
		parts = append(parts, strings.TrimSpace(d.Reason+" in "+d.Function))
		if d.Hook != "" {
			parts = append(parts, fmt.Sprintf("hook %s confirm %t", d.Hook, d.Confirm))
		}
		if d.Errno != 0 {
			parts = append(parts, fmt.Sprintf("errno %d", d.Errno))
		}
	}
	if h.ICMP != nil {
		parts = append(parts, h.ICMP.String())
	}
	if h.PID != 0 {
		parts = append(parts, fmt.Sprintf("%s[%d]", h.Comm, h.PID))
	}
	return strings.Join(parts, " ")
}

func describeChange(c *Change) string {
	if c.Tunnel != nil {
		return fmt.Sprintf("%s %s>%s", c.Kind, c.Tunnel.Src, c.Tunnel.Dst)
	}
	s := fmt.Sprintf("%s %s>%s", c.Kind, c.From, c.To)
	if c.Hook != "" {
		s += fmt.Sprintf(" at %s (%s)", c.Hook, c.HookHow)
	}
	if c.Conntrack {
		s += " by conntrack"
	}
	return s
}

// legsOf describes all hops of a lookup.
func legsOf(l *Lookup) map[string][]string {
	legs := map[string][]string{}
	for _, leg := range l.Legs {
		legs[legName(leg)] = slices.Concat(legs[legName(leg)], hopsOf(leg))
	}
	return legs
}
