package kernel

import (
	"fmt"
	"maps"

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

// reach says in values how to read what of a packet lies in pages (bpf/pages.h).
func (s *Session) reach(values map[string]any, types *btf.Spec) error {
	variables := s.syms.variables("page_offset_base", "vmemmap_base")
	if len(variables) == 2 {
		for name, at := range variables {
			values[name+"_at"] = at
		}
		return nil
	}
	var fn *btf.Func
	if s.opts.BTF != "" || types.TypeByName("bpf_dynptr_from_skb", &fn) != nil {
		return nil
	}
	for variable, program := range trials {
		ok, err := takes(program)
		if err != nil {
			return err
		}
		values[variable] = ok
	}
	return nil
}

// takes says whether the kernel accepts a program.
func takes(program string) (bool, error) {
	spec, err := gen.LoadDnspath()
	if err != nil {
		return false, fmt.Errorf("read embedded programs: %w", err)
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return name != program })
	spec.Maps, spec.Variables = nil, nil
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return false, nil //nolint:nilerr // that is the answer
	}
	coll.Close()
	return true, nil
}
