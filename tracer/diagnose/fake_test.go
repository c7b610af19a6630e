package diagnose

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// fakeNode is a node's configuration in a table.
type fakeNode map[uint32]*fakeNS

func (n fakeNode) NetNS(inode uint32) NetNS {
	if ns := n[inode]; ns != nil {
		return ns
	}
	return &fakeNS{name: "gone", err: errors.New("the network namespace has gone")}
}

// Wall is ten o'clock at 0.
func (n fakeNode) Wall(ns uint64) time.Time {
	return time.Date(2026, 11, 21, 10, 0, 0, int(ns), time.UTC)
}

// fakeNS is the configuration of a namespace. What is not set is not there.
type fakeNS struct {
	name       string
	host       bool
	err        error // of each method
	links      []Link
	neighbours []Neighbour
	route      func(RouteQuery) *Route
	sysctls    map[string]string
	conntrack  *ConntrackStats
	entries    []ConntrackEntry
	services   map[tracer.Transport]*Service
	masquerade string // the rule
	sockets    []Socket
	unobserved []Socket
	resolver   *Resolver
	counters   *Counters
}

func (n *fakeNS) Name() string                     { return n.name }
func (n *fakeNS) Pod() string                      { return "" }
func (n *fakeNS) Host() bool                       { return n.host }
func (n *fakeNS) Links() ([]Link, error)           { return n.links, n.err }
func (n *fakeNS) Neighbours() ([]Neighbour, error) { return n.neighbours, n.err }

func (n *fakeNS) Route(q RouteQuery) (*Route, error) {
	if n.route == nil {
		return nil, cmpErr(n.err)
	}
	return n.route(q), n.err
}

func (n *fakeNS) Sysctl(name string) (string, error) {
	value, ok := n.sysctls[name]
	if !ok {
		return "", cmpErr(n.err)
	}
	return value, n.err
}

func (n *fakeNS) Conntrack() (*ConntrackStats, error) { return there(n.conntrack, n.err) }
func (n *fakeNS) ConntrackEntries(netip.Addr) ([]ConntrackEntry, error) {
	return n.entries, n.err
}

func (n *fakeNS) Service(t tracer.Transport, _ netip.AddrPort) (*Service, error) {
	return n.services[t], n.err
}
func (n *fakeNS) Masquerades(tracer.Flow, string) (string, error) { return n.masquerade, n.err }
func (n *fakeNS) Sockets() ([]Socket, error)                      { return n.sockets, n.err }
func (n *fakeNS) Unobserved() ([]Socket, error)                   { return n.unobserved, n.err }
func (n *fakeNS) Resolver() (*Resolver, error)                    { return there(n.resolver, n.err) }
func (n *fakeNS) Counters(_, _ uint64) (*Counters, error)         { return there(n.counters, n.err) }
func cmpErr(err error) error {
	if err != nil {
		return err
	}
	return fs.ErrNotExist
}

func there[T any](value *T, err error) (*T, error) {
	if value == nil {
		return nil, cmpErr(err)
	}
	return value, err
}

// Namespaces of the tables.
const (
	nsClient uint32 = 101 + iota
	nsNodeA
	nsNodeB
	nsServer
)

var (
	client   = netip.MustParseAddrPort("10.244.1.10:41522")
	service  = netip.MustParseAddrPort("10.96.0.10:53")
	backend  = netip.MustParseAddrPort("10.244.2.53:53")
	upstream = netip.MustParseAddrPort("192.0.2.53:53")
)

// fakeLookup is a lookup with one query on its way, hop by hop.
func fakeLookup(outcome tracer.Outcome, hops ...tracer.Hop) *tracer.Lookup {
	for i := range hops {
		hops[i].Time = uint64(i)
		if !hops[i].Src.IsValid() {
			hops[i].Src, hops[i].Dst = client, backend
		}
	}
	return &tracer.Lookup{
		Transport: tracer.TransportUDP, Client: client, Server: service, Backend: backend, NetNS: nsClient,
		Question: &tracer.Message{Name: "a.example.test.", Type: 1}, Outcome: outcome,
		Legs: []tracer.Leg{{Attempt: 1, Hops: hops}},
	}
}

// checkDiagnosis diagnoses a lookup, and checks which findings it has.
func checkDiagnosis(t *testing.T, node fakeNode, l *tracer.Lookup, want ...string) {
	t.Helper()
	New(node).Diagnose(l)
	var ids []string
	for _, f := range l.Findings {
		ids = append(ids, f.ID)
		t.Logf("%s: %s (%s) %q mend %q", f.ID, f.Summary, f.Confidence, f.Evidence, f.Mend)
	}
	if !slices.Equal(ids, want) {
		t.Errorf("findings are %q, want %q", ids, want)
	}
}

// fakeChild is a lookup that the server of another one makes for it.
func fakeChild(parent *tracer.Lookup, outcome tracer.Outcome, hops ...tracer.Hop) *tracer.Lookup {
	child := fakeLookup(outcome, hops...)
	child.Client, child.Server, child.Backend = netip.AddrPortFrom(backend.Addr(), 40000), upstream, netip.AddrPort{}
	child.Start = parent.Start + 1
	child.Story = &tracer.Story{First: parent.Ref(), Lookups: 2}
	parent.Story = child.Story
	parent.Links = append(parent.Links, tracer.Link{Kind: tracer.LinkChild, Ref: child.Ref()})
	child.Links = append(child.Links, tracer.Link{Kind: tracer.LinkParent, Ref: parent.Ref()})
	return child
}
