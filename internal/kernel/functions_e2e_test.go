//go:build e2e

package kernel

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/internal/lab"
)

// TestModuleLoadedLater holds that the functions of a module that is loaded
// after Open are probed too, by every backend.
func TestModuleLoadedLater(t *testing.T) {
	if why := lab.NotHere([]string{"5.10", "6.12"}); why != "" { // without the types of modules, and with all backends
		t.Skip(why)
	}
	const module, function = "ip_gre", "ipgre_xmit"
	load := func() error { return exec.Command("modprobe", module).Run() }
	for _, b := range Backends[:len(Backends)-1] {
		t.Run(string(b), func(t *testing.T) {
			if why := b.Unavailable(); why != "" {
				t.Skip(why)
			}
			if out, err := exec.Command("modprobe", "-r", module).CombinedOutput(); err != nil {
				t.Skipf("%s can't be unloaded: %v: %s", module, err, out)
			}
			t.Cleanup(func() { _ = load() }) // as it was
			s, err := Open(Options{Backend: b})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			status := func() ProbeStatus {
				for _, p := range s.Probes() {
					if p.Program == function {
						return p
					}
				}
				t.Fatalf("no row for %s", function)
				return ProbeStatus{}
			}
			if p := status(); p.Attached || !strings.Contains(p.Why, "module "+module+" is not loaded") {
				t.Errorf("without its module: attached %t, %q", p.Attached, p.Why)
			}
			if err := load(); err != nil {
				t.Fatalf("modprobe: %v", err)
			}
			if err := s.SyncFunctions(); err != nil {
				t.Error(err)
			}
			if p := status(); p.Why != "" && strings.Contains(p.Why, "fentry needs the types") {
				t.Skip(p.Why)
			} else if !p.Attached || p.Why != "" {
				t.Errorf("with its module: attached %t, %q", p.Attached, p.Why)
			}
		})
	}
}
