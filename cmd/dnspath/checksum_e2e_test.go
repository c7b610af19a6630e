//go:build e2e

package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

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

// Linux leaves a tunnel's checksum as it was when it rewrites the tunnel's port,
// if a checksum within is pending: inet_proto_csum_replace2() in net/core/utils.c
// takes ip_summed for what is said of the header that it rewrites.
func TestTunnelChecksumBroken(t *testing.T) {
	if !seesHooks(t) {
		t.Skip("which hook rewrites is not seen here")
	}
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	if err := l.NodeA.IPTables(t.Context(), strings.Fields("-t nat -I POSTROUTING -p udp --dport 4789 -j MASQUERADE --random-fully")...); err != nil {
		t.Fatal(err)
	}
	if err := l.NodeA.SetTXChecksum(lab.WireDev, false); err != nil { // else nobody looks at it: veth has no wire
		t.Fatal(err)
	}
	o := observe(t, labOnly(l)...)
	ask(t, l.Client, lab.Service(), "broken.example.test.", os.ErrDeadlineExceeded)
	r := endWrong(t, o).only(t, "broken.example.test.")
	if r.Outcome != "dropped" || !strings.Contains(r.Detail, "node-b") {
		t.Errorf("outcome %s: %s", r.Outcome, r.Detail)
	}
	const want = "query node-a POSTROUTING: outer udp, was ok at "
	if wrong := wrongSums(r); len(wrong) != 1 || !strings.HasPrefix(wrong[0], want) {
		t.Errorf("wrong are %q, want one that begins with %q", wrong, want)
	}

	// The cure: what is in the tunnel is complete, and its own checksum pending.
	if err := l.NodeA.SetTXChecksum(lab.VXLANDev, false); err != nil {
		t.Fatal(err)
	}
	o = observe(t, labOnly(l)...)
	ask(t, l.Client, lab.Service(), "mended.example.test.", nil)
	r = end(t, o).only(t, "mended.example.test.")
	if wrong := wrongSums(r); r.Outcome != "answered" || wrong != nil {
		t.Errorf("mended: %s, wrong are %q", r.Outcome, wrong)
	}
}

// A program that rewrites an address and forgets UDP's checksum, which is pending.
func TestPseudoHeaderForgotten(t *testing.T) {
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

// sendRaw sends a query with a UDP checksum that is not computed.
func sendRaw(t *testing.T, ns *lab.NS, to netip.AddrPort, name string, check uint16) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	message, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	p := binary.BigEndian.AppendUint16(nil, 40404)
	for _, word := range []uint16{to.Port(), uint16(8 + len(message)), check} {
		p = binary.BigEndian.AppendUint16(p, word)
	}
	p = append(p, message...)
	err = ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, p, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Checksums that are no fault of this host: a client that computes them wrongly, or not at all.
func TestChecksumsOfClient(t *testing.T) {
	l := raise(t, lab.Config{})
	server := netip.AddrPortFrom(l.DNSB.Addr, 53)
	for _, c := range []struct {
		name, verdict string
		check         uint16
		wrong         int
		answered      bool // nobody waits for that
	}{
		{"bad", "bad", 0xbad, 1, false},
		{"zero", "none", 0, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := observe(t, labOnly(l)...)
			sendRaw(t, l.Client, server, c.name+".example.test.", c.check)
			r := endWrong(t, o).only(t, c.name+".example.test.")
			if inner, _ := sumsAt(r, "client", "eth0"); inner != c.verdict {
				t.Errorf("sent with %q, want %q", inner, c.verdict)
			}
			if wrong := wrongSums(r); len(wrong) != c.wrong {
				t.Errorf("wrong are %q", wrong)
			}
			if !c.answered && (r.Outcome != "dropped" || !strings.HasPrefix(r.Detail, "the query: ")) {
				t.Errorf("outcome %s: %s, want the query to be dropped", r.Outcome, r.Detail)
			}
			if answered := slices.ContainsFunc(r.Legs, func(l render.Leg) bool { return l.Direction == "reply" }); answered != c.answered {
				t.Errorf("answered: %t, want %t", answered, c.answered)
			}
		})
	}
}
