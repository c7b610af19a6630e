package kernel

import (
	"bufio"
	"cmp"
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

// readSymbols reads kallsyms. Lines are "ffffffff81000000 T name [module]"; they
// are sorted within the kernel and within each module only. What can't be read is
// left out, and so are addresses that are hidden.
func readSymbols(kallsyms io.Reader) *symbolTable {
	t := &symbolTable{}
	r := bufio.NewReaderSize(kallsyms, 1<<16)
	for {
		line, err := r.ReadSlice('\n')
		if at, name, ok := codeSymbol(line); ok && at != 0 {
			begin := uint32(len(t.names))
			t.names = append(t.names, name...)
			t.at = append(t.at, codeAt{at, begin, uint32(len(t.names))})
		}
		if err != nil {
			break
		}
	}
	slices.SortStableFunc(t.at, func(a, b codeAt) int { return cmp.Compare(a.addr, b.addr) })
	t.at, t.names = slices.Clip(t.at), slices.Clip(t.names)
	return t
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
