package kernel

import (
	"github.com/cilium/ebpf/btf"

	"github.com/dnspath/dnspath/gen"
)

// moduleTypes are the kernel's types and, as they are asked for, those that are modules' own.
type moduleTypes struct {
	kernel *btf.Spec
	cache  *btf.Cache // for all that is loaded: to read the kernel's types takes some 20 ms
}

// layout returns where the fields lie that bpf/call.h reads by offset, in
// bytes, by the variable's name; those that no BTF tells of are left out.
func (m *moduleTypes) layout() map[string]uint32 {
	// Without types: struct xt_table as it was up to 5.15 on 64-bit kernels. Names
	// that are no table's are not believed (tracer, decode).
	offsets := map[string]uint32{"xt_table_name": 56}
	for _, f := range []struct{ variable, module, typ, field string }{
		{"xt_table_name", "x_tables", "xt_table", "name"},
		{"nft_pktinfo_state", "nf_tables", "nft_pktinfo", "state"},
		{"nft_chain_name", "nf_tables", "nft_chain", "name"},
		{"nft_chain_table", "nf_tables", "nft_chain", "table"},
		{"nft_table_name", "nf_tables", "nft_table", "name"},
		{"nft_table_family", "nf_tables", "nft_table", "family"},
	} {
		var s *btf.Struct
		if m.find(f.module, f.typ, &s) != nil {
			continue
		}
		for _, member := range s.Members {
			if member.Name == f.field {
				offsets[f.variable] = member.Offset.Bytes()
			}
		}
	}
	return offsets
}

// maxFunctions is MAX_FUNCTIONS of bpf/call.h.
const maxFunctions = 128

// calls returns what the arguments of the table's functions are on this kernel.
func (m *moduleTypes) calls() (calls [maxFunctions]gen.DnspathFunction) {
	for _, h := range hops {
		if h.Kind == KindFunction {
			calls[h.Probe] = h.call
		}
	}
	// Up to 5.15 the table came last (5.16: 8844e01062dd "netfilter: iptables:
	// allow use of ipt_do_table as hookfn"). Without types it is one of those.
	for _, probe := range []gen.DnspathProbe{gen.DnspathProbePROBE_IPT_DO_TABLE, gen.DnspathProbePROBE_IP6T_DO_TABLE} {
		row, _ := HopOf(probe)
		if !m.takesPrivate(row.module, row.Program) {
			calls[probe].Skb, calls[probe].State, calls[probe].Table = 1, 2, 3
		}
	}
	return calls
}

// takesPrivate reports whether a function's first argument is a void pointer.
func (m *moduleTypes) takesPrivate(module, function string) bool {
	var fn *btf.Func
	if m.find(module, function, &fn) != nil {
		return false
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok || len(proto.Params) == 0 {
		return false
	}
	p, ok := proto.Params[0].Type.(*btf.Pointer)
	if !ok {
		return false
	}
	_, void := p.Target.(*btf.Void)
	return void
}

// find looks in the kernel's types, then in the module's.
func (m *moduleTypes) find(module, name string, typ any) error {
	err := m.kernel.TypeByName(name, typ)
	if err == nil {
		return nil
	}
	spec, moduleErr := m.cache.Module(module)
	if moduleErr != nil { // it is not loaded, or without BTF
		return err
	}
	return spec.TypeByName(name, typ)
}
