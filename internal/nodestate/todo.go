package nodestate

import (
	"net/netip"

	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

func (s *space) Conntrack() (*diagnose.ConntrackStats, error) { return nil, diagnose.ErrNotRead }
func (s *space) ConntrackEntries(netip.Addr) ([]diagnose.ConntrackEntry, error) {
	return nil, diagnose.ErrNotRead
}
func (s *space) Service(tracer.Transport, netip.AddrPort) (*diagnose.Service, error) {
	return nil, diagnose.ErrNotRead
}
func (s *space) Sockets() ([]diagnose.Socket, error) { return nil, diagnose.ErrNotRead }
func (s *space) Counters(from, to uint64) (*diagnose.Counters, error) {
	return nil, diagnose.ErrNotRead
}
