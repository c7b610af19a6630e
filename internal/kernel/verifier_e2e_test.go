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
	"github.com/dnspath/dnspath/scripts/vm/costs"
)

// maxProcessed is well under the verifier's limit of a million instructions
// (BPF_COMPLEXITY_LIMIT_INSNS), so that a small change of ours or of a compiler
// does not run into it.
const maxProcessed = 100_000

// costsFile holds the numbers of each kernel.
const costsFile = "../../docs/verifier.md"

// kernelEnv names the kernel to find there; scripts/vm sets it in its guests.
// Other kernels have no numbers to be compared with.
const kernelEnv = "DNSPATH_KERNEL"

// TestVerifierCost loads every program on the running kernel, logs what the
// verifier spent on it, and compares that with what it spent before.
func TestVerifierCost(t *testing.T) {
	spec, err := gen.LoadDnspath()
	if err != nil {
		t.Fatal(err)
	}
	types, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{Netfilter: true, TCX: true}
	if err := new(Session).choose(spec, types, opts); err != nil { // less what this kernel lacks
		t.Fatal(err)
	}
	if err := configure(spec, types, opts); err != nil {
		t.Fatal(err)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs: ebpf.ProgramOptions{KernelTypes: types, LogLevel: ebpf.LogLevelStats},
	})
	if err != nil {
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) {
			t.Fatalf("%+v", ve)
		}
		t.Fatal(err)
	}
	defer coll.Close()

	got := make(map[string]int)
	processed := regexp.MustCompile(`processed (\d+) insns`)
	for _, name := range slices.Sorted(maps.Keys(coll.Programs)) {
		m := processed.FindStringSubmatch(coll.Programs[name].VerifierLog)
		if m == nil {
			t.Errorf("%s: no verifier statistics", name)
			continue
		}
		t.Logf("%-26s %s instructions", name, m[1]) // read by scripts/vm/matrix
		n, err := strconv.Atoi(m[1])
		if err != nil || n > maxProcessed {
			t.Errorf("%s: the verifier processed %d instructions, want at most %d", name, n, maxProcessed)
		}
		got[name] = n
	}
	if kernel := os.Getenv(kernelEnv); kernel != "" {
		checkCosts(t, kernel, got)
	}
}

// checkCosts compares the numbers of a kernel with those that are kept. A tenth
// is what updates of one series may make of them.
func checkCosts(t *testing.T, kernel string, got map[string]int) {
	t.Helper()
	text, err := os.ReadFile(costsFile)
	if err != nil {
		t.Fatal(err)
	}
	table, err := costs.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	want := table.Kernel(kernel)
	for _, name := range slices.Sorted(maps.Keys(got)) {
		switch w, ok := want[name]; {
		case !ok:
			t.Errorf("%s is not in %s for %s: run 'make verifier'", name, costsFile, kernel)
		case 10*got[name] > 11*w || 10*got[name] < 9*w:
			t.Errorf("%s: the verifier processed %d instructions, %d before: if that is meant, run 'make verifier'", name, got[name], w)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is in %s for %s and was not loaded: run 'make verifier'", name, costsFile, kernel)
		}
	}
}
