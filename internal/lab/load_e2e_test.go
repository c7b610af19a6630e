//go:build e2e

package lab

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLoad(t *testing.T) {
	for _, mode := range []ServiceMode{ServiceIPTables, ServiceNFTables} {
		t.Run(string(mode), func(t *testing.T) {
			l := raise(t, Config{Service: mode, Endpoints: []string{DNSB}})
			before := cpuTime(t)
			count := Share(2000) // for one second
			res, err := Load(t.Context(), l.Client, LoadOptions{Server: Service(), Count: count, Rate: count})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d lookups at %.0f/s, p50 %s, p99 %s, cpu %s with the server",
				res.Sent, res.Rate, res.Quantile(0.5), res.Quantile(0.99), cpuTime(t)-before)
			if res.Sent != count || res.Answered != count || res.Lost != 0 || res.Duplicates != 0 || res.Errors != 0 {
				t.Errorf("sent %d, answered %d, lost %d, duplicates %d, errors %d; want %d, all answered",
					res.Sent, res.Answered, res.Lost, res.Duplicates, res.Errors, count)
			}
			if want := float64(count); res.Rate < 0.9*want || res.Rate > 1.1*want {
				t.Errorf("rate %.0f/s, want %d", res.Rate, count)
			}
		})
	}
}

// TestLoadLoss counts what an unreachable server leaves unanswered.
func TestLoadLoss(t *testing.T) {
	l := raise(t, Config{})
	err := l.NodeB.IPTables(t.Context(), "-A", "FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP")
	if err != nil {
		t.Fatal(err)
	}
	res, err := Load(t.Context(), l.Client, LoadOptions{
		Server: netip.AddrPortFrom(l.DNSB.Addr, dnsPort), Count: 20, Rate: 1000, Sockets: 3, Timeout: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Sent != 20 || res.Lost != 20 || len(res.LostNames) != 20 || res.LostNames[19] != LoadName(19) {
		t.Errorf("sent %d, lost %d: %v; want 20 lost", res.Sent, res.Lost, res.LostNames)
	}
}

// cpuTime returns the user and system time of this process so far.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
