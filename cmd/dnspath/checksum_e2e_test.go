//go:build e2e

package main

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// wrongSums lists the checksums that are wrong, where they were first seen so.
func wrongSums(r *render.Record) (lines []string) {
	for _, leg := range r.Legs {
		for _, h := range leg.Hops {
			if h.Checksum == nil {
				continue
			}
			for _, w := range h.Checksum.Wrong {
				if w.Became {
					lines = append(lines, fmt.Sprintf("%s %s %s: %s %s, was %s at %s", leg.Direction, h.NetNSName, h.Hook, w.Header, w.Kind, w.Was, w.WasAt))
				}
			}
		}
	}
	return lines
}

// sumsAt returns the verdicts on the query where it is sent by a device.
func sumsAt(r *render.Record, netns, dev string) (inner, outer string) {
	for _, h := range r.Legs[0].Hops {
		if h.NetNSName == netns && h.Dev == dev && h.Hop == "tx" && h.Checksum != nil {
			return h.Checksum.Inner, h.Checksum.Outer
		}
	}
	return "", ""
}

// Lookups that are well have no checksum that is wrong, whatever is left to the devices.
func TestChecksumsHealthy(t *testing.T) {
	onGuests(t, lab.AnotherGuest)
	for _, c := range []struct {
		name  string
		cfg   lab.Config
		off   bool   // transmit checksum offload of the devices between the nodes
		outer string // verdict on a query's tunnel header on the wire
		inner string
	}{
		{"offload", lab.Config{}, false, "ok", "partial"},
		{"no offload", lab.Config{}, true, "ok", "ok"},
		{"zero", lab.Config{VXLAN: lab.VXLAN{ZeroChecksum: true}}, false, "none", "partial"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Service, c.cfg.Endpoints = lab.ServiceIPTables, []string{lab.DNSB}
			l := raise(t, c.cfg)
			for _, node := range []*lab.NS{l.NodeA, l.NodeB} {
				if err := node.SetTXChecksum(lab.WireDev, !c.off); err != nil {
					t.Fatal(err)
				}
			}
			o := observe(t, labOnly(l)...)
			var names []string
			for i := range 10 {
				name := fmt.Sprintf("a%d.example.test.", i)
				names = append(names, name)
				for _, tcp := range []bool{false, true} {
					if _, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: lab.Service(), Name: name, TCP: tcp}); err != nil {
						t.Fatal(err)
					}
				}
			}
			verdicts := 0
			for _, r := range end(t, o).lookups {
				if r.Transport != "udp" || !slices.Contains(names, r.Name) {
					continue
				}
				verdicts++
				if inner, outer := sumsAt(r, "node-a", lab.WireDev); inner != c.inner || outer != c.outer {
					t.Errorf("%s: on the wire inner %q, outer %q, want %q, %q", r.Name, inner, outer, c.inner, c.outer)
				}
			}
			if verdicts != len(names) {
				t.Errorf("%d lookups over UDP, want %d", verdicts, len(names))
			}
		})
	}
}

// A program that rewrites an address and forgets UDP's checksum, which is pending.
func TestPseudoHeaderForgotten(t *testing.T) {
	onGuests(t, lab.AnotherGuest)
	l := raise(t, lab.Config{})
	if err := l.NodeA.SetTXChecksum(lab.WireDev, false); err != nil {
		t.Fatal(err)
	}
	server := netip.AddrPortFrom(l.DNSB.Addr, 53)
	elsewhere := netip.MustParseAddrPort("10.96.0.99:53")
	p := schedCLS(t, "forgets", redirectBadly(elsewhere.Addr(), server.Addr()))
	atIngress(t, l.NodeA, "veth-client", p, false)
	o := observe(t, labOnly(l)...)
	ask(t, l.Client, elsewhere, "forgotten.example.test.", os.ErrDeadlineExceeded)
	r := endWrong(t, o).only(t, "forgotten.example.test.")
	const want = "inner udp, was partial at rx veth-client"
	if wrong := wrongSums(r); len(wrong) != 1 || !strings.HasPrefix(wrong[0], "query node-a ") || !strings.HasSuffix(wrong[0], want) {
		t.Errorf("wrong are %q, want one on node-a that ends in %q", wrong, want)
	}
	if inner, _ := sumsAt(r, "node-a", lab.WireDev); inner != "bad" {
		t.Errorf("on the wire the inner checksum is %q, want bad: the device has completed what was wrong", inner)
	}
	if r.Outcome != "dropped" || !strings.Contains(r.Detail, "dns-b") {
		t.Errorf("outcome %s: %s", r.Outcome, r.Detail)
	}
}
