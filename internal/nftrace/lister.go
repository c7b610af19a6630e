package nftrace

import (
	"bytes"
	"context"
	"os/exec"
	"time"

	"github.com/dnspath/dnspath/internal/kernel"
)

// question is what the lister is asked: to list a chain, or to say when all
// before it was answered.
type question struct {
	namespace  *namespace
	generation uint32
	key        chainKey
	chain      *chain
	told       chan<- struct{}
}

// ask puts a question. It never waits: the reader has no time.
func (t *Tracer) ask(q question) {
	select {
	case t.questions <- q:
	default:
		t.count(func(s *Stats) { s.Unlisted++ })
	}
}

// list answers questions until there are no more.
func (t *Tracer) list() {
	defer close(t.answered)
	for q := range t.questions {
		switch {
		case q.told != nil:
			close(q.told)
		case !t.isAnswered(q) && !q.namespace.ended():
			t.listChain(q)
		}
	}
}

// isAnswered reports whether all rules of the chain that are asked for were
// listed by the answer to another question.
func (t *Tracer) isAnswered(q question) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, rule := range q.chain.rules {
		if !rule.listed {
			return false
		}
	}
	return true
}

// listChain learns what the rules of a chain say, unless they have changed: then
// their handles may mean other rules.
func (t *Tracer) listChain(q question) {
	texts, facts := t.texts(q.namespace, q.key), q.namespace.facts(q.key)
	if q.namespace.generationID() != q.generation {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for handle, rule := range q.chain.rules {
		rule.text, rule.ruleFacts, rule.listed = texts[handle], facts[handle], true
	}
}

// listWithin bounds a run of nft.
const listWithin = 2 * time.Second

// texts asks nft for the text of a chain's rules: the kernel keeps instructions,
// and only nft knows the language. Without nft, or where it can't, rules have a
// handle and a comment.
func (t *Tracer) texts(n *namespace, key chainKey) map[uint64]string {
	command := listCommand(key)
	if t.nft == "" || command == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), listWithin)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, t.nft, command...)
	cmd.Stdout = &out
	if err := kernel.Inside(n.path, cmd.Run); err != nil {
		return nil
	}
	return parseListing(out.String())
}
