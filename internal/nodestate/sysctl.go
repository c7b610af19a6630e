package nodestate

import (
	"fmt"
	"os"
	"path"
	"strings"
)

// sysctlKey finds a sysctl among what was read.
type sysctlKey string

// Sysctl returns a sysctl's value, by its path under /proc/sys. The dots in the
// name of a device stay what they are there. Sysctls under net are those of the
// namespace in which they are opened (net/sysctl_net.c, net_ctl_header_lookup).
func (s *space) Sysctl(name string) (string, error) {
	if path.Clean("/"+name) != "/"+name {
		return "", fmt.Errorf("no name of a sysctl: %q", name)
	}
	return once(s, sysctlKey(name), func() (string, error) {
		value, err := os.ReadFile("/proc/sys/" + name)
		return strings.TrimSpace(string(value)), err
	})
}
