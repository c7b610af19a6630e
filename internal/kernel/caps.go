package kernel

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// capability is one that a session needs, with the reason told to a user who lacks it.
type capability struct {
	bit  uint
	name string
	why  string
}

// needed lists what loading and attaching ask for. CAP_SYS_ADMIN implies the
// first two (kernel/bpf/token.c, bpf_capable and perfmon_capable).
var needed = []capability{
	{unix.CAP_BPF, "CAP_BPF", "to load BPF programs"},
	{unix.CAP_PERFMON, "CAP_PERFMON", "to read kernel memory from them"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "to attach to netfilter and tc"},
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "to enter network namespaces"},
}

// CheckPrivileges returns nil if this process holds every capability that a
// session needs, else an error that wraps ErrPermission and names the missing
// ones.
func CheckPrivileges() error {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return fmt.Errorf("read own capabilities: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		hex, ok := strings.CutPrefix(s.Text(), "CapEff:")
		if !ok {
			continue
		}
		effective, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err != nil {
			return fmt.Errorf("parse own capabilities %q: %w", hex, err)
		}
		return missing(effective)
	}
	return fmt.Errorf("read own capabilities: no CapEff in /proc/self/status")
}

// missing says which needed capabilities the set effective lacks.
func missing(effective uint64) error {
	admin := effective&(1<<unix.CAP_SYS_ADMIN) != 0
	var names []string
	for _, c := range needed {
		has := effective&(1<<c.bit) != 0
		implied := admin && (c.bit == unix.CAP_BPF || c.bit == unix.CAP_PERFMON)
		if !has && !implied {
			names = append(names, fmt.Sprintf("%s (%s)", c.name, c.why))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%w: missing %s; run as root", ErrPermission, strings.Join(names, ", "))
}
