package nodestate

import (
	"net/netip"

	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

func (s *space) Service(tracer.Transport, netip.AddrPort) (*diagnose.Service, error) {
	return nil, diagnose.ErrNotRead
}
func (s *space) Counters(from, to uint64) (*diagnose.Counters, error) {
	return nil, diagnose.ErrNotRead
}
