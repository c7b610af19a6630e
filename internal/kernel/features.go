package kernel

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
)

// haveNetfilter says why no BPF program can be linked to netfilter hooks, or "".
func haveNetfilter() string {
	if err := features.HaveProgramType(ebpf.Netfilter); err != nil {
		return reason("BPF netfilter links need Linux 6.4", err)
	}
	return ""
}

// haveCookies says whether probes can be told apart by a cookie (5.15).
func haveCookies() bool {
	return features.HaveProgramHelper(ebpf.Kprobe, asm.FnGetAttachCookie) == nil
}

// haveTCX says why the tc programs can't be linked to devices, or "".
func haveTCX(types *btf.Spec) string {
	var fn *btf.Func
	if err := types.TypeByName("bpf_cast_to_kern_ctx", &fn); err != nil {
		return "needs the kfunc bpf_cast_to_kern_ctx (Linux 6.2)"
	}
	var enum *btf.Enum
	if err := types.TypeByName("bpf_attach_type", &enum); err == nil {
		for _, v := range enum.Values {
			if v.Name == "BPF_TCX_INGRESS" {
				return ""
			}
		}
	}
	return "tcx needs Linux 6.6"
}

// try loads a program that uses no map, and lets it go.
func try(program *ebpf.ProgramSpec, opts ebpf.CollectionOptions) error {
	spec := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{"trial": program}}
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return err
	}
	coll.Close()
	return nil
}
