package tracer

import (
	"net/netip"
	"testing"
	"time"
)

// connects sends the SYN of a connection that is never made.
func (a *asker) connects() {
	a.port++
	st := &stream{s: a.scene, client: uint32(a.port) << 8, addr: netip.AddrPortFrom(a.addr, a.port), to: a.server}
	st.fromClient(TCP{SYN: true}, nil).device(ProbeNetDevQueue, a.at, func(e *Event) { e.PID, e.Comm = a.pid, "app" })
}

// TestTruncationThenHandshake has connections that are never made, over which
// nobody could ask the name for which they were.
func TestTruncationThenHandshake(t *testing.T) {
	const tied = "2:  None, truncation-of 1 inferred"
	checkStories(t, []storyCase{
		{"no connection", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			a.connects()
		}, []string{"1: a.test. A", tied}},
		{"no connection after a while", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			s.pass(500 * time.Millisecond)
			a.connects()
		}, []string{"1: a.test. A", tied}},
		{"two connections", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			a.connects()
			a.connects()
		}, []string{"1: a.test. A", tied, "3:  None"}},
		{"one of two is made", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			a.connects()
			a.overTCP("a.test.", typeA)
		}, []string{"1: story 1: a.test. A, over-tcp 2", "2: story 1: a.test. A, truncation-of 1", "3:  None"}},
		{"two answers", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			a.answered("b.test.", typeA, truncate)
			a.connects()
		}, []string{"1: a.test. A", "2: b.test. A", "3:  None"}},
		{"not truncated", func(s *scene, a *asker) {
			a.answered("a.test.", typeA)
			a.connects()
		}, []string{"1: a.test. A", "2:  None"}},
		{"other server", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			a.server = service
			a.connects()
		}, []string{"1: a.test. A", "2:  None"}},
		{"two processes, one answer each", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			a.pid++
			a.answered("b.test.", typeA, truncate)
			a.pid--
			a.connects()
		}, []string{"1: a.test. A", "2: b.test. A", "3:  None, truncation-of 1 inferred"}},
		{"other process", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			a.pid++
			a.connects()
		}, []string{"1: a.test. A", "2:  None"}},
		{"before the answer", func(s *scene, a *asker) {
			q := a.ask("a.test.", typeA)
			a.connects()
			a.answer(q, truncate)
		}, []string{"1: a.test. A", "2:  None"}},
		{"too late", func(s *scene, a *asker) {
			a.answered("a.test.", typeA, truncate)
			s.pass(1100 * time.Millisecond)
			a.connects()
		}, []string{"1: a.test. A", "2:  None"}},
	})
}

// TestTruncatedRoom holds that where more answers were truncated than are kept,
// the client's newest is not taken for its only one.
func TestTruncatedRoom(t *testing.T) {
	for _, tt := range []struct {
		older  bool // the client has another one, before those of others
		others int
		want   string
	}{{false, maxLook - 1, "truncation-of"}, {true, maxLook, ""}} {
		s := newScene()
		a := newAsker(s)
		if tt.older {
			a.answered("a.test.", typeA, truncate)
		}
		other := *a
		other.at, other.pid, other.port, other.addr = aEth0, 77, 50000, nodeAddr.Addr()
		for range tt.others {
			other.answered("b.test.", typeA, truncate)
		}
		a.answered("c.test.", typeA, truncate)
		a.connects()
		lookups := correlateLive(t, s.events)
		got := ""
		for _, link := range lookups[len(lookups)-1].Links {
			got += string(link.Kind)
		}
		if got != tt.want {
			t.Errorf("behind %d answers of another client the connection's links are %q, want %q", tt.others, got, tt.want)
		}
	}
}
