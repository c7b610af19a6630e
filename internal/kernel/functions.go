package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/dnspath/dnspath/gen"
)

// programs returns the names of the programs that observe a function by
// backend b, for its call and for its return; "" where there is none.
func (h Hop) programs(b Backend) (call, ret string) {
	switch b {
	case BackendKprobeMulti:
		call, ret = gen.DnspathProgFunctionsCalled, gen.DnspathProgFunctionsReturned
	case BackendKprobe:
		call, ret = gen.DnspathProgFunctionCalled, gen.DnspathProgFunctionReturned
	case BackendFentry:
		call, ret = "called_"+h.Program, "returned_"+h.Program
	}
	if h.call.Flags&returns == 0 {
		ret = ""
	}
	return call, ret
}

// kindOf is what ProbeStatus says of a function observed by b.
func (b Backend) kindOf() Kind {
	if b == BackendTracepoint {
		return KindFunction
	}
	return Kind(b)
}

// functionPrograms lists the programs of all functions and backends.
func functionPrograms() map[string]bool {
	names := map[string]bool{}
	for _, h := range hops {
		for _, b := range Backends {
			if h.Kind == KindFunction {
				call, ret := h.programs(b)
				names[call], names[ret] = true, true
			}
		}
	}
	delete(names, "")
	return names
}

// absent says why a function can't be probed, or "".
func (s *Session) absent(h Hop, symbols map[string]uint64, spec *ebpf.CollectionSpec, types *moduleTypes) string {
	switch {
	case s.opts.Backend == BackendTracepoint:
		return "not asked for (--backend)"
	case s.backend == BackendTracepoint:
		return "this kernel allows no function probes"
	}
	if _, ok := symbols[h.Program]; !ok && h.module != "" {
		return fmt.Sprintf("module %s is not loaded, or lacks it", h.module)
	} else if !ok {
		return "this kernel has no such function"
	}
	if s.backend != BackendFentry {
		return ""
	}
	call, _ := h.programs(s.backend)
	if spec.Programs[call] == nil {
		return "its argument is a pointer to a pointer, which fentry can't read"
	}
	var fn *btf.Func
	if types.find(h.module, h.Program, &fn) != nil {
		return fmt.Sprintf("fentry needs the types of module %s (BTF of modules: Linux 5.11)", h.module)
	}
	return ""
}

// loadedModules lists the names in /proc/modules.
func loadedModules() (map[string]bool, error) {
	text, err := os.ReadFile("/proc/modules")
	if errors.Is(err, os.ErrNotExist) { // a kernel without modules
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	modules := map[string]bool{}
	for line := range bytes.Lines(text) {
		name, _, _ := bytes.Cut(line, []byte{' '})
		modules[string(name)] = true
	}
	return modules, nil
}

// wantedFunctions returns the table's functions, and the module that may hold
// each, or "".
func wantedFunctions() map[string]string {
	want := map[string]string{}
	for _, h := range hops {
		if h.Kind == KindFunction {
			want[h.Program] = h.module
		}
	}
	return want
}

// attachFunctions probes the functions of the given rows of s.status, and says
// there what came of it.
func (s *Session) attachFunctions(rows []int, symbols map[string]uint64) {
	switch s.backend {
	case BackendKprobeMulti:
		s.attachMulti(rows, symbols)
	case BackendKprobe, BackendFentry:
		for _, i := range rows {
			links, err := s.attachFunction(s.status[i].Hop)
			if err != nil {
				s.status[i].Why = oneReason(err)
				continue
			}
			s.links = append(s.links, links...)
			s.status[i].Attached, s.status[i].Why = true, ""
		}
	}
}

// attachFunction probes one function: its return first, for a call without it
// is remembered for nothing, and a return without its call is ignored.
func (s *Session) attachFunction(h Hop) (links []link.Link, err error) {
	call, ret := h.programs(s.backend)
	for _, name := range []string{ret, call} {
		if name == "" {
			continue
		}
		l, err := s.attachTo(h, s.coll.Programs[name], name == ret)
		if err != nil {
			return nil, errors.Join(err, closeLinks(links))
		}
		links = append(links, l)
	}
	return links, nil
}

func (s *Session) attachTo(h Hop, prog *ebpf.Program, ret bool) (link.Link, error) {
	if s.backend == BackendFentry {
		return link.AttachTracing(link.TracingOptions{Program: prog})
	}
	var opts link.KprobeOptions
	if haveCookies() {
		opts.Cookie = uint64(h.Probe)
	}
	if ret {
		return link.Kretprobe(h.Target, prog, &opts)
	}
	return link.Kprobe(h.Target, prog, &opts)
}

// attachMulti probes many functions at once.
func (s *Session) attachMulti(rows []int, symbols map[string]uint64) {
	var returning []int
	for _, i := range rows {
		if _, ret := s.status[i].programs(s.backend); ret != "" {
			returning = append(returning, i)
		}
	}
	refused := map[int]error{}
	s.multi(returning, symbols, gen.DnspathProgFunctionsReturned, link.KretprobeMulti, refused)
	s.multi(slices.DeleteFunc(slices.Clone(rows), func(i int) bool { return refused[i] != nil }),
		symbols, gen.DnspathProgFunctionsCalled, link.KprobeMulti, refused)
	for _, i := range rows {
		if err := refused[i]; err != nil {
			s.status[i].Why = oneReason(err)
		} else {
			s.status[i].Attached, s.status[i].Why = true, ""
		}
	}
}

type multiAttach func(*ebpf.Program, link.KprobeMultiOptions) (link.Link, error)

// multi attaches one program to the functions of rows. The kernel takes all of
// them or none: where it refuses, each half is tried, down to those at fault.
func (s *Session) multi(rows []int, symbols map[string]uint64, program string, attach multiAttach, refused map[int]error) {
	if len(rows) == 0 {
		return
	}
	var opts link.KprobeMultiOptions
	hidden := false
	for _, i := range rows {
		h := s.status[i].Hop
		opts.Cookies = append(opts.Cookies, uint64(h.Probe))
		opts.Symbols = append(opts.Symbols, h.Target)
		opts.Addresses = append(opts.Addresses, uintptr(symbols[h.Target]))
		hidden = hidden || symbols[h.Target] == 0
	}
	if hidden {
		opts.Addresses = nil
	} else { // names need not be unique
		opts.Symbols = nil
	}
	l, err := attach(s.coll.Programs[program], opts)
	switch {
	case err == nil:
		s.links = append(s.links, l)
	case len(rows) == 1:
		refused[rows[0]] = err
	default:
		s.multi(rows[:len(rows)/2], symbols, program, attach, refused)
		s.multi(rows[len(rows)/2:], symbols, program, attach, refused)
	}
}

// SyncFunctions probes the functions of modules that were loaded since Open.
func (s *Session) SyncFunctions() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.backend == BackendTracepoint {
		return nil
	}
	modules, err := loadedModules()
	if err != nil {
		return err
	}
	var rows []int
	for i := range s.status {
		if st := &s.status[i]; st.Kind == s.backend.kindOf() && !st.Attached && st.module != "" &&
			modules[st.module] && !s.modules[st.module] {
			rows = append(rows, i)
		}
	}
	s.modules = modules
	if len(rows) == 0 {
		return nil
	}
	symbols, err := s.syms.addresses()
	if err != nil {
		return err
	}
	if rows, err = s.load(rows, symbols); err != nil {
		return err
	}
	s.attachFunctions(rows, symbols)
	return nil
}

// load makes ready for functions that were not there at Open, and returns the
// rows of those that can be probed now: by fentry, each has programs of its own.
func (s *Session) load(rows []int, symbols map[string]uint64) ([]int, error) {
	var spec *ebpf.CollectionSpec
	var types moduleTypes
	var err error
	if s.backend == BackendFentry {
		if spec, err = gen.LoadDnspath(); err != nil {
			return nil, err
		}
		types.cache = btf.NewCache()
		if types.kernel, err = types.cache.Kernel(); err != nil {
			return nil, err
		}
	}
	rows = slices.DeleteFunc(rows, func(i int) bool {
		s.status[i].Why = s.absent(s.status[i].Hop, symbols, spec, &types)
		return s.status[i].Why != ""
	})
	if s.backend != BackendFentry || len(rows) == 0 {
		return rows, s.tellAddresses(symbols)
	}
	wanted := map[string]bool{}
	for _, i := range rows {
		call, ret := s.status[i].programs(s.backend)
		wanted[call], wanted[ret] = true, true
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !wanted[name] })
	return rows, s.loadMore(spec, &types)
}

// loadMore loads the programs of spec beside those that are there, with the same maps.
func (s *Session) loadMore(spec *ebpf.CollectionSpec, types *moduleTypes) error {
	if err := s.configure(spec, types); err != nil {
		return err
	}
	shared := maps.Clone(s.coll.Maps)
	maps.DeleteFunc(shared, func(name string, _ *ebpf.Map) bool { return strings.HasPrefix(name, ".") })
	more, err := loadCollection(spec, ebpf.CollectionOptions{
		Programs:        ebpf.ProgramOptions{KernelTypes: types.kernel},
		MapReplacements: shared,
		Cache:           types.cache,
	})
	if err != nil {
		return fmt.Errorf("load programs for modules: %w", err)
	}
	for name, prog := range more.Programs {
		s.coll.Programs[name] = prog
		delete(more.Programs, name)
	}
	more.Close()
	return nil
}

// tellAddresses tells the programs which function lies where, on kernels
// without cookies.
func (s *Session) tellAddresses(symbols map[string]uint64) error {
	if s.backend != BackendKprobe || haveCookies() {
		return nil
	}
	for _, h := range hops {
		addr := symbols[h.Program]
		if h.Kind != KindFunction || addr == 0 {
			continue
		}
		if err := s.coll.Maps[gen.DnspathMapFunctionsAt].Put(addr, uint32(h.Probe)); err != nil {
			return fmt.Errorf("note the address of %s: %w", h.Program, err)
		}
	}
	return nil
}

// oneReason is an error's text for a table.
func oneReason(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
