package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// backlogFull finds a packet that a CPU's queue of received packets had no room
// for: those of veths, bridges and tunnels pass it (enqueue_to_backlog,
// net/core/dev.c).
func backlogFull(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if reason(drop) != "CPU_BACKLOG" {
			continue
		}
		return &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Summary:    fmt.Sprintf("a CPU's queue of received packets was full: the %s was dropped in %s", legName(leg), c.NetNS(drop.NetNS).Name()),
			Evidence:   []string{fmt.Sprintf("the %s ended at %s: %s", legName(leg), c.At(drop), dropText(drop))},
			Mend: []string{
				"on its node: sysctl -w net.core.netdev_max_backlog=16384 (the second column of /proc/net/softnet_stat counts what is lost, a line for each CPU)",
				"or spread packets over CPUs: receive packet steering, /sys/class/net/DEV/queues/rx-*/rps_cpus",
			},
		}
	}
	return nil
}
