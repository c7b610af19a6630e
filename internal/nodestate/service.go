package nodestate

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/rules"
	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

type serviceKey struct {
	transport tracer.Transport
	addr      netip.AddrPort
}

// Service returns how rules and IPVS translate an address.
func (s *space) Service(transport tracer.Transport, addr netip.AddrPort) (*diagnose.Service, error) {
	reader := s.reader.opts.Rules
	if reader == nil {
		return nil, diagnose.ErrNotRead
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	return once(s, serviceKey{transport, addr}, func() (*diagnose.Service, error) {
		q := rules.ServiceQuery{Protocol: protocols[transport], Addr: addr}
		route, err := readRoute(diagnose.RouteQuery{Dst: addr.Addr()})
		q.Local = err == nil && route.Local
		found, err := reader.Service(s.Inode, q)
		if found == nil || err != nil {
			return nil, err
		}
		return &diagnose.Service{By: found.By, Endpoints: found.Endpoints, Rejects: found.Rejects, NoTrack: found.NoTrack, Known: found.Known}, nil
	})
}

type masqueradeKey struct {
	flow tracer.Flow
	out  string
}

// Masquerades returns the rule that gives a flow of UDP another source.
func (s *space) Masquerades(flow tracer.Flow, out string) (string, error) {
	reader := s.reader.opts.Rules
	if reader == nil {
		return "", diagnose.ErrNotRead
	}
	return once(s, masqueradeKey{flow, out}, func() (string, error) {
		rule, err := reader.Masquerades(s.Inode, unix.IPPROTO_UDP, flow, out)
		if rule == nil || err != nil {
			return "", err
		}
		by := tracer.By{Name: rule.Name, Rule: rule.Rule}
		return by.String(), nil
	})
}
