package kernel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"github.com/dnspath/dnspath/gen"
)

// Options select what a Session observes. The zero value observes DNS on port
// 53, VXLAN on 4789 and 8472, in every network namespace, by tracepoints alone.
type Options struct {
	Ports      []uint16 // UDP ports that carry DNS; nil is 53; at most MaxPorts
	VXLANPorts []uint16 // nil is 4789 and 8472; at most MaxPorts
	NetNS      []uint32 // inodes of the only namespaces to observe; nil is all
	Netfilter  bool     // attach to netfilter hooks, see SyncNetfilter
	TCX        bool     // attach to tc hooks, see SyncTCX
	RingSize   int      // bytes, a power of two and of pages; 0 is DefaultRingSize
}

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
	reasons map[uint32]string // names of drop reasons
	syms    *symbols

	mu     sync.Mutex
	links  []link.Link
	status []ProbeStatus
	nf     map[uint32][]link.Link // by namespace
	tcx    map[device][]link.Link
	closed bool
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
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, &FeatureError{Feature: "BTF", Needs: "a kernel with CONFIG_DEBUG_INFO_BTF=y (/sys/kernel/btf/vmlinux)", Cause: err}
	}
	// The types themselves are not kept: they are large.
	s := &Session{reasons: dropReasons(types), syms: newSymbols(), nf: map[uint32][]link.Link{}, tcx: map[device][]link.Link{}}
	if err := s.open(types, opts); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Session) open(types *btf.Spec, opts Options) error {
	spec, err := gen.LoadDnspath()
	if err != nil {
		return fmt.Errorf("read embedded programs: %w", err)
	}
	if err := s.choose(spec, types, opts); err != nil {
		return err
	}
	if err := configure(spec, types, opts); err != nil {
		return err
	}
	s.coll, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs: ebpf.ProgramOptions{KernelTypes: types},
	})
	if err != nil {
		return fmt.Errorf("load programs: %w", err)
	}
	for _, inode := range opts.NetNS {
		if err := s.coll.Maps[gen.DnspathMapNetnsWanted].Put(inode, uint8(1)); err != nil {
			return fmt.Errorf("select network namespace %d: %w", inode, err)
		}
	}
	if s.reader, err = newReader(s.coll.Maps[gen.DnspathMapEvents]); err != nil {
		return err
	}
	return s.attachTracepoints()
}

// choose removes from spec what this kernel or opts rule out, and fills s.status.
func (s *Session) choose(spec *ebpf.CollectionSpec, types *btf.Spec, opts Options) error {
	for _, h := range hops {
		why, err := unavailable(types, h, opts)
		if err != nil {
			return err
		}
		s.status = append(s.status, ProbeStatus{Hop: h, Why: why})
		if why == "" {
			continue
		}
		if required[h.Program] {
			return &FeatureError{Feature: string(h.Kind) + " " + h.Target, Needs: "a kernel whose BTF describes it"}
		}
		delete(spec.Programs, h.Program)
	}
	return nil
}

// unavailable says why a hop can't be observed, or "".
func unavailable(types *btf.Spec, h Hop, opts Options) (string, error) {
	switch h.Kind {
	case KindTracepoint:
		if _, err := tracepointArgs(types, h.Target); errors.Is(err, btf.ErrNotFound) {
			return "this kernel has no such tracepoint", nil
		} else if err != nil {
			return "", fmt.Errorf("look up tracepoint %s: %w", h.Target, err)
		}
	case KindNetfilter:
		if !opts.Netfilter {
			return "not asked for (--nf-hooks)", nil
		}
		return haveNetfilter(), nil
	case KindTCX:
		if !opts.TCX {
			return "not asked for (--tc)", nil
		}
		return haveTCX(types), nil
	}
	return "", nil
}

// configure sets what the programs read as constants.
func configure(spec *ebpf.CollectionSpec, types *btf.Spec, opts Options) error {
	size := opts.RingSize
	if size == 0 {
		size = DefaultRingSize
	}
	spec.Maps[gen.DnspathMapEvents].MaxEntries = uint32(size)
	values := map[string]any{
		"filter_netns": opts.NetNS != nil,
		"wakeup_bytes": uint32(size / 8),
	}
	if opts.Ports != nil {
		values["dns_ports"] = ports(opts.Ports)
	}
	if opts.VXLANPorts != nil {
		values["vxlan_ports"] = ports(opts.VXLANPorts)
	}
	for name, tracepoint := range map[string]string{
		"kfree_skb_args":   "kfree_skb",
		"consume_skb_args": "consume_skb",
		"udp_fail_args":    "udp_fail_queue_rcv_skb",
	} {
		n, err := tracepointArgs(types, tracepoint)
		if err != nil && !errors.Is(err, btf.ErrNotFound) {
			return fmt.Errorf("count arguments of %s: %w", tracepoint, err)
		}
		values[name] = uint32(n)
	}
	for name, value := range values {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

func ports(list []uint16) (p [MaxPorts]uint16) {
	copy(p[:], list)
	return p
}

func (s *Session) attachTracepoints() error {
	for i := range s.status {
		st := &s.status[i]
		prog := s.coll.Programs[st.Program]
		if prog == nil || st.Kind != KindTracepoint {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
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
// name: "ring_full", "packet_map".
func (s *Session) Losses() (map[string]uint64, error) {
	names := map[gen.DnspathLoss]string{
		gen.DnspathLossLOSS_RING_FULL:  "ring_full",
		gen.DnspathLossLOSS_PACKET_MAP: "packet_map",
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
