package kernel

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/dnspath/dnspath/gen"
)

// trials are programs that are loaded only to learn whether the kernel takes
// them, by the variable that says so.
var trials = map[string]string{
	"dynptr_in_tracing":   gen.DnspathProgTryDynptrTracing,
	"dynptr_in_netfilter": gen.DnspathProgTryDynptrNetfilter,
}

// Variables of x86 that tell where memory is mapped (arch/x86/mm/kaslr.c).
const (
	pageOffsetBase = "page_offset_base"
	vmemmapBase    = "vmemmap_base"
)

// reach says how to read what of a packet lies in pages (bpf/pages.h), by the
// variables of the programs. It takes the trials out of spec.
func (s *Session) reach(spec *ebpf.CollectionSpec, types *moduleTypes) map[string]any {
	alone := map[string]*ebpf.ProgramSpec{}
	for _, name := range trials {
		alone[name] = spec.Programs[name]
		delete(spec.Programs, name)
	}
	values := map[string]any{}
	if at := s.syms.variables(); len(at) == len(s.syms.wantVar) {
		for name, at := range at {
			values[name+"_at"] = at
		}
		return values
	}
	var fn *btf.Func
	if s.opts.BTF != "" || types.kernel.TypeByName("bpf_dynptr_from_skb", &fn) != nil {
		return values
	}
	for variable, name := range trials {
		opts := ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: types.kernel}, Cache: types.cache}
		values[variable] = try(alone[name], opts) == nil
	}
	return values
}
