package rules

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// iptablesTable is a table as iptables-save -c prints it.
type iptablesTable struct {
	title  string // "iptables nat"
	chains map[string]*iptablesChain
	read   uint64 // when; ns of CLOCK_MONOTONIC
}

type iptablesChain struct {
	policy  string // "-" of chains that users made
	packets uint64 // that its policy decided
	rules   []rule
}

// iptablesRule is a rule with what it asks, in order.
type iptablesRule struct {
	spec    string // as iptables takes it, without -A CHAIN
	packets uint64
	matches []match
	does    action
	marks   bool // it changes the packet's mark
}

// match is one thing that a rule asks.
type match func(p *packet) tri

// parseIPTables reads what iptables-save -c or ip6tables-save -c prints, and
// returns its tables by name. Tables that it calls incompatible are left out.
func parseIPTables(text io.Reader, command string, read uint64) (map[string]*iptablesTable, error) {
	tables := map[string]*iptablesTable{}
	var t *iptablesTable
	s := bufio.NewScanner(text)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := s.Text()
		switch {
		case strings.HasPrefix(line, "*"):
			t = &iptablesTable{title: command + " " + line[1:], chains: map[string]*iptablesChain{}, read: read}
			tables[line[1:]] = t
		case t == nil:
		case strings.HasPrefix(line, ":"):
			t.addChain(line[1:])
		case strings.HasPrefix(line, "["), strings.HasPrefix(line, "-A "):
			if !t.addRule(line) {
				return nil, fmt.Errorf("can't read rule %q", line)
			}
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	return tables, nil
}

// addChain reads "NAME POLICY [PACKETS:BYTES]".
func (t *iptablesTable) addChain(line string) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return
	}
	c := &iptablesChain{policy: fields[1]}
	if len(fields) > 2 {
		c.packets = packetsOf(fields[2])
	}
	t.chains[fields[0]] = c
}

// addRule reads "[PACKETS:BYTES] -A CHAIN SPEC".
func (t *iptablesTable) addRule(line string) bool {
	r := &iptablesRule{packets: 1} // without a counter: as if it were used
	if strings.HasPrefix(line, "[") {
		counter, rest, _ := strings.Cut(line, " ")
		r.packets, line = packetsOf(counter), rest
	}
	line, ok := strings.CutPrefix(line, "-A ")
	if !ok {
		return false
	}
	name, spec, _ := strings.Cut(line, " ")
	c := t.chains[name]
	if c == nil {
		return false
	}
	r.spec = spec
	r.parse(splitSpec(spec), t.chains)
	c.rules = append(c.rules, r)
	return true
}

// packetsOf reads the first number of "[PACKETS:BYTES]".
func packetsOf(s string) uint64 {
	first, _, _ := strings.Cut(strings.TrimPrefix(s, "["), ":")
	n, err := strconv.ParseUint(first, 10, 64)
	if err != nil {
		return 1 // unknown: as if it were used
	}
	return n
}

func (t *iptablesTable) name() string { return t.title }

func (t *iptablesTable) since() uint64 { return t.read }

func (t *iptablesTable) rules(chain string) ([]rule, error) {
	c := t.chains[chain]
	if c == nil {
		return nil, fmt.Errorf("no chain %q", chain)
	}
	return c.rules, nil
}

func (t *iptablesTable) text(_ string, r rule) string { return r.(*iptablesRule).spec }

func (r *iptablesRule) label() string { return "" }

func (r *iptablesRule) idle() bool { return r.packets == 0 }

func (r *iptablesRule) outcomes(p *packet) ([]outcome, error) {
	all := yes
	for _, m := range r.matches {
		if all = min(all, m(p)); all == no {
			return nil, nil
		}
	}
	if r.marks {
		p.mark = nil
	}
	return []outcome{{sure: all == yes, action: r.does}}, nil
}

// word is a part of a rule. What was quoted is never an option.
type word struct {
	text   string
	quoted bool
}

// option reports whether the word begins something new: -s, --dport, or the !
// before one.
func (w word) option() bool {
	return !w.quoted && (w.text == "!" || len(w.text) > 1 && w.text[0] == '-' && (w.text[1] < '0' || w.text[1] > '9'))
}

// splitSpec splits a rule into words. iptables-save quotes what has blanks, and
// puts a backslash before quotes and backslashes in it.
func splitSpec(spec string) []word {
	var words []word
	for i := 0; i < len(spec); {
		switch {
		case spec[i] == ' ':
			i++
		case spec[i] == '"':
			text, n := unquote(spec[i+1:])
			words = append(words, word{text, true})
			i += n + 1
		default:
			end := strings.IndexByte(spec[i:], ' ')
			if end < 0 {
				end = len(spec) - i
			}
			words = append(words, word{spec[i : i+end], false})
			i += end
		}
	}
	return words
}

// unquote reads up to the closing quote, and returns how much that was.
func unquote(s string) (text string, n int) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
		case s[i] == '"':
			return b.String(), i + 1
		}
		b.WriteByte(s[i])
	}
	return b.String(), len(s)
}
