package kernel

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// reader takes records out of the ring buffer.
type reader struct {
	*ringbuf.Reader
	rec ringbuf.Record
}

func newReader(events *ebpf.Map) (*reader, error) {
	r, err := ringbuf.NewReader(events)
	if err != nil {
		return nil, fmt.Errorf("map ring buffer: %w", err)
	}
	return &reader{Reader: r}, nil
}

// SetDeadline makes Read return os.ErrDeadlineExceeded at t, after it has
// returned all records that were there by then. The programs wake a reader
// only when much is waiting, so a reader polls by short deadlines.
func (s *Session) SetDeadline(t time.Time) { s.reader.SetDeadline(t) }

// Read returns the next record: a struct event and the captured bytes. The
// slice is valid until the next call. It returns os.ErrDeadlineExceeded at the
// deadline, ErrClosed after Close.
func (s *Session) Read() ([]byte, error) {
	err := s.reader.ReadInto(&s.reader.rec)
	switch {
	case errors.Is(err, ringbuf.ErrClosed):
		return nil, ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, os.ErrDeadlineExceeded
	case err != nil:
		return nil, fmt.Errorf("read ring buffer: %w", err)
	}
	return s.reader.rec.RawSample, nil
}
