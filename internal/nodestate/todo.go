package nodestate

import (
	"github.com/dnspath/dnspath/tracer/diagnose"
)

func (s *space) Counters(from, to uint64) (*diagnose.Counters, error) {
	return nil, diagnose.ErrNotRead
}
