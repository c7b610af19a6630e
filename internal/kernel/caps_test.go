package kernel

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMissing(t *testing.T) {
	const (
		bpf, perfmon, net, admin = 1 << unix.CAP_BPF, 1 << unix.CAP_PERFMON, 1 << unix.CAP_NET_ADMIN, 1 << unix.CAP_SYS_ADMIN

		needsBPF     = "CAP_BPF (to load BPF programs)"
		needsPerfmon = "CAP_PERFMON (to read kernel memory from them)"
		needsNet     = "CAP_NET_ADMIN (to attach to netfilter and tc)"
		needsAdmin   = "CAP_SYS_ADMIN (to enter network namespaces)"
	)
	tests := []struct {
		name      string
		effective uint64
		lacks     string
	}{
		{"all there are", 1<<41 - 1, ""},
		{"all that are needed", bpf | perfmon | net | admin, ""},
		{"CAP_SYS_ADMIN implies two", net | admin, ""},
		{"none", 0, needsBPF + ", " + needsPerfmon + ", " + needsNet + ", " + needsAdmin},
		{"others only", 1<<unix.CAP_CHOWN | 1<<unix.CAP_SYSLOG, needsBPF + ", " + needsPerfmon + ", " + needsNet + ", " + needsAdmin},
		{"no CAP_SYS_ADMIN", bpf | perfmon | net, needsAdmin},
		{"no CAP_PERFMON, no CAP_SYS_ADMIN", bpf | net, needsPerfmon + ", " + needsAdmin},
		{"no CAP_NET_ADMIN", admin, needsNet},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := missing(tt.effective)
			if tt.lacks == "" {
				if err != nil {
					t.Errorf("error %v, want none", err)
				}
				return
			}
			if !errors.Is(err, ErrPermission) {
				t.Fatalf("error %v is not ErrPermission", err)
			}
			if diff := cmp.Diff("permission denied: missing "+tt.lacks+"; run as root", err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}
