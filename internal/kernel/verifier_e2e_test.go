//go:build e2e

package kernel

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/dnspath/dnspath/gen"
)

// maxProcessed is well under the verifier's limit of a million instructions
// (BPF_COMPLEXITY_LIMIT_INSNS), so that a small change of ours or of a compiler
// does not run into it.
const maxProcessed = 100_000

// TestVerifierCost loads every program on the running kernel and logs what the
// verifier spent on it.
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

	processed := regexp.MustCompile(`processed (\d+) insns`)
	var names []string
	for name := range coll.Programs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		m := processed.FindStringSubmatch(coll.Programs[name].VerifierLog)
		if m == nil {
			t.Errorf("%s: no verifier statistics", name)
			continue
		}
		t.Logf("%-26s %s instructions", name, m[1])
		if n, err := strconv.Atoi(m[1]); err != nil || n > maxProcessed {
			t.Errorf("%s: the verifier processed %d instructions, want at most %d", name, n, maxProcessed)
		}
	}
}
