package kernel

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// Backend is a way to probe kernel functions.
type Backend string

// The backends. BackendAuto takes the first of Backends that the kernel allows:
// one program for many functions is attached and detached at once, by two system
// calls, where kprobes need one for each function, and fentry a program and a
// trampoline for each (docs/probes.md has the figures).
const (
	BackendAuto        Backend = ""
	BackendKprobeMulti Backend = "kprobe-multi"
	BackendKprobe      Backend = "kprobe"
	BackendFentry      Backend = "fentry"
	BackendTracepoint  Backend = "tracepoint" // none: tracepoints, netfilter and tc hooks alone
)

// Backends lists all but BackendAuto, best first.
var Backends = []Backend{BackendKprobeMulti, BackendKprobe, BackendFentry, BackendTracepoint}

// Unavailable says why this kernel does not allow a backend, or returns "".
func (b Backend) Unavailable() string { return b.unavailable(btf.NewCache()) }

func (b Backend) unavailable(types *btf.Cache) string {
	switch b {
	case BackendKprobeMulti:
		return haveKprobeMulti()
	case BackendKprobe:
		return haveKprobe()
	case BackendFentry:
		return haveFentry(types)
	}
	return ""
}

// pick returns the backend to use, or a FeatureError that tells what else there is.
func (b Backend) pick(types *btf.Cache) (Backend, error) {
	if b == BackendAuto {
		i := slices.IndexFunc(Backends, func(b Backend) bool { return b.unavailable(types) == "" })
		return Backends[i], nil // the last one always is
	}
	if !slices.Contains(Backends, b) {
		return b, fmt.Errorf("unknown backend %q", b)
	}
	why := b.unavailable(types)
	if why == "" {
		return b, nil
	}
	var others []string
	for _, other := range Backends {
		if other.unavailable(types) == "" {
			others = append(others, string(other))
		}
	}
	return b, &FeatureError{Feature: "backend " + string(b), Needs: "another kernel or setup: " + why + "; possible here: " + strings.Join(others, ", ")}
}

func haveKprobeMulti() string {
	if why := haveKprobe(); why != "" {
		return why
	}
	if err := features.HaveBPFLinkKprobeMulti(); err != nil {
		return reason("probes on many functions at once need Linux 5.18 with CONFIG_FPROBE", err)
	}
	return ""
}

// haveFentry loads the smallest fentry program there is.
func haveFentry(types *btf.Cache) string {
	prog := &ebpf.ProgramSpec{
		Type:         ebpf.Tracing,
		AttachType:   ebpf.AttachTraceFEntry,
		AttachTo:     "ip_rcv",
		License:      "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	}
	if err := try(prog, ebpf.CollectionOptions{Cache: types}); err != nil {
		return reason("the kernel refuses fentry programs", err)
	}
	return ""
}

// haveKprobe looks for the kprobe PMU, which exists with CONFIG_KPROBE_EVENTS.
func haveKprobe() string {
	if _, err := os.Stat("/sys/bus/event_source/devices/kprobe"); err != nil {
		return "the kernel was built without CONFIG_KPROBE_EVENTS"
	}
	if lockdown() == "confidentiality" {
		return "kernel lockdown (confidentiality) forbids kprobes"
	}
	return ""
}

// lockdown returns the mode that the kernel is locked down in, as
// security/lockdown/lockdown.c shows it: none, integrity, confidentiality; or "".
func lockdown() string {
	text, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), "[")
	mode, _, _ := strings.Cut(rest, "]")
	return mode
}

// reason puts a kernel's refusal in words; a plain "not supported" adds nothing.
func reason(what string, err error) string {
	switch {
	case errors.Is(err, unix.EPERM) && lockdown() == "confidentiality":
		return what + ": kernel lockdown (confidentiality) forbids it"
	case errors.Is(err, unix.EPERM):
		return what + ": operation not permitted, although all capabilities are there: by its configuration or a security module"
	case errors.Is(err, ebpf.ErrNotSupported):
		return what
	}
	return fmt.Sprintf("%s: %v", what, err)
}
