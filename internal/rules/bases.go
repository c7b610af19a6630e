package rules

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"

	"github.com/dnspath/dnspath/tracer"
)

// hookNumbers are those of enum nf_inet_hooks.
var hookNumbers = map[tracer.Hook]nftables.ChainHook{
	tracer.HookPrerouting: 0, tracer.HookInput: 1, tracer.HookForward: 2, tracer.HookOutput: 3, tracer.HookPostrouting: 4,
}

// savedTables are tables as one run of iptables-save printed them.
type savedTables map[string]*iptablesTable

// bases returns the chains that the hook called, in the order of priority.
func (s *space) bases(q *Question) ([]base, error) {
	var all []base
	if s.nftables && q.Known.Backend != BackendLegacy {
		list, err := s.nftablesBases(q)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	if q.Known.Backend != BackendNFTables {
		list, err := s.legacyBases(q)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	slices.SortStableFunc(all, func(a, b base) int { return a.priority - b.priority })
	return all, nil
}

// nftablesBases returns those of nftables. Tables that iptables-nft made are
// explained by what iptables-save prints: their rules call iptables' own code.
func (s *space) nftablesBases(q *Question) ([]base, error) {
	chains, err := s.chains()
	if err != nil {
		return nil, err
	}
	var all []base
	for _, c := range chains {
		if !meets(q, c) {
			continue
		}
		b := base{
			table: &nftTable{c.Table, s}, chain: c.Name, nat: c.Type == nftables.ChainTypeNAT,
			drops: c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop,
		}
		if c.Priority != nil {
			b.priority = int(*c.Priority)
		}
		saved, err := s.savedBy(q, c.Table)
		if err != nil {
			return nil, err
		}
		if saved != nil && saved.chains[c.Name] != nil {
			b.table = saved
		}
		all = append(all, b)
	}
	return all, nil
}

// meets reports whether the packet came to a chain.
func meets(q *Question, c *nftables.Chain) bool {
	number, known := hookNumbers[q.Hook]
	if c.Hooknum == nil || !known || *c.Hooknum != number || q.nat() && c.Type != nftables.ChainTypeNAT {
		return false
	}
	family := nftables.TableFamilyIPv4
	if q.ipv6() {
		family = nftables.TableFamilyIPv6
	}
	if c.Table.Family != family && c.Table.Family != nftables.TableFamilyINet {
		return false
	}
	k := q.Known
	return (k.Family == "" || k.Family == familyName(c.Table.Family)) &&
		(k.Table == "" || k.Table == c.Table.Name) && (k.Chain == "" || k.Chain == c.Name)
}

// savedBy returns a table of nftables as iptables-nft knows it, or nil if it is
// none of its own.
func (s *space) savedBy(q *Question, t *nftables.Table) (*iptablesTable, error) {
	if _, known := legacyPriority(t.Name, q.Hook); !known || t.Family == nftables.TableFamilyINet || !q.of(t.Name) {
		return nil, nil
	}
	return s.save(q, t.Name, true)
}

// legacyBases returns the chains of iptables' own tables, which register
// themselves in the order of enum nf_ip_hook_priorities.
func (s *space) legacyBases(q *Question) ([]base, error) {
	names, err := s.legacyTables(q)
	if err != nil {
		return nil, err
	}
	var all []base
	for _, name := range names {
		priority, known := legacyPriority(name, q.Hook)
		if !known || q.nat() != (name == "nat") || !q.of(name) || q.Known.Table != "" && q.Known.Table != name {
			continue
		}
		t, err := s.save(q, name, false)
		if err != nil {
			return nil, err
		}
		if t == nil || t.chains[string(q.Hook)] == nil {
			continue
		}
		c := t.chains[string(q.Hook)]
		all = append(all, base{
			table: t, chain: string(q.Hook), priority: priority, nat: name == "nat", drops: c.policy == "DROP", idle: c.packets == 0,
		})
	}
	return all, nil
}

func legacyPriority(table string, hook tracer.Hook) (priority int, known bool) {
	if table == "nat" {
		if hook == tracer.HookPostrouting || hook == tracer.HookInput {
			return 100, true
		}
		return -100, true
	}
	priority, known = map[string]int{"raw": -300, "mangle": -150, "filter": 0, "security": 50}[table]
	return priority, known
}

// of reports whether rules of an iptables table can do the deed: reading a table
// takes its time. Only filter has REJECT, and only raw exempts from conntrack
// (net/ipv4/netfilter/ipt_REJECT.c, net/netfilter/xt_CT.c).
func (q *Question) of(table string) bool {
	switch q.Deed {
	case Reject:
		return table == "filter"
	case exempt:
		return table == "raw"
	}
	return true
}

// legacyTables returns the names of those that exist. Asking iptables for
// another would make it.
func (s *space) legacyTables(q *Question) ([]string, error) {
	file := family(q, "ip_tables_names", "ip6_tables_names")
	if names, ok := s.legacy[file]; ok {
		return names, nil
	}
	err := s.spend(func() error {
		text, err := s.readFile(file)
		s.legacy[file] = strings.Fields(string(text))
		return err
	})
	return s.legacy[file], err
}

func family[T any](q *Question, v4, v6 T) T {
	if q.ipv6() {
		return v6
	}
	return v4
}

// save reads one table by iptables-save. It returns nil if there is no such
// program, or if the program does not know the table.
func (s *space) save(q *Question, name string, nft bool) (*iptablesTable, error) {
	plain := family(q, "iptables", "ip6tables")
	command := plain
	own := plain + "-nft-save"
	if !nft {
		own = plain + "-legacy-save"
	}
	program := findProgram(own)
	if program == "" {
		program = findProgram(plain + "-save")
	} else if !nft {
		command = plain + "-legacy"
	}
	if program == "" {
		return nil, nil
	}
	key := program + " " + name
	if tables, ok := s.saved[key]; ok {
		return tables[name], nil
	}
	err := s.spend(func() error {
		text, err := s.run(program, "-c", "-t", name)
		if err != nil {
			return err
		}
		tables := savedTables{}
		// The program without a backend in its name may be that of the other one.
		if first, _, _ := bytes.Cut(text, []byte("\n")); bytes.Contains(first, []byte("(nf_tables)")) == nft {
			tables, err = parseIPTables(bytes.NewReader(text), command, s.bornAt)
		}
		s.saved[key] = tables
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", name, err)
	}
	return s.saved[key][name], nil
}

// haveNFTables remembers whether this kernel has nftables loaded. Asking
// netlink would load them.
type haveNFTables struct {
	yes   bool
	asked time.Time
}

// askEvery is how often the kernel's symbols are read while it has none.
const askEvery = time.Minute

func (h *haveNFTables) ask(now time.Time) bool {
	if h.yes || !h.asked.IsZero() && now.Sub(h.asked) < askEvery {
		return h.yes
	}
	h.asked = now
	if _, err := os.Stat("/sys/module/nf_tables"); err == nil {
		h.yes = true
		return true
	}
	// Built in, it has no directory there.
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan() && !h.yes; {
		h.yes = bytes.HasSuffix(s.Bytes(), []byte(" nft_do_chain")) || bytes.Contains(s.Bytes(), []byte(" nft_do_chain\t"))
	}
	return h.yes
}
