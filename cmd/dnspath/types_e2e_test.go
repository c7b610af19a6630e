//go:build e2e

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// kernelTypes is where a kernel has its own types.
const kernelTypes = "/sys/kernel/btf/vmlinux"

// With types from a file, nothing is used that needs them in the kernel, and
// tracepoints tell the same.
func TestBTFFile(t *testing.T) {
	sameEverywhere(t, "TestVerifierCost has loaded all programs")
	text, err := os.ReadFile(kernelTypes)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "vmlinux.btf")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, p := range probesBy(t, "--btf", file, "--tc") {
		if p.Attached && (p.Kind == "nf-link" || p.Kind == "tcx" || p.Kind == "fentry") {
			t.Errorf("%s is observed by %s, which needs types in the kernel", name, p.Kind)
		}
	}
	x, r := answeredAndDropped(t, "--btf", file)
	if r.Backend == nil || r.Backend.String() != "10.244.2.53:53" {
		t.Errorf("backend %v, want 10.244.2.53:53", r.Backend)
	}
	if d := x.only(t, "dropped.example.test."); d.Outcome != "dropped" || !strings.HasSuffix(d.Detail, ", in node-b") {
		t.Errorf("outcome %s: %s, want a drop in node-b", d.Outcome, d.Detail)
	}
}

func TestBTFFileRefused(t *testing.T) {
	sameEverywhere(t, "usage")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, "/nonexistent"} {
		out, err := exec.Command(bin, "probes", "--btf", file).CombinedOutput()
		text := strings.TrimSpace(string(out))
		if err == nil || strings.Contains(text, "\n") || !strings.Contains(text, file) || !strings.Contains(text, "BTFHub") {
			t.Errorf("--btf %s: %v: %s; want one line that names the file and says what to give", file, err, text)
		}
	}
}
