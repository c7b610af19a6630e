package kernel

import (
	"io"
	"maps"
	"os"
	"strings"
	"sync"
)

// symbols turns code addresses into function names, and names into addresses.
// /proc/kallsyms is read once, and again if modules have come or gone: to make its
// 100,000 lines takes the kernel a tenth of a second, in which the ring buffer
// fills, and there are tens of places that free DNS packets.
type symbols struct {
	open    func() (io.ReadCloser, error)
	modules func() (map[string]bool, error) // that are loaded
	want    map[string]string               // functions whose addresses are asked for, and the module that may hold each, or ""
	wantVar []string                        // the same of variables

	mu     sync.Mutex
	table  *symbolTable
	found  *finder
	err    error           // of reading kallsyms
	loaded map[string]bool // modules at that time
	known  map[uint64]string
}

// maxSymbols bounds the memory of symbols; there are far fewer call sites of kfree_skb.
const maxSymbols = 4096

func newSymbols() *symbols {
	return &symbols{
		open:    func() (io.ReadCloser, error) { return os.Open("/proc/kallsyms") },
		modules: loadedModules,
		want:    wantedFunctions(),
		wantVar: []string{pageOffsetBase, vmemmapBase},
		known:   map[uint64]string{},
	}
}

// prepare reads what the other methods need.
func (s *symbols) prepare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
}

// refresh reads kallsyms, unless what is known is that of the modules there are.
func (s *symbols) refresh() {
	modules, err := s.modules()
	if s.table != nil && (err != nil || maps.Equal(modules, s.loaded)) {
		return
	}
	s.table, s.found, s.loaded = &symbolTable{}, newFinder(s.want, s.wantVar), modules
	clear(s.known)
	var f io.ReadCloser
	if f, s.err = s.open(); s.err != nil {
		return
	}
	defer f.Close()
	s.table, s.err = readSymbols(f, s.found)
}

// function names the function that addr lies in, or returns "". An unreadable
// or hidden kallsyms (kptr_restrict, no CAP_SYSLOG) gives "".
func (s *symbols) function(addr uint64) string {
	if addr == 0 {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if name, ok := s.known[addr]; ok {
		return name
	}
	if len(s.known) >= maxSymbols {
		clear(s.known)
	}
	s.refresh()
	name := s.table.nearest(addr)
	s.known[addr] = name
	return name
}

// addresses returns where the functions in want lie. A function of a module
// counts if it is in that module, or in the kernel itself along with another of
// the same module, if there is one in want: its name alone may be another's.
// Hidden addresses are 0. The error is that of reading /proc/kallsyms.
func (s *symbols) addresses() (map[string]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.found.functions(), s.err
}

// variables returns where the kernel keeps the variables in wantVar, as far as
// /proc/kallsyms tells (CONFIG_KALLSYMS_ALL) and hides no addresses.
func (s *symbols) variables() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.found.variables
}

// trimVariant cuts off what the compiler added to a function's name when it
// split or specialised it: ip_fragment.constprop.0 is ip_fragment to people.
func trimVariant(name string) string {
	for _, suffix := range []string{".isra.", ".constprop.", ".part.", ".cold", ".llvm."} {
		if i := strings.Index(name, suffix); i > 0 {
			name = name[:i]
		}
	}
	return name
}
