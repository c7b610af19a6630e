package kernel

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kallsyms is made up: the kernel's own symbols are sorted, a module's are
// sorted among themselves, and come after, at lower addresses.
const kallsyms = `0000000000000000 D fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000100 t ip_rcv_core.isra.0
ffffffff81000200 T kfree_skb
ffffffff81000280 d not_code
ffffffff81000300 W weak_one
ffffffff81000400 t nf_hook_slow.constprop.0.cold
ffffffff82000000 D _sdata
ffffffffc0200000 t vxlan_rcv	[vxlan]
ffffffffc0200800 t vxlan_xmit_one	[vxlan]
ffffffffc0200a00 d vxlan_net_id	[vxlan]
ffffffffc0100000 t nft_do_chain	[nf_tables]
ffffffffc0100400 t nft_do_chain_inet	[nf_tables]`

func tableOf(t *testing.T, kallsyms string) *symbolTable {
	t.Helper()
	table, err := readSymbols(strings.NewReader(kallsyms), newFinder(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestNearest(t *testing.T) {
	tests := []struct {
		name string
		addr uint64
		want string
	}{
		{"first byte", 0xffffffff81000200, "kfree_skb"},
		{"last byte", 0xffffffff810002ff, "kfree_skb"},
		{"within a weak function", 0xffffffff81000310, "weak_one"},
		{"specialised", 0xffffffff81000110, "ip_rcv_core"},
		{"specialised and split", 0xffffffff81000410, "nf_hook_slow"},
		{"module", 0xffffffffc0200010, "vxlan_rcv"},
		{"module, last function", 0xffffffffc0200900, "vxlan_xmit_one"},
		{"module, out of order", 0xffffffffc0100010, "nft_do_chain"},
		{"module, last line", 0xffffffffc0100410, "nft_do_chain_inet"},
		{"below all", 0xffffffff80ffffff, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tableOf(t, kallsyms).nearest(tt.addr); got != tt.want {
				t.Errorf("nearest(%#x) = %q, want %q", tt.addr, got, tt.want)
			}
		})
	}
}

// TestNearestHidden has the files of a process that may not see addresses.
func TestNearestHidden(t *testing.T) {
	tests := map[string]string{
		"empty":     "",
		"hidden":    "0000000000000000 T _stext\n0000000000000000 T kfree_skb\n0000000000000000 t vxlan_rcv\t[vxlan]\n",
		"rubbish":   "\n \nT\nffffffff81000000\nffffffff81000000 T\nxyz T kfree_skb\n",
		"data only": "ffffffff81000000 D _sdata\nffffffff81000000 b bss\n",
	}
	for name, file := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tableOf(t, file).nearest(0xffffffff81000000); got != "" {
				t.Errorf("nearest is %q, want none", got)
			}
		})
	}
}

func TestCodeSymbol(t *testing.T) {
	type symbol struct {
		Addr uint64
		Name string
		OK   bool
	}
	tests := []struct {
		name, line string
		want       symbol
	}{
		{"global", "ffffffff81000000 T _stext\n", symbol{0xffffffff81000000, "_stext", true}},
		{"local", "ffffffff81000000 t ip_rcv_core\n", symbol{0xffffffff81000000, "ip_rcv_core", true}},
		{"weak", "ffffffff81000000 w weak\n", symbol{0xffffffff81000000, "weak", true}},
		{"of a module", "ffffffffc0100000 t nft_do_chain\t[nf_tables]\n", symbol{0xffffffffc0100000, "nft_do_chain", true}},
		{"last line", "ffffffff81000000 T a", symbol{0xffffffff81000000, "a", true}},
		{"of 32 bits", "c0100000 T stext\n", symbol{0xc0100000, "stext", true}},
		{"data", "ffffffff81000000 D _sdata\n", symbol{}},
		{"absolute", "000000000000f000 A exception_stack\n", symbol{}},
		{"no name", "ffffffff81000000 T\n", symbol{}},
		{"no address", "T kfree_skb\n", symbol{}},
		{"address too long", "fffffffff81000000 T kfree_skb\n", symbol{}},
		{"empty", "", symbol{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr, name, ok := codeSymbol([]byte(tt.line))
			if diff := cmp.Diff(tt.want, symbol{addr, string(name), ok}); diff != "" {
				t.Errorf("symbol (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTrimVariant(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "kfree_skb": "kfree_skb", "ip_fragment.constprop.0": "ip_fragment", "a.isra.0": "a", "a.part.3": "a", "a.cold": "a",
		"a.isra.0.cold": "a", "a.constprop.0.isra.1": "a", "a.llvm.1234567890": "a", ".cold": ".cold", "a.b": "a.b",
		"colder": "colder", "__pfx_a": "__pfx_a",
	} {
		if got := trimVariant(name); got != want {
			t.Errorf("trimVariant(%q) = %q, want %q", name, got, want)
		}
	}
}

// opener counts how often kallsyms is read.
type opener struct {
	text   string
	err    error
	opened int
	closed int
}

func (o *opener) open() (io.ReadCloser, error) {
	o.opened++
	if o.err != nil {
		return nil, o.err
	}
	return closer{strings.NewReader(o.text), o}, nil
}

type closer struct {
	io.Reader
	o *opener
}

func (c closer) Close() error {
	c.o.closed++
	return nil
}

// TestSymbols holds that the file is read once for the modules that there are, and
// closed.
func TestSymbols(t *testing.T) {
	o := &opener{text: kallsyms}
	s := newSymbols()
	s.open = o.open
	modules := map[string]bool{"vxlan": true}
	s.modules = func() (map[string]bool, error) { return maps.Clone(modules), nil }
	for _, addr := range []uint64{0, 0xffffffff81000200, 0xffffffff81000200, 1, 1} {
		want := ""
		if addr > 1 {
			want = "kfree_skb"
		}
		if got := s.function(addr); got != want {
			t.Errorf("function(%#x) = %q, want %q", addr, got, want)
		}
	}
	modules["bridge"] = true
	o.text = "ffffffffc0300000 t br_forward\t[bridge]\n" + kallsyms
	if got := s.function(0xffffffffc0300010); got != "br_forward" {
		t.Errorf("the function of a module that was loaded later is %q, want br_forward", got)
	}
	if o.opened != 2 || o.closed != 2 {
		t.Errorf("kallsyms was opened %d times and closed %d times, want 2 and 2", o.opened, o.closed)
	}
}

func TestSymbolsUnreadable(t *testing.T) {
	s := newSymbols()
	s.open = (&opener{err: errors.New("refused")}).open
	if got := s.function(0xffffffff81000200); got != "" {
		t.Errorf("function is %q, want none", got)
	}
}

func TestSymbolsForget(t *testing.T) {
	s := newSymbols()
	s.open = (&opener{text: kallsyms[strings.LastIndexByte(kallsyms, '\n')+1:]}).open
	for i := range uint64(maxSymbols + 2) {
		if got := s.function(0xffffffffc0100400 + i); got != "nft_do_chain_inet" {
			t.Fatal(fmt.Errorf("function %d is %q", i, got))
		}
	}
	if len(s.known) > maxSymbols {
		t.Errorf("%d symbols are kept, want %d at most", len(s.known), maxSymbols)
	}
}

// TestAddresses holds where functions are looked for: those of a module in it,
// or in the kernel if others of that module are there.
func TestAddresses(t *testing.T) {
	const module = "ffffffffc0100000 t handle_response\t[usbcore]\nffffffffc0200000 t handle_response\t[ip_vs]\nffffffffc0200100 T ip_vs_schedule\t[ip_vs]\n"
	want := map[string]string{"ip_forward": "", "handle_response": "ip_vs", "ip_vs_schedule": "ip_vs", "vxlan_xmit": "vxlan"}
	tests := []struct {
		name, kallsyms string
		found          map[string]uint64
	}{
		{"module", "ffffffff81000000 T ip_forward\nffffffff81000100 t handle_response\n" + module, map[string]uint64{
			"ip_forward": 0xffffffff81000000, "handle_response": 0xffffffffc0200000, "ip_vs_schedule": 0xffffffffc0200100,
		}},
		{"built in", "ffffffff81000100 t handle_response\nffffffff81000200 T ip_vs_schedule\n", map[string]uint64{
			"handle_response": 0xffffffff81000100, "ip_vs_schedule": 0xffffffff81000200,
		}},
		{"built in, of a module with one function", "ffffffff81000100 T vxlan_xmit\n", map[string]uint64{"vxlan_xmit": 0xffffffff81000100}},
		{"another's function of that name", "ffffffff81000100 t handle_response\n", map[string]uint64{}},
		{"the first of two", "ffffffff81000100 T ip_forward\nffffffff81000200 t ip_forward\n", map[string]uint64{"ip_forward": 0xffffffff81000100}},
		{"data", "ffffffff81000100 d ip_forward\n", map[string]uint64{}},
		{"hidden", "0000000000000000 T ip_forward\n", map[string]uint64{"ip_forward": 0}},
		{"specialised", "ffffffff81000100 t ip_forward.isra.0\n", map[string]uint64{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSymbols()
			s.open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(tt.kallsyms)), nil }
			s.want = want
			got, err := s.addresses()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.found, got); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
}

// TestVariables holds that data is found by name, and nothing that is hidden or code.
func TestVariables(t *testing.T) {
	const text = `ffffffff81000100 T page_offset_base
ffffffff82abc000 D vmemmap_base
ffffffff82abc008 d page_offset_base
0000000000000000 D phys_base
`
	s := newSymbols()
	s.wantVar = []string{"page_offset_base", "vmemmap_base", "phys_base", "absent"}
	s.open = (&opener{text: text}).open
	want := map[string]uint64{"page_offset_base": 0xffffffff82abc008, "vmemmap_base": 0xffffffff82abc000}
	if diff := cmp.Diff(want, s.variables()); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	s = newSymbols()
	s.open = (&opener{err: errors.New("refused")}).open
	if got := s.variables(); len(got) != 0 {
		t.Errorf("of an unreadable file: %v", got)
	}
}
