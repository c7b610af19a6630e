package nftrace

import (
	"errors"
	"os"
	"strings"
)

// ErrLegacy is returned for a namespace in which the trace bit would make legacy
// iptables write a line into the kernel's log for each rule and packet.
var ErrLegacy = errors.New("legacy iptables would write each traced packet into the kernel's log")

// Where the current namespace tells what its packet log does.
const (
	loggersPath = "/proc/thread-self/net/netfilter/nf_log"
	tablesPath  = "/proc/thread-self/net/ip_tables_names"
	tables6Path = "/proc/thread-self/net/ip6_tables_names"
	allNSPath   = "/proc/sys/net/netfilter/nf_log_all_netns" // only in the initial namespace
)

// wouldLog reports whether the trace bit fills the kernel's log in the current
// namespace: legacy iptables honours the bit too (ipt_do_table calls
// trace_packet), and logs where a logger is bound, unless this is not the
// initial namespace and nf_log_all_netns is off.
func wouldLog(everywhere bool) bool {
	if _, err := os.Stat(allNSPath); err != nil && !everywhere {
		return false
	}
	loggers, err := os.ReadFile(loggersPath)
	if err != nil {
		return false
	}
	for family, path := range map[string]string{"2": tablesPath, "10": tables6Path} {
		tables, err := os.ReadFile(path)
		if err == nil && len(tables) > 0 && logs(string(loggers), family) {
			return true
		}
	}
	return false
}

// logs reads /proc/net/netfilter/nf_log: "2 nf_log_ipv4 (nf_log_ipv4,nfnetlink_log)"
// for each family. nfnetlink_log hands packets to programs that ask for them.
func logs(loggers, family string) bool {
	for line := range strings.Lines(loggers) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == family {
			return fields[1] != "NONE" && fields[1] != "nfnetlink_log"
		}
	}
	return false
}

// logsEverywhere reports whether the kernel's log takes packets of all
// namespaces, as far as the current one can tell.
func logsEverywhere() bool {
	value, err := os.ReadFile(allNSPath)
	return err == nil && strings.TrimSpace(string(value)) != "0"
}
