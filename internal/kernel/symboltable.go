package kernel

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"slices"
)

// symbolTable has the functions of /proc/kallsyms by address: some 12 bytes each,
// and their names.
type symbolTable struct {
	at    []codeAt
	names []byte // one behind the other
}

// codeAt is where a function begins, and where its name ends in symbolTable.names.
type codeAt struct {
	addr       uint64
	begin, end uint32
}

// What a kernel of a distribution has, with room for its modules: memory is taken
// once, and what is not used of it is not touched.
const (
	usualSymbols = 1 << 17
	usualNames   = 4 << 20
)

// readSymbols reads kallsyms. Lines are "ffffffff81000000 T name [module]"; they
// are sorted within the kernel and within each module only. What can't be read is
// left out, and so are addresses that are hidden. What else is to be found goes to
// f. After an error, what had been read is returned with it.
func readSymbols(kallsyms io.Reader, f *finder) (*symbolTable, error) {
	t := &symbolTable{at: make([]codeAt, 0, usualSymbols), names: make([]byte, 0, usualNames)}
	r := bufio.NewReaderSize(kallsyms, 1<<16)
	var err error
	for err == nil || errors.Is(err, bufio.ErrBufferFull) {
		var line []byte
		line, err = r.ReadSlice('\n')
		at, name, ok := codeSymbol(line)
		if !ok {
			f.takeData(line)
			continue
		}
		f.takeCode(at, name, line)
		if at != 0 {
			begin := uint32(len(t.names))
			t.names = append(t.names, name...)
			t.at = append(t.at, codeAt{at, begin, uint32(len(t.names))})
		}
	}
	slices.SortStableFunc(t.at, func(a, b codeAt) int { return cmp.Compare(a.addr, b.addr) })
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return t, err
}

// nearest returns the name of the function with the highest address up to addr:
// of several there, the first in kallsyms.
func (t *symbolTable) nearest(addr uint64) string {
	i, found := slices.BinarySearchFunc(t.at, addr, func(c codeAt, addr uint64) int { return cmp.Compare(c.addr, addr) })
	if !found {
		if i == 0 {
			return ""
		}
		for i--; i > 0 && t.at[i-1].addr == t.at[i].addr; {
			i--
		}
	}
	return trimVariant(string(t.names[t.at[i].begin:t.at[i].end]))
}
