package kernel

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

// symbols turns code addresses into function names. /proc/kallsyms is read
// when an address is first asked for, and not kept: its 100,000 lines and more
// would outweigh all else in memory, while few places ever free a DNS packet.
type symbols struct {
	open func() (io.ReadCloser, error)

	mu    sync.Mutex
	known map[uint64]string
}

// maxSymbols bounds the memory of symbols; there are far fewer call sites of kfree_skb.
const maxSymbols = 4096

func newSymbols() *symbols {
	return &symbols{
		open:  func() (io.ReadCloser, error) { return os.Open("/proc/kallsyms") },
		known: map[uint64]string{},
	}
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
	name := s.lookup(addr)
	s.known[addr] = name
	return name
}

func (s *symbols) lookup(addr uint64) string {
	f, err := s.open()
	if err != nil {
		return ""
	}
	defer f.Close()
	return nearest(f, addr)
}

// nearest returns the name of the code symbol with the highest address up to
// addr. Lines are "ffffffff81000000 T name [module]"; they are sorted within
// the kernel and within each module only.
func nearest(kallsyms io.Reader, addr uint64) string {
	var best uint64
	var name string
	r := bufio.NewReaderSize(kallsyms, 1<<16)
	for {
		line, err := r.ReadSlice('\n')
		if at, sym, ok := codeSymbol(line); ok && at <= addr && at > best {
			best, name = at, string(sym)
		}
		if err != nil {
			return trimVariant(name)
		}
	}
}

// codeSymbol takes a line of kallsyms apart, if it is one of a function.
func codeSymbol(line []byte) (addr uint64, name []byte, ok bool) {
	hex, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(rest) < 3 || !strings.ContainsRune("tTwW", rune(rest[0])) {
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
