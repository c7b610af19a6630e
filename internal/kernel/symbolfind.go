package kernel

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// finder finds some symbols in the lines of kallsyms.
type finder struct {
	want      map[string]string // functions, and the module that may hold each, or ""
	wantVar   []string
	found     map[string]uint64
	builtIn   map[string]map[string]uint64 // those of modules that are in the kernel itself, by module
	variables map[string]uint64
}

func newFinder(want map[string]string, wantVar []string) *finder {
	return &finder{
		want: want, wantVar: wantVar,
		found: map[string]uint64{}, builtIn: map[string]map[string]uint64{}, variables: map[string]uint64{},
	}
}

// takeCode takes in a function, and the line that has it.
func (f *finder) takeCode(at uint64, name, line []byte) {
	if module, ok := f.want[string(name)]; ok {
		f.note(string(name), module, moduleOf(line), at)
	}
}

// takeData takes in a line that has no function.
func (f *finder) takeData(line []byte) {
	if at, name, ok := symbol(line, "bBdDrR"); ok && at != 0 && slices.Contains(f.wantVar, string(name)) {
		f.variables[string(name)] = at
	}
}

// note takes in that a function of module was found in the module in, "" being
// the kernel itself. The first of several is taken.
func (f *finder) note(name, module, in string, at uint64) {
	to := f.found
	if in != module {
		if in != "" {
			return
		}
		if f.builtIn[module] == nil {
			f.builtIn[module] = map[string]uint64{}
		}
		to = f.builtIn[module]
	}
	if _, ok := to[name]; !ok {
		to[name] = at
	}
}

// functions returns the addresses of the functions that were found.
func (f *finder) functions() map[string]uint64 {
	wanted := map[string]int{} // by module
	for _, module := range f.want {
		wanted[module]++
	}
	all := maps.Clone(f.found)
	for module, functions := range f.builtIn {
		if len(functions) < min(2, wanted[module]) {
			continue
		}
		for name, at := range functions {
			if _, ok := all[name]; !ok {
				all[name] = at
			}
		}
	}
	return all
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
