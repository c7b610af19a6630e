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
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case to <- q:
		t.unlisted[q.rule] = true
	default:
		t.stats.Unlisted++
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
	case t.isListed(q.rule):
	case q.namespace.ended():
		t.listed(q, nil)
	default:
		t.listChain(q)
	}
}

// isListed reports whether a rule was listed by the answer to another question.
func (t *Tracer) isListed(r *rule) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.unlisted[r]
}

// giveUp counts the rules that nobody waits for any longer.
func (t *Tracer) giveUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Unlisted += uint64(len(t.unlisted))
	clear(t.unlisted)
}

// listChain learns what the rules of a chain say, unless their table is another
// by now: then their handles mean other rules.
func (t *Tracer) listChain(q question) {
	texts := t.texts(q.namespace.path, q.chain)
	if q.table == 0 || q.namespace.askTable(q.chain) != q.table {
		texts = nil
	}
	t.listed(q, texts)
}

// listed keeps the texts of a chain's rules, by handle: all that there are to have.
func (t *Tracer) listed(q question, texts map[uint64]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.unlisted, q.rule)
	for handle, text := range texts {
		if r := q.namespace.rules[ruleKey{q.table, handle}]; r != nil {
			r.text = text
			delete(t.unlisted, r)
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
