package tracer

import (
	"errors"
	"testing"

	"github.com/dnspath/dnspath/internal/kernel"
)

// TestErrorsIs holds the promises that doc comments make of errors.Is.
func TestErrorsIs(t *testing.T) {
	_, malformed := NewDecoder(fakeResolver{}).Decode(nil)
	_, name := NewFilter(FilterOptions{Names: []string{"["}})
	_, qtype := NewFilter(FilterOptions{Types: []string{"?"}})
	sentinels := map[string]error{
		"ErrMalformed": ErrMalformed, "ErrPattern": ErrPattern, "ErrPermission": ErrPermission, "ErrNotSupported": ErrNotSupported,
	}
	tests := []struct {
		name string
		err  error
		is   string
	}{
		{"Decode", malformed, "ErrMalformed"},
		{"NewFilter, name", name, "ErrPattern"},
		{"NewFilter, type", qtype, "ErrPattern"},
		{"feature", &kernel.FeatureError{Feature: "BTF"}, "ErrNotSupported"},
		{"permission", kernel.ErrPermission, "ErrPermission"},
		{"closed", kernel.ErrClosed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, sentinel := range sentinels {
				if got := errors.Is(tt.err, sentinel); got != (name == tt.is) {
					t.Errorf("errors.Is(%v, %s) is %t", tt.err, name, got)
				}
			}
		})
	}
}
