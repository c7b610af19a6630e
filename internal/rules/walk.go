package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// verb is what a rule does with a packet that it matches.
type verb int

const (
	goOn      verb = iota // to the next rule
	jump                  // to a chain, and back
	goTo                  // to a chain, and back to where this one was called
	comeBack              // to where this chain was called
	accept                // end of this table
	drop                  // end of the packet
	reject                // the same, with an ICMP error
	translate             // NAT
)

// action is a verb with what it needs.
type action struct {
	verb    verb
	chain   string  // of jump and goTo
	nat     *target // of translate
	exempts bool    // of goOn: from conntrack
}

// outcome is what a rule may do with a packet. It is sure if nothing that the
// rule asks is unknown.
type outcome struct {
	sure bool
	action
}

// rule is a rule of any backend.
type rule interface {
	// outcomes returns what the rule may do with a packet: nothing if it does
	// not match. The error is that of reading what it refers to.
	outcomes(p *packet) ([]outcome, error)
	// idle reports whether its counter says that it never matched anything.
	idle() bool
	// label is what follows the chain's name: " handle 7", or nothing.
	label() string
}

// table is a table of any backend.
type table interface {
	name() string // "iptables nat", "nftables inet filter"
	rules(chain string) ([]rule, error)
	// text returns a rule as a user would write it, or nothing.
	text(chain string, r rule) string
	// since is when the counters were read, ns of CLOCK_MONOTONIC; 0: there are none.
	since() uint64
}

// base is a chain that a hook calls.
type base struct {
	table
	chain    string
	priority int
	nat      bool // it sees the first packets of connections alone
	drops    bool // its policy
	idle     bool // by its counter, the policy never decided anything
}

// candidate is a rule that could have done it.
type candidate struct {
	base  *base
	path  []string // chains, the base chain first
	rule  rule     // nil: the policy
	does  action
	sure  bool // the packet came there for sure, and did match
	exact bool // it matches what leads there, if it came past the rules before
	idle  bool // by the counter of a rule on the way, it did not
	fresh bool // the counters are younger than the packet
}

// errDeep is returned for rules through which there are too many ways.
var errDeep = errors.New("too many chains call each other")

// How deep chains may call each other (NFT_JUMP_STACK_SIZE is 16, iptables
// allows more), and how many rules a packet may meet on all its possible ways.
const (
	maxDepth = 64
	maxRules = 200_000
)

// walk follows a packet through the chains of a hook.
type walk struct {
	packet  packet
	base    *base
	met     int // rules, so far
	found   []candidate
	decided bool // it did not get past here
}

// findCandidates returns all rules that could have done it, in the order in
// which the packet met them. The bases are ordered by priority.
func findCandidates(q *Question, bases []base) (found []candidate, srcPort bool, err error) {
	w := &walk{packet: packet{Question: q}}
	for i := range bases {
		w.packet.mark = q.Mark
		// Among chains of the same priority, the order of their creation decides, which is not told.
		if i > 0 && w.decided && bases[i].priority != bases[i-1].priority {
			break
		}
		w.base = &bases[i]
		if err := w.enter(); err != nil {
			return nil, false, fmt.Errorf("%q: %w", w.base.name(), err)
		}
	}
	if q.Certain && (len(w.found) != 1 || !w.found[0].sure) {
		w.found = nil
	}
	return w.found, w.packet.srcPort, nil
}

// enter walks one base chain, then its policy.
func (w *walk) enter() error {
	sure := w.packet.nat() || !w.base.nat // only the first packet of a connection comes to chains of type nat
	left, err := w.run(step{chain: w.base.chain, sure: sure, exact: true})
	if err != nil {
		return err
	}
	if left != no && w.base.drops && w.packet.Deed == Drop {
		sure = sure && left == yes
		w.add(candidate{base: w.base, path: []string{w.base.chain}, sure: sure, idle: w.base.idle})
		w.decided = w.decided || sure
	}
	return nil
}

// step is a chain that the packet may have gone into.
type step struct {
	path  []string // chains on the way to it
	chain string
	sure  bool // it surely came here
	exact bool // it matches all that led here
	idle  bool // by the counter of a rule on the way, it did not
}

// run walks a chain. It returns whether a packet that goes into it comes out
// again, to go on where the chain was called.
func (w *walk) run(s step) (left tri, err error) {
	rules, err := w.base.rules(s.chain)
	if err != nil {
		return no, err
	}
	if w.met += len(rules); len(s.path) >= maxDepth || w.met > maxRules {
		return no, errDeep
	}
	s.path = append(slices.Clip(s.path), s.chain)
	here := yes // whether it comes to the next rule
	left = no
	for _, r := range rules {
		outcomes, err := r.outcomes(&w.packet)
		if err != nil {
			return no, err
		}
		for _, o := range outcomes {
			ends, out, err := w.take(s, r, o)
			if err != nil {
				return no, err
			}
			left = max(left, min(here, out))
			if ends == yes {
				return left, nil
			}
			if ends == maybe {
				here, s.sure = maybe, false
			}
		}
	}
	return max(left, here), nil
}

// take follows one outcome of a rule. It returns whether the packet's way
// through this chain ends there, and whether it thereby comes out of the chain.
func (w *walk) take(s step, r rule, o outcome) (ends, out tri, err error) {
	does := maybe
	if o.sure {
		does = yes
	}
	certain, idle := s.sure && o.sure, s.idle || r.idle()
	switch o.verb {
	case goOn:
		if o.exempts && w.packet.Deed == exempt {
			w.add(candidate{base: w.base, path: s.path, rule: r, does: o.action, sure: certain, exact: s.exact && o.sure, idle: idle})
		}
		return no, no, nil
	case comeBack:
		return does, does, nil
	case jump, goTo:
		back, err := w.run(step{path: s.path, chain: o.chain, sure: certain, exact: s.exact && o.sure, idle: idle})
		if o.verb == goTo {
			return does, min(does, back), err
		}
		return min(does, -back), no, err
	}
	if w.fits(o.action) {
		w.add(candidate{base: w.base, path: s.path, rule: r, does: o.action, sure: certain, exact: s.exact && o.sure, idle: idle})
	}
	if certain && (o.verb == drop || o.verb == reject || o.verb == translate && w.packet.nat()) {
		w.decided = true
	}
	return does, no, nil
}

// fits reports whether an action that ends a packet's way through a table is
// what was seen.
func (w *walk) fits(a action) bool {
	switch w.packet.Deed {
	case Drop:
		return a.verb == drop || a.verb == reject
	case Reject:
		return a.verb == reject
	case lead:
		return a.verb == translate && a.nat.deed == DNAT
	case exempt:
		return false // those that do it go on
	default:
		return a.verb == translate && a.nat.fits(w.packet.Question)
	}
}

// add keeps a candidate; a rule to which two ways lead is still one rule. A
// rule that may or may not drop the packet, and never dropped any, is none. Of
// NAT the address is evidence enough: kube-proxy sets counters back to zero as
// it changes its chains.
func (w *walk) add(c candidate) {
	same := func(o candidate) bool { return o.base == c.base && o.rule == c.rule }
	c.fresh = c.base.since() > w.packet.Time
	if c.idle && c.fresh && !c.sure && !w.packet.nat() || slices.ContainsFunc(w.found, same) {
		return
	}
	w.found = append(w.found, c)
}

// choose answers with the one candidate that is left. counted reports whether
// counters had to decide.
func choose(found []candidate) (a *Answer, counted bool) {
	if len(found) > 1 {
		counted = true
		if used := slices.DeleteFunc(slices.Clone(found), func(c candidate) bool { return c.idle && c.fresh }); len(used) > 0 {
			found = used
		}
	}
	switch len(found) {
	case 0:
		return nil, counted
	case 1:
		return found[0].answer(), counted
	}
	return &Answer{Name: fmt.Sprintf("one of %d rules%s", len(found), shared(found))}, counted
}

// answer names a candidate.
func (c *candidate) answer() *Answer {
	name := c.base.name() + " " + strings.Join(c.path, " → ")
	if c.rule == nil {
		return &Answer{Name: name, Rule: "policy drop"}
	}
	return &Answer{Name: name + c.rule.label(), Rule: c.base.text(c.path[len(c.path)-1], c.rule)}
}

// shared says what several candidates have in common.
func shared(found []candidate) string {
	table, chain := found[0].base.name(), found[0].base.chain
	for _, c := range found[1:] {
		if c.base.name() != table {
			return ""
		}
		if c.base.chain != chain {
			chain = ""
		}
	}
	return strings.TrimRight(" of "+table+" "+chain, " ")
}
