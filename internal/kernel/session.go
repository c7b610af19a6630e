package kernel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"github.com/dnspath/dnspath/gen"
)

// Options select what a Session observes. The zero value observes DNS on port
// 53, VXLAN on 4789 and 8472, in every network namespace, by tracepoints alone.
type Options struct {
	Ports       []uint16  // UDP and TCP ports that carry DNS; nil is 53; at most MaxPorts
	VXLANPorts  []uint16  // nil is 4789 and 8472; at most MaxPorts
	GenevePorts []uint16  // nil is 6081; at most MaxPorts
	NetNS       []uint32  // inodes of the only namespaces to observe; nil is all
	Backend     Backend   // how to probe kernel functions
	Netfilter   Netfilter // whether to attach to netfilter hooks, see SyncNetfilter
	BTF         string    // file with the kernel's types, for one that has none; "" is the kernel's own
	TCX         bool      // attach to tc hooks, see SyncTCX
	RingSize    int       // bytes, a power of two and of pages; 0 is DefaultRingSize
}

// Netfilter says whether to attach to netfilter hooks.
type Netfilter string

// NetfilterAuto attaches unless function probes see the hooks.
const (
	NetfilterOff  Netfilter = ""
	NetfilterOn   Netfilter = "on"
	NetfilterAuto Netfilter = "auto"
)

// Limits of Options.
const (
	MaxPorts        = 8
	MaxNetNS        = 1024
	DefaultRingSize = 8 << 20
)

// ProbeStatus says of one row of the table of hops whether a session observes it.
type ProbeStatus struct {
	Hop
	Attached bool
	Why      string // why not, or a condition; empty if there is nothing to say
}

// Session is a set of loaded programs and what they are attached to. Read is
// for one goroutine; all other methods may be called from any.
type Session struct {
	coll    *ebpf.Collection
	reader  *reader
	opts    Options
	backend Backend
	took    Took
	reasons map[uint32]string // names of drop reasons
	seen    map[string]bool   // functions that are probed, by name
	syms    *symbols
	reached map[string]any // what reach said

	mu      sync.Mutex
	links   []link.Link
	status  []ProbeStatus
	modules map[string]bool        // loaded when functions were last looked for
	nf      map[uint32][]link.Link // by namespace
	tcx     map[device][]link.Link
	closed  bool
}

// Open checks privileges, loads the programs and attaches the tracepoints. A
// tracepoint that this kernel lacks is reported by Probes, unless nothing can
// be seen without it. Errors wrap ErrPermission, ErrNotSupported or what the
// kernel answered.
func Open(opts Options) (*Session, error) {
	if err := CheckPrivileges(); err != nil {
		return nil, err
	}
	// Up to 5.10 maps count against RLIMIT_MEMLOCK; later kernels make this a no-op.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit on locked memory: %w", err)
	}
	syms := newSymbols()
	go syms.prepare() // the kernel takes as long to make its list of symbols as we do for the rest
	types, err := kernelTypes(opts.BTF)
	if err != nil {
		return nil, err
	}
	backend, err := opts.Backend.pick(types.cache)
	if err != nil {
		return nil, err
	}
	if backend == BackendFentry && opts.BTF != "" {
		if opts.Backend != BackendAuto {
			return nil, &FeatureError{Feature: "backend fentry with --btf", Needs: "types that the kernel itself has: choose another backend"}
		}
		backend = BackendTracepoint
	}
	s, err := newSession(types, syms, opts, backend)
	if err != nil || opts.Backend != BackendAuto || backend == BackendTracepoint || s.probesFunctions() {
		return s, err
	}
	// The kernel has this backend and refuses every single probe: do without.
	why := s.refusal()
	if err := s.Close(); err != nil {
		return nil, err
	}
	if s, err = newSession(types, syms, opts, BackendTracepoint); err == nil {
		s.setAttached(KindFunction, false, why)
	}
	return s, err
}

// newSession loads and attaches. The types themselves are not kept: they are large.
func newSession(types *moduleTypes, syms *symbols, opts Options, backend Backend) (*Session, error) {
	s := &Session{
		opts: opts, backend: backend, reasons: dropReasons(types), syms: syms,
		nf: map[uint32][]link.Link{}, tcx: map[device][]link.Link{},
	}
	if err := s.open(types); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// kernelTypes reads the kernel's BTF, or that in a file.
func kernelTypes(file string) (*moduleTypes, error) {
	cache := btf.NewCache()
	if file != "" {
		types, err := btf.LoadSpec(file)
		if err != nil {
			return nil, fmt.Errorf("read types in %s: %w; want BTF of the running kernel, as BTFHub has it", file, err)
		}
		return &moduleTypes{types, cache}, nil
	}
	types, err := cache.Kernel()
	if err != nil {
		return nil, &FeatureError{Feature: "BTF",
			Needs: "a kernel with CONFIG_DEBUG_INFO_BTF=y (/sys/kernel/btf/vmlinux), or --btf FILE with its types, as BTFHub has them", Cause: err}
	}
	return &moduleTypes{types, cache}, nil
}

func (s *Session) open(types *moduleTypes) error {
	spec, err := gen.LoadDnspath()
	if err != nil {
		return fmt.Errorf("read embedded programs: %w", err)
	}
	var symbols map[string]uint64
	if s.backend != BackendTracepoint {
		if symbols, err = s.syms.addresses(); err != nil {
			return fmt.Errorf("look for functions: %w", err)
		}
		if s.modules, err = loadedModules(); err != nil {
			return err
		}
	}
	if err := s.choose(spec, types, symbols); err != nil {
		return err
	}
	if err := s.configure(spec, types); err != nil {
		return err
	}
	s.syms.prepare() // later, the ring buffer would fill meanwhile
	begin := time.Now()
	s.coll, err = loadCollection(spec, ebpf.CollectionOptions{
		Programs: ebpf.ProgramOptions{KernelTypes: types.kernel},
		Cache:    types.cache,
	})
	if err != nil {
		return fmt.Errorf("load programs: %w", err)
	}
	s.took.Load = time.Since(begin)
	for _, inode := range s.opts.NetNS {
		if err := s.coll.Maps[gen.DnspathMapNetnsWanted].Put(inode, uint8(1)); err != nil {
			return fmt.Errorf("select network namespace %d: %w", inode, err)
		}
	}
	if s.reader, err = newReader(s.coll.Maps[gen.DnspathMapEvents]); err != nil {
		return err
	}
	if err := s.tellAddresses(symbols); err != nil {
		return err
	}
	var rows []int
	for i, st := range s.status {
		if st.Kind == s.backend.kindOf() && st.Why == "" {
			rows = append(rows, i)
		}
	}
	begin = time.Now()
	defer func() { s.took.Attach = time.Since(begin) }()
	s.attachFunctions(rows, symbols)
	return s.attachTracepoints()
}

// Took is how long Open needed to load the programs, and to attach those that
// are attached once for all namespaces.
type Took struct {
	Load   time.Duration `json:"load_ns"`
	Attach time.Duration `json:"attach_ns"`
}

// Took returns how long Open needed.
func (s *Session) Took() Took { return s.took }

// probesFunctions reports whether any function is probed.
func (s *Session) probesFunctions() bool {
	return slices.ContainsFunc(s.status, func(st ProbeStatus) bool { return st.Kind == s.backend.kindOf() && st.Attached })
}

// refusal returns why the first function that is there could not be probed.
func (s *Session) refusal() string {
	for _, st := range s.status {
		if st.Kind == s.backend.kindOf() && st.module == "" {
			return st.Why
		}
	}
	return ""
}

func (s *Session) attachTracepoints() error {
	for i := range s.status {
		st := &s.status[i]
		prog := s.coll.Programs[st.Program]
		if prog == nil || st.Kind != KindTracepoint {
			continue
		}
		l, err := attachTracepoint(st.Target, prog)
		if err != nil && required[st.Program] {
			return fmt.Errorf("attach to tracepoint %s: %w", st.Target, err)
		}
		if err != nil {
			st.Why = err.Error()
			continue
		}
		s.links = append(s.links, l)
		st.Attached = true
	}
	return nil
}

func attachTracepoint(name string, prog *ebpf.Program) (link.Link, error) {
	if prog.Type() == ebpf.RawTracepoint {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: name, Program: prog})
	}
	return link.AttachTracing(link.TracingOptions{Program: prog})
}

// Probes returns the table of hops with what this session observes of it, in
// the order of a packet's way.
func (s *Session) Probes() []ProbeStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.status)
}

// setAttached notes for the rows of a kind that they are attached somewhere,
// or why not.
func (s *Session) setAttached(kind Kind, attached bool, why string) {
	for i := range s.status {
		if st := &s.status[i]; st.Kind == kind {
			st.Attached, st.Why = attached, why
		}
	}
}

// Losses returns how many events or parts of them were lost since Open, by
// name: "ring_full", "packet_map", "return".
func (s *Session) Losses() (map[string]uint64, error) {
	names := map[gen.DnspathLoss]string{
		gen.DnspathLossLOSS_RING_FULL:  "ring_full",
		gen.DnspathLossLOSS_PACKET_MAP: "packet_map",
		gen.DnspathLossLOSS_RETURN:     "return",
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	sums := make(map[string]uint64, len(names))
	for kind, name := range names {
		var perCPU []uint64
		if err := s.coll.Maps[gen.DnspathMapLost].Lookup(uint32(kind), &perCPU); err != nil {
			return nil, fmt.Errorf("read loss counter %s: %w", name, err)
		}
		for _, n := range perCPU {
			sums[name] += n
		}
	}
	return sums, nil
}

// DropReason returns the name of a drop reason as the running kernel spells
// it, without its prefix, such as "NETFILTER_DROP"; numbers that its BTF does
// not name come back as "reason 0x7b".
func (s *Session) DropReason(reason uint32) string {
	if name, ok := s.reasons[reason]; ok {
		return name
	}
	return fmt.Sprintf("reason %#x", reason)
}

// Symbol returns the name of the function that the address lies in, such as
// "nft_do_chain", or "" if /proc/kallsyms does not tell.
func (s *Session) Symbol(addr uint64) string { return s.syms.function(addr) }

// Close detaches and frees everything. It may be called twice.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for dev := range maps.Keys(s.tcx) {
		errs = append(errs, closeLinks(s.tcx[dev]))
	}
	for inode := range maps.Keys(s.nf) {
		errs = append(errs, closeLinks(s.nf[inode]))
	}
	slices.Reverse(s.links)
	errs = append(errs, closeLinks(s.links))
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	if s.coll != nil {
		s.coll.Close()
	}
	return errors.Join(errs...)
}

func closeLinks(links []link.Link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
