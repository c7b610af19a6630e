//go:build e2e

package nodestate

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/names"
	"github.com/dnspath/dnspath/internal/rules"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

func TestMain(m *testing.M) {
	status, err := lab.Isolate(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "node state tests:", err)
	}
	os.Exit(status)
}

// state is a lab with what reads the state of its namespaces.
type state struct {
	*lab.Lab
	names  *names.Resolver
	reader *Reader
}

func raise(t *testing.T, cfg lab.Config) *state {
	t.Helper()
	if why := lab.NotHere(lab.OneGuest); why != "" {
		t.Skip(why)
	}
	l, err := lab.New(t.Context(), cfg)
	if errors.Is(err, lab.ErrNotSupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	s := &state{Lab: l, names: names.New(names.Options{})}
	if err := s.names.Refresh(); err != nil {
		t.Fatal(err)
	}
	s.reader = NewReader(Options{Names: s.name, All: s.names.All, Rules: s.newRules()})
	return s
}

func (s *state) name(inode uint32) names.NetNS {
	ns, _ := s.names.NetNS(inode)
	return ns
}

func (s *state) newRules() *rules.Reader {
	return rules.NewReader(func(inode uint32) string { return s.name(inode).Path }, 0)
}

// of returns the state of a namespace.
func (s *state) of(ns *lab.NS) diagnose.NetNS { return s.reader.NetNS(uint32(ns.Inode())) }

// must returns what was read, and ends the test if it could not be. A slow
// machine may need longer than a verdict may take.
func must[T any](t *testing.T, get func() (T, error)) T {
	t.Helper()
	for {
		value, err := get()
		if err == nil {
			return value
		}
		if !errors.Is(err, errSlow) {
			t.Fatal(err)
		}
	}
}
