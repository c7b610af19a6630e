//go:build e2e

package main

import (
	"bytes"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
)

// SIGUSR1 sums up, and ends nothing; the export has the same at its end.
func TestSummaryOnSignal(t *testing.T) {
	sameEverywhere(t, "user space counts")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	o := observe(t, labOnly(l)...)
	ask(t, l.Client, lab.Service(), "before.example.test.", nil)
	fence(t, l.NodeB, nil, "type filter hook forward priority 0; udp dport 53 drop;")
	askShort(t, l.Client, lab.Service(), "dropped.example.test.", os.ErrDeadlineExceeded)
	time.Sleep(2 * lab.Patience(time.Second)) // till the time of the lookup is up
	if err := syscall.Kill(o.PID(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	time.Sleep(lab.Patience(500 * time.Millisecond))
	x := end(t, o)
	for _, want := range []string{"dnspath: 2 lookups in ", ": 1 answered, 1 dropped\n", "dnspath: replies: 1 NOERROR; latency: median "} {
		if n := bytes.Count(o.Stderr(), []byte(want)); n != 2 {
			t.Errorf("stderr has %q %d times, want it on the signal and at the end:\n%s", want, n, o.Stderr())
		}
	}
	if x.stats.Rcodes["NOERROR"] != 1 || x.stats.Latency == nil || x.stats.Latency.Max == 0 {
		t.Errorf("stats have rcodes %v, latency %v", x.stats.Rcodes, x.stats.Latency)
	}
}
