package kernel

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// haveNetfilter says why no BPF program can be linked to netfilter hooks, or "".
func haveNetfilter() string {
	if err := features.HaveProgramType(ebpf.Netfilter); err != nil {
		return reason("BPF netfilter links need Linux 6.4", err)
	}
	return ""
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

// FunctionProbes says, for each way to put a probe on a kernel function, why
// this kernel does not allow it, or "" if it does. The keys are "fentry" and
// "kprobe".
func FunctionProbes() map[string]string {
	return map[string]string{"fentry": haveFentry(), "kprobe": haveKprobe()}
}

// haveFentry loads the smallest fentry program there is.
func haveFentry() string {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.Tracing,
		AttachType:   ebpf.AttachTraceFEntry,
		AttachTo:     "ip_rcv",
		License:      "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return reason("the kernel refuses fentry programs", err)
	}
	prog.Close()
	return ""
}

// haveKprobe looks for the kprobe PMU, which exists with CONFIG_KPROBE_EVENTS.
func haveKprobe() string {
	if _, err := os.Stat("/sys/bus/event_source/devices/kprobe"); err != nil {
		return "the kernel was built without CONFIG_KPROBE_EVENTS"
	}
	return ""
}

// reason puts a kernel's refusal in words; a plain "not supported" adds nothing.
func reason(what string, err error) string {
	if errors.Is(err, unix.EPERM) {
		return what + ": operation not permitted"
	}
	if errors.Is(err, ebpf.ErrNotSupported) {
		return what
	}
	return fmt.Sprintf("%s: %v", what, err)
}
