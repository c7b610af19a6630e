package diagnose

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/dnspath/dnspath/tracer"
)

// CheckOptions says whose lookups to check.
type CheckOptions struct {
	Client  NetNS   // that asks
	Node    NetNS   // that translates and routes what it asks; Client itself, of the node's own lookups
	All     []NetNS // of the node: servers may be in one
	Servers []netip.AddrPort
}

// Check is something that a query would meet on its way.
type Check struct {
	Server    netip.AddrPort // asked; zero: it is the same for all
	Transport tracer.Transport
	What      string // service, endpoint, route, …
	Status    Status
	Detail    string
	Finding   string   // the ID of what would be found, if it is not well
	Mend      []string // the best first
}

// Status says whether a Check went well.
type Status string

// The statuses.
const (
	StatusOK      Status = "ok"
	StatusWarn    Status = "warn" // it may harm
	StatusFail    Status = "fail" // lookups fail
	StatusUnknown Status = "unknown"
)

// Walk goes the way that queries would take, by what the configuration says, and
// returns what they would meet, in order. Nothing is sent.
func Walk(o CheckOptions) []Check {
	w := &walk{CheckOptions: o}
	for _, server := range o.Servers {
		for _, transport := range []tracer.Transport{tracer.TransportUDP, tracer.TransportTCP} {
			w.server, w.transport = server, transport
			w.serve()
		}
	}
	w.server, w.transport = netip.AddrPort{}, ""
	for _, server := range o.Servers {
		w.clientFilter(server.Addr())
	}
	w.forwarding()
	w.conntrack()
	return w.checks
}

// walk is on its way to a server.
type walk struct {
	CheckOptions
	server    netip.AddrPort
	transport tracer.Transport
	checks    []Check
	passed    map[string]bool // devices and the like that were checked on the way before
}

func (w *walk) add(what string, status Status, finding, detail string, mend ...string) {
	w.checks = append(w.checks, Check{
		Server: w.server, Transport: w.transport, What: what, Status: status, Detail: detail, Finding: finding, Mend: mend,
	})
}

// ok, warn and fail add a check.
func (w *walk) ok(what, format string, args ...any) {
	w.add(what, StatusOK, "", fmt.Sprintf(format, args...))
}

func (w *walk) warn(what, finding, detail string, mend ...string) {
	w.add(what, StatusWarn, finding, detail, mend...)
}

func (w *walk) fail(what, finding, detail string, mend ...string) {
	w.add(what, StatusFail, finding, detail, mend...)
}

// unread notes what could not be read, and reports whether that is so. What the
// kernel does not have is no gap.
func (w *walk) unread(what string, err error) bool {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.add(what, StatusUnknown, "", err.Error())
	}
	return err != nil
}

// first reports whether a thing is met for the first time; it is then checked.
func (w *walk) first(thing string) bool {
	if w.passed[thing] {
		return false
	}
	if w.passed == nil {
		w.passed = map[string]bool{}
	}
	w.passed[thing] = true
	return true
}

// forwarding checks that the node passes on what pods send.
func (w *walk) forwarding() {
	if w.Client == w.Node {
		return
	}
	for _, family := range w.families() {
		sysctl := map[string]string{"IPv4": "net/ipv4/ip_forward", "IPv6": "net/ipv6/conf/all/forwarding"}[family]
		value, err := w.Node.Sysctl(sysctl)
		switch {
		case w.unread("forwarding", err):
		case value == "0":
			w.fail("forwarding", "forwarding-off", fmt.Sprintf("%s does not forward %s", w.Node.Name(), family), "sysctl -w "+dotted(sysctl)+"=1")
		default:
			w.ok("forwarding", "%s forwards %s", w.Node.Name(), family)
		}
	}
}

// families returns those of the servers.
func (w *walk) families() (out []string) {
	for _, s := range w.Servers {
		family := "IPv4"
		if s.Addr().Is6() {
			family = "IPv6"
		}
		if len(out) == 0 || out[0] != family && len(out) == 1 {
			out = append(out, family)
		}
	}
	return out
}

// conntrackFull is the part of conntrack's table, in per cent, from which on there is little room.
const conntrackFull = 90

func (w *walk) conntrack() {
	ct, err := w.Node.Conntrack()
	if w.unread("conntrack", err) || ct.Max == 0 {
		return
	}
	detail := fmt.Sprintf("%d of %d entries of %s are used", ct.Count, ct.Max, w.Node.Name())
	mend := fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", 2*ct.Max)
	switch {
	case ct.Count >= ct.Max:
		w.fail("conntrack", "conntrack-full", detail, mend)
	case ct.Count*100 >= ct.Max*conntrackFull:
		w.warn("conntrack", "conntrack-full", detail, mend)
	default:
		w.ok("conntrack", "%s", detail)
	}
}

// NodeOf returns the namespace that translates and routes what a client sends to
// a server: that of the client's gateway, or of its veth's other end; the
// client's own, if it is the node.
func NodeOf(client NetNS, all []NetNS, server netip.Addr) (NetNS, error) {
	if client.Host() {
		return client, nil
	}
	r, err := client.Route(RouteQuery{Dst: server})
	if err != nil {
		return nil, fmt.Errorf("ask for the route of %s to %v: %w", client.Name(), server, err)
	}
	w := walk{CheckOptions: CheckOptions{All: all}}
	if r.Gateway.IsValid() {
		if node := w.owner(r.Gateway); node != nil {
			return node, nil
		}
	}
	for _, ns := range all {
		if ns.Host() {
			return ns, nil
		}
	}
	return nil, fmt.Errorf("the network namespace that %s sends to was not found", client.Name())
}
