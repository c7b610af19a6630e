package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// backlogFull finds a packet that a CPU's queue of received packets had no room
// for: those of veths, bridges and tunnels pass it (enqueue_to_backlog,
// net/core/dev.c). Kernels before 5.17 don't tell that from a device that is down.
func backlogFull(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		ns := c.NetNS(drop.NetNS)
		var l *Link // that is up, where it could be that it is not
		switch {
		case reason(drop) == "CPU_BACKLOG":
		case unsaid(drop) && drop.Drop.Function == "enqueue_to_backlog":
			if l = c.device(ns, drop.Dev); l == nil || !l.Up {
				continue
			}
		default:
			continue
		}
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Summary:    fmt.Sprintf("a CPU's queue of received packets was full: the %s was dropped in %s", legName(leg), ns.Name()),
			Evidence:   []string{fmt.Sprintf("the %s ended at %s: %s", legName(leg), c.At(drop), dropText(drop))},
			Mend: []string{
				"on its node: sysctl -w net.core.netdev_max_backlog=16384 (the second column of /proc/net/softnet_stat counts what is lost, a line for each CPU)",
				"or spread packets over CPUs: receive packet steering, /sys/class/net/DEV/queues/rx-*/rps_cpus",
			},
		}
		if l != nil {
			f.Confidence = tracer.ConfidenceConfirmed
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s of %s is up: the queue is all else that drops there", l.Name, ns.Name()))
		}
		return f
	}
	return nil
}
