//go:build e2e

package kernel

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/dnspath/dnspath/gen"
	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/scripts/vm/kept"
)

// maxProcessed is well under the verifier's limit of a million instructions
// (BPF_COMPLEXITY_LIMIT_INSNS), so that a small change of ours or of a compiler
// does not run into it.
const maxProcessed = 150_000

// costsFile holds the numbers of each kernel.
const costsFile = "../../docs/verifier.md"

// kernelEnv names the kernel to find there; scripts/vm sets it in its guests.
// Other kernels have no numbers to be compared with.
const kernelEnv = "DNSPATH_KERNEL"

// TestVerifierCost loads every program on the running kernel, logs what the
// verifier spent on it, and compares that with what it spent before.
func TestVerifierCost(t *testing.T) {
	if why := lab.NotHere(lab.SomeGuests); why != "" && os.Getenv(kernelEnv) != "" { // else they are measured anew
		t.Skip(why)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, b := range Backends {
		if b.Unavailable() == "" {
			maps.Copy(got, costsOf(t, b))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		t.Logf("%-26s %d instructions", name, got[name]) // read by scripts/vm/matrix
		if got[name] > maxProcessed {
			t.Errorf("%s: the verifier processed %d instructions, want at most %d", name, got[name], maxProcessed)
		}
	}
	if kernel := os.Getenv(kernelEnv); kernel != "" {
		checkCosts(t, kernel, got)
	}
}

// costsOf loads all programs that a backend needs and returns what each cost.
func costsOf(t *testing.T, b Backend) map[string]int {
	t.Helper()
	spec, err := gen.LoadDnspath()
	if err != nil {
		t.Fatal(err)
	}
	cache := btf.NewCache()
	types, err := cache.Kernel()
	if err != nil {
		t.Fatal(err)
	}
	s := &Session{opts: Options{Netfilter: NetfilterOn, TCX: true}, backend: b, syms: newSymbols()}
	symbols, err := s.syms.addresses()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.choose(spec, &moduleTypes{kernel: types, cache: cache}, symbols); err != nil { // less what this kernel lacks
		t.Fatal(err)
	}
	if err := s.configure(spec, &moduleTypes{kernel: types, cache: cache}); err != nil {
		t.Fatal(err)
	}
	if b != BackendTracepoint { // the others are the same for all
		functions := functionPrograms()
		maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !functions[name] })
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs: ebpf.ProgramOptions{KernelTypes: types, LogLevel: ebpf.LogLevelStats},
	})
	if err != nil {
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) {
			t.Fatalf("%s: %+v", b, ve)
		}
		t.Fatalf("%s: %v", b, err)
	}
	defer coll.Close()
	got := make(map[string]int)
	processed := regexp.MustCompile(`processed (\d+) insns`)
	for name, prog := range coll.Programs {
		m := processed.FindStringSubmatch(prog.VerifierLog)
		if m == nil {
			t.Errorf("%s: no verifier statistics", name)
			continue
		}
		if got[name], err = strconv.Atoi(m[1]); err != nil {
			t.Error(err)
		}
	}
	return got
}

// checkCosts compares the numbers of a kernel with those that are kept. A tenth
// is what updates of one series may make of them.
func checkCosts(t *testing.T, kernel string, got map[string]int) {
	t.Helper()
	text, err := os.ReadFile(costsFile)
	if err != nil {
		t.Fatal(err)
	}
	table, err := kept.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		switch w, err := strconv.Atoi(table[name][kernel]); {
		case err != nil:
			t.Errorf("%s is not in %s for %s: run 'make verifier'", name, costsFile, kernel)
		case 10*got[name] > 11*w || 10*got[name] < 9*w:
			t.Errorf("%s: the verifier processed %d instructions, %d before: if that is meant, run 'make verifier'", name, got[name], w)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if _, ok := got[name]; !ok && table[name][kernel] != "" {
			t.Errorf("%s is in %s for %s and was not loaded: run 'make verifier'", name, costsFile, kernel)
		}
	}
}
