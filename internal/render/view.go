// Package render shows lookups: as text for people, as JSON for later. Both
// are made from one view of a finished lookup, a Record, so that they can't
// tell different stories.
package render

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer"
)

// SchemaVersion is that of the JSON export: fields may be added under the same
// version, never change their meaning. docs/export.schema.json describes it.
const SchemaVersion = 1

// Record is a lookup as it is shown. What is absent is unknown or does not
// apply.
type Record struct {
	Type       string    `json:"type"` // "lookup"
	Schema     int       `json:"schema"`
	Node       string    `json:"node"`
	ID         string    `json:"id"`
	Time       time.Time `json:"time"` // wall clock of the first event
	LatencyNS  uint64    `json:"latency_ns,omitempty"`
	Name       string    `json:"name,omitempty"`
	QType      string    `json:"qtype,omitempty"`
	DNSID      uint16    `json:"dns_id"`
	Transport  string    `json:"transport"`
	Attempts   int       `json:"attempts"`
	GapsNS     []uint64  `json:"gaps_ns,omitempty"` // between one attempt and the next
	Client     Client    `json:"client"`
	Server     *Endpoint `json:"server,omitempty"`
	Backend    *Endpoint `json:"backend,omitempty"`
	Outcome    string    `json:"outcome"`
	Detail     string    `json:"detail,omitempty"`
	Rcode      string    `json:"rcode,omitempty"`
	Answers    []string  `json:"answers,omitempty"`
	Truncated  bool      `json:"truncated,omitempty"`  // the TC bit of the reply
	EDNSSize   uint16    `json:"edns_size,omitempty"`  // what the client takes over UDP, bytes; absent: no EDNS
	ReplySize  int       `json:"reply_size,omitempty"` // of the reply, bytes
	Defect     string    `json:"defect,omitempty"`     // what is malformed in the query, or in the reply
	Legs       []Leg     `json:"legs"`
	Findings   []Finding `json:"findings"` // why it failed
	Incomplete bool      `json:"incomplete"`
	Why        []string  `json:"incomplete_why,omitempty"`
	Story      string    `json:"story,omitempty"` // the same for lookups that belong together
	StoryOf    *Story    `json:"story_of,omitempty"`
	Links      []Link    `json:"links,omitempty"` // to other lookups
	Nodes      []string  `json:"nodes,omitempty"` // of a lookup of several exports: those that saw it, the client's first
}

// Endpoint is an address and a port.
type Endpoint struct {
	Addr netip.Addr `json:"addr"`
	Port uint16     `json:"port"`
}

// Client is who asked.
type Client struct {
	Endpoint
	NetNS     uint32 `json:"netns,omitempty"`
	NetNSName string `json:"netns_name,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Process   string `json:"process,omitempty"`
	PID       uint32 `json:"pid,omitempty"`
}

// Hop is what happened at one place.
type Hop struct {
	Hop       string    `json:"hop"`
	Layer     string    `json:"layer"`
	Probe     string    `json:"probe"`
	TNS       uint64    `json:"t_ns"` // since the lookup's first event
	NetNS     uint32    `json:"netns,omitempty"`
	NetNSName string    `json:"netns_name,omitempty"`
	Dev       string    `json:"dev,omitempty"`
	Ifindex   uint32    `json:"ifindex,omitempty"`
	Src       string    `json:"src"`
	Dst       string    `json:"dst"`
	Len       uint32    `json:"len"`
	TTL       uint8     `json:"ttl"`
	Hook      string    `json:"hook,omitempty"`
	Verdict   string    `json:"verdict,omitempty"` // of a function: accept, drop, stolen, queue, repeat; ok, failed
	Table     *Table    `json:"table,omitempty"`
	CTState   string    `json:"ct_state,omitempty"` // of conntrack: new, established, reply, related, related reply, untracked, invalid
	Route     *Route    `json:"route,omitempty"`
	Waits     *Waits    `json:"waits,omitempty"`
	Change    *Change   `json:"change,omitempty"`
	Changes   []Change  `json:"more_changes,omitempty"` // of a hop that made several at once
	Tunnel    *Tunnel   `json:"tunnel,omitempty"`
	Drop      *Drop     `json:"drop,omitempty"`
	Checksum  *Checksum `json:"checksum,omitempty"`
	Rules     []Rule    `json:"rules,omitempty"` // of nftables, that it met here, in order
	ICMP      *ICMP     `json:"icmp,omitempty"`
	Process   string    `json:"process,omitempty"`
	PID       uint32    `json:"pid,omitempty"`
	Inferred  bool      `json:"inferred,omitempty"` // concluded from what was seen; it happened no later than t_ns
	Queued    bool      `json:"queued,omitempty"`   // handed to the device, not seen to reach its driver
	Node      string    `json:"node,omitempty"`     // in records that have nodes
	Wire      *Wire     `json:"wire,omitempty"`     // of the hop from one node to the next
}

// Wire is the way between two nodes, of which nobody saw more than its ends.
type Wire struct {
	From      string  `json:"from"`
	To        string  `json:"to"`
	LatencyNS *uint64 `json:"latency_ns,omitempty"` // as are the others: absent where the clocks' offset is unknown
	ErrorNS   *uint64 `json:"error_ns,omitempty"`   // latency is off by this much at most
	OffsetNS  *int64  `json:"offset_ns,omitempty"`  // clock of To, less that of From
}

// Table is a table of iptables, or a base chain of nftables.
type Table struct {
	Tool   string `json:"tool"` // iptables, ip6tables, nftables
	Family string `json:"family,omitempty"`
	Name   string `json:"name,omitempty"`
	Chain  string `json:"chain,omitempty"`
}

// Route is where the packet's routing entry leads, or the port that a bridge
// chose.
type Route struct {
	Dev     string `json:"dev,omitempty"`
	Gateway string `json:"gateway,omitempty"`
	Error   string `json:"error,omitempty"` // why it leads nowhere
}

// Waits is the neighbour whose link-layer address the packet waits for.
type Waits struct {
	Addr  string `json:"addr"`
	Dev   string `json:"dev"`
	State string `json:"state"`
}

// Change is a rewrite of the packet's headers.
type Change struct {
	Kind string `json:"kind"` // dnat, snat, un-dnat, un-snat, encap, decap
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	Hook string `json:"hook,omitempty"`
	How  string `json:"hook_how,omitempty"` // "seen", "inferred"
	By
}

// By is what rewrote or dropped the packet.
type By struct {
	Name string `json:"by,omitempty"`
	Rule string `json:"by_rule,omitempty"` // its text
	How  string `json:"by_how,omitempty"`  // "seen", "inferred"
}

// Tunnel is the header around the packet.
type Tunnel struct {
	Kind string `json:"kind"`
	VNI  uint32 `json:"vni,omitempty"` // GRE: its key
	Src  string `json:"src"`
	Dst  string `json:"dst"`

	In *Tunnel `json:"in,omitempty"` // the tunnel around this one
}

// Drop is the end of the packet.
type Drop struct {
	Reason   string `json:"reason,omitempty"`
	Function string `json:"function,omitempty"`
	Meaning  string `json:"meaning,omitempty"`         // for people
	Inferred string `json:"inferred_reason,omitempty"` // by the function, where the kernel gives none
	Hook     string `json:"hook,omitempty"`
	Confirm  bool   `json:"at_confirm,omitempty"` // past all rules of the hook: conntrack's confirmation refused it
	Errno    int    `json:"errno,omitempty"`
	By
}

// Rule is what one rule of nftables, or a chain's policy, did with the packet.
type Rule struct {
	Kind    string `json:"kind"`           // rule, policy, return
	Hook    string `json:"hook,omitempty"` // of the base chain
	Family  string `json:"family"`
	Table   string `json:"table"`
	Base    string `json:"base_chain"`
	Chain   string `json:"chain"`
	Handle  uint64 `json:"handle,omitempty"` // of a rule
	Verdict string `json:"verdict"`          // accept, drop, continue, jump CHAIN, …
	Text    string `json:"text,omitempty"`   // as nft lists it
	Comment string `json:"comment,omitempty"`
}

// ICMP is an error that the node sent about the packet.
type ICMP struct {
	Type    uint8  `json:"type"`
	Code    uint8  `json:"code"`
	Meaning string `json:"meaning"`
}

// Context is what a view needs beyond the lookup itself.
type Context struct {
	Node  string                                // name of the node
	Wall  func(ns uint64) time.Time             // kernel time to wall clock
	NetNS func(inode uint32) (name, pod string) // names of a namespace; empty if unknown
}

// View makes a Record of a lookup.
func (c *Context) View(l *tracer.Lookup) *Record {
	r := &Record{
		Type: "lookup", Schema: SchemaVersion, Node: c.Node, ID: c.id(l.Ref()), Time: c.Wall(l.Start).UTC(),
		LatencyNS: l.Latency, Name: l.Question.Name, DNSID: l.DNSID, Transport: cmp.Or(string(l.Transport), "udp"), Attempts: l.Attempts, GapsNS: gaps(l),
		Outcome: string(l.Outcome), Detail: l.Detail, Findings: findings(l.Findings), Legs: []Leg{}, Incomplete: l.Incomplete, Why: l.Why,
		Client: c.client(l), Server: endpoint(l.Server), Backend: endpoint(l.Backend),
		Defect: l.Question.Defect,
	}
	if name, _ := c.NetNS(l.FateNetNS); name != "" {
		r.Detail += ", in " + name
	}
	if l.Question.Name != "" {
		r.QType = dns.Type(l.Question.Type).String()
	}
	r.EDNSSize, r.ReplySize = l.Question.UDPSize, l.ReplyLen
	if l.Question.Response { // no query was seen
		r.EDNSSize = 0
	}
	if l.Reply != nil {
		r.setReply(l.Reply)
	}
	for i := range l.Legs {
		r.Legs = append(r.Legs, c.leg(&l.Legs[i], l.Start))
	}
	c.setStory(r, l)
	return r
}

// setReply fills in what the server said.
func (r *Record) setReply(m *tracer.Message) {
	if m.Defect == "" || m.Name != "" {
		r.Rcode = rcode(m.Rcode)
	}
	r.Truncated = m.TC
	for _, a := range m.Answers {
		r.Answers = append(r.Answers, a.String())
	}
	if m.Defect != "" && r.Defect == "" {
		r.Defect = "reply: " + m.Defect
	}
}

func rcode(code int) string {
	if name, ok := dns.RcodeToString[code]; ok {
		return name
	}
	return fmt.Sprintf("RCODE%d", code)
}

// id is the same for the same lookup, whoever computes it.
func (c *Context) id(l tracer.Ref) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d %v %v %d", c.Node, l.Start, l.Client, l.Server, l.DNSID)
	return fmt.Sprintf("%016x", h.Sum64())
}

func (c *Context) client(l *tracer.Lookup) Client {
	v := Client{NetNS: l.NetNS, Process: l.Comm, PID: l.PID}
	if e := endpoint(l.Client); e != nil {
		v.Endpoint = *e
	}
	v.NetNSName, v.Pod = c.NetNS(l.NetNS)
	return v
}

func endpoint(a netip.AddrPort) *Endpoint {
	if !a.IsValid() {
		return nil
	}
	return &Endpoint{Addr: a.Addr(), Port: a.Port()}
}

// hop fills in the view of a hop, which comes after another.
func (c *Context) hop(v *Hop, h *tracer.Hop, before shown, start uint64) {
	*v = Hop{
		Hop: h.Name, Layer: h.Layer, Probe: string(h.Probe), TNS: h.Time - min(h.Time, start), NetNS: h.NetNS,
		Dev: h.Dev, Ifindex: h.Ifindex, Len: h.Len, TTL: h.TTL, Hook: string(h.Hook), Process: h.Comm, PID: h.PID, Queued: h.Queued, Inferred: h.Inferred,
	}
	v.NetNSName, _ = c.NetNS(h.NetNS)
	if h.Tunnel != nil {
		v.Tunnel = tunnel(h.Tunnel)
	}
	v.setFunction(h)
	v.setAddresses(h, before)
	if before.hop != nil && sameSums(h, before.hop) {
		v.Checksum = before.view.Checksum
	} else {
		v.Checksum = checksums(h)
	}
	for ch := h.Change; ch != nil; ch = ch.Also {
		if v.Change == nil {
			v.Change = change(ch)
		} else {
			v.Changes = append(v.Changes, *change(ch))
		}
	}
	if d := h.Drop; d != nil {
		v.Drop = &Drop{
			Reason: d.Reason, Function: d.Function, Meaning: d.Meaning, Inferred: d.Inferred,
			Hook: string(d.Hook), Confirm: d.Confirm, Errno: d.Errno, By: by(d.By),
		}
	}
	for _, r := range h.Rules {
		v.Rules = append(v.Rules, Rule{
			Kind: r.Kind, Hook: string(r.Hook), Family: r.Family, Table: r.Table, Base: r.Base, Chain: r.Chain,
			Handle: r.Handle, Verdict: r.Verdict, Text: r.Text, Comment: r.Comment,
		})
	}
	if h.ICMP != nil {
		v.ICMP = &ICMP{Type: h.ICMP.Type, Code: h.ICMP.Code, Meaning: h.ICMP.String()}
	}
}

// setFunction fills in what a kernel function told.
func (v *Hop) setFunction(h *tracer.Hop) {
	v.Verdict, v.CTState = string(h.Verdict), h.State
	if t := h.Table; t != nil {
		v.Table = &Table{Tool: t.Tool, Family: t.Family, Name: t.Name, Chain: t.Chain}
	}
	if r := h.Route; r != nil {
		v.Route = &Route{Dev: r.Dev, Error: routeError(r.Errno)}
		if r.Gateway.IsValid() {
			v.Route.Gateway = r.Gateway.String()
		}
	}
	if n := h.Waits; n != nil {
		v.Waits = &Waits{Addr: n.Addr.String(), Dev: n.Dev, State: n.State}
	}
}

// routeError says what a route's error means (net/ipv4/fib_semantics.c, fib_props).
func routeError(errno int) string {
	switch unix.Errno(errno) {
	case 0:
		return ""
	case unix.ENETUNREACH:
		return "no route"
	case unix.EHOSTUNREACH:
		return "unreachable route"
	case unix.EACCES:
		return "prohibit route"
	case unix.EINVAL:
		return "blackhole route"
	}
	return unix.Errno(errno).Error()
}

func change(c *tracer.Change) *Change {
	v := &Change{Kind: string(c.Kind), Hook: string(c.Hook), How: c.HookHow}
	if c.From.IsValid() {
		v.From, v.To = c.From.String(), c.To.String()
	}
	switch {
	case c.By != nil:
		v.By = by(c.By)
	case c.Conntrack:
		v.By = By{Name: byConntrack, How: tracer.HowSeen}
	}
	return v
}

// byConntrack is said of a rewrite that a conntrack entry tells of, where the
// rule is not known.
const byConntrack = "netfilter nat"

func by(b *tracer.By) By {
	if b == nil {
		return By{}
	}
	return By{Name: b.Name, Rule: b.Rule, How: b.How}
}

func tunnel(t *tracer.Tunnel) *Tunnel {
	v := &Tunnel{Kind: t.Kind, VNI: t.VNI, Src: tunnelEnd(t.Src), Dst: tunnelEnd(t.Dst)}
	if t.In != nil {
		v.In = tunnel(t.In)
	}
	return v
}

// tunnelEnd leaves out the port where the tunnel has none.
func tunnelEnd(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}
