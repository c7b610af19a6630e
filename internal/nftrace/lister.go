package nftrace

import (
	"bytes"
	"context"
	"os/exec"
	"time"

	"github.com/dnspath/dnspath/internal/kernel"
)

// question is what the lister is asked: the texts of a chain's rules, or to say
// when all before it was answered.
type question struct {
	namespace *namespace
	chain     chainKey
	table     uint64 // its handle
	rule      *rule
	told      chan<- struct{}
}

// ask puts a question; one about a rule that may have dropped or translated a
// packet is urgent. It never waits: the reader has no time.
func (t *Tracer) ask(q question, urgent bool) {
	to := t.questions
	if urgent {
		to = t.urgent
	}
	select {
	case to <- q:
	default:
		t.count(func(s *Stats) { s.Unlisted++ })
	}
}

// list answers questions until there are no more.
func (t *Tracer) list() {
	defer close(t.answered)
	for {
		select {
		case q := <-t.urgent:
			t.answer(q)
			continue
		default:
		}
		select {
		case q := <-t.urgent:
			t.answer(q)
		case q, more := <-t.questions:
			if !more {
				return
			}
			t.answer(q)
		}
	}
}

func (t *Tracer) answer(q question) {
	switch {
	case q.told != nil:
		close(q.told)
	case !t.isListed(q.rule) && !q.namespace.ended():
		t.listChain(q)
	}
}

// isListed reports whether a rule was listed by the answer to another question.
func (t *Tracer) isListed(r *rule) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return r.listed
}

// listChain learns what the rules of a chain say, unless their table is another
// by now: then their handles mean other rules.
func (t *Tracer) listChain(q question) {
	texts := t.texts(q.namespace.path, q.chain)
	if q.table == 0 || q.namespace.askTable(q.chain) != q.table {
		texts = nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	q.rule.listed = true
	for handle, text := range texts {
		if r := q.namespace.rules[ruleKey{q.table, handle}]; r != nil {
			r.text, r.listed = text, true
		}
	}
}

// listWithin bounds a run of nft.
const listWithin = 2 * time.Second

// texts asks nft for the texts of a chain's rules: the kernel keeps instructions,
// and only nft knows the language. Without nft, or where it can't, rules have a
// handle and a comment.
func (t *Tracer) texts(path string, c chainKey) map[uint64]string {
	command := listCommand(c)
	if t.nft == "" || command == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), listWithin)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, t.nft, command...)
	cmd.Stdout = &out
	if err := kernel.Inside(path, cmd.Run); err != nil {
		return nil
	}
	return parseListing(out.String())
}
