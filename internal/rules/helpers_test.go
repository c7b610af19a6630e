package rules

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

// Addresses of the tests' cluster.
var (
	pod      = netip.MustParseAddrPort("10.244.1.10:41522")
	service  = netip.MustParseAddrPort("10.96.0.10:53")
	backendA = netip.MustParseAddrPort("10.244.1.53:53")
	backendB = netip.MustParseAddrPort("10.244.2.53:53")
)

const udp, tcp = 17, 6

// later is a time after which the counters of the tests were read.
const later = 1000

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// dropOf asks who dropped a query in FORWARD.
func dropOf() *Question {
	return &Question{Deed: Drop, Hook: tracer.HookForward, Protocol: udp, Src: pod, Dst: backendB, Time: 1}
}

// parse reads the tables of one iptables-save, and returns one of them.
func parse(t *testing.T, text, name string) *iptablesTable {
	t.Helper()
	tables, err := parseIPTables(strings.NewReader(text), "iptables", later)
	if err != nil {
		t.Fatal(err)
	}
	if tables[name] == nil {
		t.Fatalf("no table %s in %q", name, text)
	}
	return tables[name]
}

// saved reads a recorded iptables-save.
func saved(t *testing.T, file, name string) *iptablesTable {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(text), name)
}

// baseOf is the chain of a table that a hook calls.
func baseOf(t *iptablesTable, chain string) base {
	c := t.chains[chain]
	return base{table: t, chain: chain, nat: strings.HasSuffix(t.title, " nat"), drops: c.policy == "DROP", idle: c.packets == 0}
}

// answerOf asks some chains, in this order, each of a later priority.
func answerOf(t *testing.T, q *Question, bases ...base) *Answer {
	t.Helper()
	for i := range bases {
		bases[i].priority = i
	}
	found, _, err := findCandidates(q, bases)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := choose(found)
	return a
}
