package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// symbols turns code addresses into function names. /proc/kallsyms is read once,
// and again if modules have come or gone: reading its 100,000 lines takes a tenth
// of a second, in which the ring buffer fills, and there are tens of places that
// free DNS packets.
type symbols struct {
	open    func() (io.ReadCloser, error)
	modules func() (map[string]bool, error) // that are loaded

	mu     sync.Mutex
	table  *symbolTable
	loaded map[string]bool // modules at that time
	known  map[uint64]string
}

// maxSymbols bounds the memory of symbols; there are far fewer call sites of kfree_skb.
const maxSymbols = 4096

func newSymbols() *symbols {
	return &symbols{
		open:    func() (io.ReadCloser, error) { return os.Open("/proc/kallsyms") },
		modules: loadedModules,
		known:   map[uint64]string{},
	}
}

// prepare reads what function needs.
func (s *symbols) prepare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
}

// refresh reads the table of symbols, unless it is that of the modules there are.
func (s *symbols) refresh() {
	modules, err := s.modules()
	if s.table != nil && (err != nil || maps.Equal(modules, s.loaded)) {
		return
	}
	s.table, s.loaded = &symbolTable{}, modules
	clear(s.known)
	f, err := s.open()
	if err != nil {
		return
	}
	defer f.Close()
	s.table = readSymbols(f)
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

// addresses returns where the given functions lie; want has, for each name,
// the module that may hold it, or "". A function of a module counts if it is in
// that module, or in the kernel itself along with another of the same module, if
// there is one in want: its name alone may be another's. Hidden addresses are 0. The error is that of
// reading /proc/kallsyms.
func (s *symbols) addresses(want map[string]string) (map[string]uint64, error) {
	f, err := s.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found := map[string]uint64{}
	builtIn := map[string]map[string]uint64{} // by module
	r := bufio.NewReaderSize(f, 1<<16)
	for {
		line, err := r.ReadSlice('\n')
		if at, sym, ok := codeSymbol(line); ok {
			if module, ok := want[string(sym)]; ok {
				note(found, builtIn, string(sym), module, moduleOf(line), at)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
	wanted := map[string]int{} // by module
	for _, module := range want {
		wanted[module]++
	}
	for module, functions := range builtIn {
		if len(functions) < min(2, wanted[module]) {
			continue
		}
		for name, at := range functions {
			if _, ok := found[name]; !ok {
				found[name] = at
			}
		}
	}
	return found, nil
}

// variables returns where the kernel keeps the given variables, as far as
// /proc/kallsyms tells (CONFIG_KALLSYMS_ALL) and hides no addresses.
func (s *symbols) variables(names ...string) map[string]uint64 {
	f, err := s.open()
	if err != nil {
		return nil
	}
	defer f.Close()
	found := map[string]uint64{}
	for r := bufio.NewReaderSize(f, 1<<16); len(found) < len(names); {
		line, err := r.ReadSlice('\n')
		if at, sym, ok := symbol(line, "bBdDrR"); ok && at != 0 && slices.Contains(names, string(sym)) {
			found[string(sym)] = at
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
	}
	return found
}

// note takes in that a function of module was found in the module in, "" being
// the kernel itself. The first of several is taken.
func note(found map[string]uint64, builtIn map[string]map[string]uint64, name, module, in string, at uint64) {
	if in == module {
		if _, ok := found[name]; !ok {
			found[name] = at
		}
		return
	}
	if in != "" {
		return
	}
	if builtIn[module] == nil {
		builtIn[module] = map[string]uint64{}
	}
	if _, ok := builtIn[module][name]; !ok {
		builtIn[module][name] = at
	}
}

// moduleOf returns what a line of kallsyms has in brackets, or "".
func moduleOf(line []byte) string {
	_, rest, _ := bytes.Cut(line, []byte{'['})
	name, _, ok := bytes.Cut(rest, []byte{']'})
	if !ok {
		return ""
	}
	return string(name)
}

// codeSymbol takes a line of kallsyms apart, if it is one of a function.
func codeSymbol(line []byte) (addr uint64, name []byte, ok bool) { return symbol(line, "tTwW") }

// symbol takes a line of kallsyms apart, if it is one of the given types, as nm has them.
func symbol(line []byte, types string) (addr uint64, name []byte, ok bool) {
	hex, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(rest) < 3 || !strings.ContainsRune(types, rune(rest[0])) {
		return 0, nil, false
	}
	addr, err := strconv.ParseUint(string(hex), 16, 64)
	if err != nil {
		return 0, nil, false
	}
	name = rest[2:]
	if i := bytes.IndexAny(name, " \t\n"); i >= 0 {
		name = name[:i]
	}
	return addr, name, true
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
