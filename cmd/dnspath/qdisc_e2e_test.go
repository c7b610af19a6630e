//go:build e2e

package main

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/internal/lab"
)

// A device with a qdisc: the packet is put into it, or dropped by it.
func TestQdisc(t *testing.T) {
	onGuests(t, lab.SomeGuests)
	needs(t, "qdisc_enqueue")
	l := raise(t, lab.Config{})
	tc := func(args ...string) {
		t.Helper()
		if out, err := l.NodeA.Command(t.Context(), "tc", append([]string{"qdisc", "replace", "dev", lab.WireDev, "root"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("tc %v: %v: %s", args, err, out)
		}
	}
	server := lab.DNSB
	ask(t, l.Client, addrPort(l.NS(server)), "warm.example.test.", nil) // the nodes know each other's link-layer address
	tc("tbf", "rate", "100mbit", "burst", "100kb", "latency", "50ms")   // a FIFO that is empty is left out
	o := observe(t)
	ask(t, l.Client, addrPort(l.NS(server)), "a.example.test.", nil)
	tc("bfifo", "limit", "1") // a byte
	askShort(t, l.Client, addrPort(l.NS(server)), "dropped.example.test.", os.ErrDeadlineExceeded)
	x := end(t, o)
	found := false
	for _, h := range x.only(t, "a.example.test.").Legs[0].Hops {
		found = found || h.Hop == "qdisc" && h.NetNSName == lab.NodeA && h.Dev == lab.WireDev
	}
	if !found {
		t.Error("no hop is a qdisc")
	}
	h := lastHop(t, x.only(t, "dropped.example.test."), "query")
	if h.Drop == nil || h.NetNSName != lab.NodeA || h.Dev != lab.WireDev || h.Drop.Reason != "" && !strings.Contains(h.Drop.Reason, "QDISC") && !strings.Contains(h.Drop.Reason, "OVERLIMIT") {
		t.Errorf("last hop %+v, drop %+v; want a drop by the qdisc of %s in node-a", h, h.Drop, lab.WireDev)
	}
}

func addrPort(ns *lab.NS) netip.AddrPort { return netip.AddrPortFrom(ns.Addr, 53) }
