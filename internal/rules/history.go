package rules

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// history is what was read of one namespace, oldest first.
type history []*space

func (h history) last() *space {
	if len(h) == 0 {
		return nil
	}
	return h[len(h)-1]
}

// add adds the newest, and drops what nobody will ask for any more.
func (h history) add(s *space, keep time.Duration) history {
	h = append(h, s)
	old := 0
	for old+1 < len(h) && (s.born.Sub(h[old+1].born) > keep || len(h)-old > maxHistory) {
		old++
	}
	return slices.Delete(h, 0, old)
}

// around returns what was read last before a time, and first after it; nil if
// there is none.
func (h history) around(at uint64) (before, after *space) {
	for _, s := range h {
		if s.bornAt >= at {
			return before, s
		}
		before = s
	}
	return before, nil
}

// agree compares an answer with that of rules which were read a moment before
// the packet came; s may be nil. If those name another rule, the rules have
// changed meanwhile, and nobody knows on which side of the packet. If just one
// of both has a rule that could have done it, that one did.
func (s *space) agree(q *Question, after *Answer) *Answer {
	if s == nil || q.Time-s.bornAt > uint64(s.good()) {
		return after
	}
	before, err := s.ask(q)
	switch {
	case err != nil || before == nil:
		return after
	case after == nil:
		return before
	case after.several() || before.several() || after.same(before):
		return after
	}
	return nil
}

// several reports whether it is no single rule.
func (a *Answer) several() bool { return strings.HasPrefix(a.Name, "one of ") }

// handle is what a rule that is made anew has another of.
var handle = regexp.MustCompile(` handle \d+$`)

// same reports whether both are the same rule, perhaps made anew.
func (a *Answer) same(b *Answer) bool {
	return *a == *b || a.Rule != "" && a.Rule == b.Rule && handle.ReplaceAllString(a.Name, "") == handle.ReplaceAllString(b.Name, "")
}

// maxForeseen bounds the candidates whose texts are read before anybody asks.
const maxForeseen = 4

// foresee reads what a question will take. It may know less of the packet than
// the one that will be asked: more rules fit it.
func (s *space) foresee(q *Question) {
	key := memoOf(q)
	if s.foreseen[key] || len(s.foreseen) >= maxAnswers {
		return
	}
	s.foreseen[key] = true
	if q.Programs.Ifindex != 0 {
		_, _ = s.programs(q.Programs) // kept in s.err
		return
	}
	if a, err := s.ask(q); err != nil || a == nil || !a.several() {
		return
	}
	bases, err := s.bases(q)
	if err != nil {
		return
	}
	found, _, err := findCandidates(q, bases)
	if err != nil {
		return
	}
	for _, c := range found[:min(len(found), maxForeseen)] {
		c.answer()
	}
}
