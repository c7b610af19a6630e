//go:build e2e

package main

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"      //nolint:depguard // the lab's faulty hardware, no part of the tool
	"github.com/cilium/ebpf/asm"  //nolint:depguard // the same
	"github.com/cilium/ebpf/link" //nolint:depguard // the same

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// tunnelStep is something done to the tunnel's packets from node-a, and what
// dnspath is to say of the next lookup. The steps of a lab follow on each other.
type tunnelStep struct {
	name   string
	do     func(t *testing.T, l *lab.Lab)
	mended bool // the lookup is answered

	translated bool     // the tunnel's source is, on the wire
	inner      string   // verdicts where the query leaves node-a
	outer      string   //
	wrong      []string // checksums, and where they became so: patterns for wrongSums' lines
	died       string   // where, "" nowhere that was seen
	hooks      bool     // it takes probes at the hooks to see where
}

const (
	wantSum  = "its UDP checksum is wrong"
	atHook   = "query node-a POSTROUTING: outer udp, was ok at *"
	byDevice = "no kernel has a part in it"
	byRule   = "a rule writes over it"
)

// The bug of Linux with tunnels' checksums, what looks like it, and what mends it.
// Of four faults that make lookups fail between nodes alone it is told
//
//   - which the sender's hook made: a checksum that was zero has a value that
//     nobody computed (Linux before 5.7, ea64d8d6c675; written by hand here), or
//   - one that was right is not any more, as the port was rewritten or an address:
//     inet_proto_csum_replace2() in net/core/utils.c takes ip_summed for what is
//     said of the header that it rewrites;
//   - which the device made, that had a pending checksum to complete;
//   - which none of all that was: what left intact was lost on its way.
func TestTunnelChecksums(t *testing.T) {
	onGuests(t, lab.AnotherGuest)
	masquerade := func(t *testing.T, l *lab.Lab) { must(t, l.MasqueradeTunnel(t.Context())) }
	corrupt := func(field lab.TunnelField) func(*testing.T, *lab.Lab) {
		return func(t *testing.T, l *lab.Lab) { must(t, l.CorruptTunnel(t.Context(), field, 0xbad)) }
	}
	zero := lab.Config{VXLAN: lab.VXLAN{ZeroChecksum: true}}
	for _, c := range []struct {
		name  string
		cfg   lab.Config
		same  string // on every kernel, since
		steps []tunnelStep
	}{
		{"with a checksum", lab.Config{}, "", []tunnelStep{
			{name: "healthy", mended: true, inner: "partial", outer: "ok"},
			{name: "port translated", do: masquerade, translated: true, inner: "ok", outer: "bad", wrong: []string{atHook}, died: lab.NodeB, hooks: true},
			{name: "cure: not translated", do: func(t *testing.T, l *lab.Lab) {
				must(t, l.ExemptTunnel(t.Context()))
			}, mended: true, inner: "ok", outer: "ok"},
			{name: "address translated", do: func(t *testing.T, l *lab.Lab) {
				must(t, l.NodeA.IPTables(t.Context(), strings.Fields("-t nat -I POSTROUTING -p udp --dport 4789 -j SNAT --to-source 192.0.2.77")...))
			}, translated: true, inner: "ok", outer: "bad", wrong: []string{atHook}, died: lab.NodeB, hooks: true},
			{name: "cure: the tunnel's device offloads nothing", do: func(t *testing.T, l *lab.Lab) {
				must(t, l.NodeA.SetTXChecksum(lab.VXLANDev, false))
				masquerade(t, l)
			}, mended: true, translated: true, inner: "ok", outer: "ok"},
		}},
		{"without", zero, "", []tunnelStep{
			{name: "cure: no checksum", do: masquerade, mended: true, translated: true, inner: "ok", outer: "none"},
			{name: "zero rewritten", do: corrupt(lab.OuterChecksum), translated: true, inner: "ok", outer: "bad", wrong: []string{"query node-a *: outer udp, was none at *"}, died: lab.NodeB, hooks: true},
		}},
		{"a device that completes nothing", lab.Config{}, byDevice, []tunnelStep{
			{name: "healthy", mended: true, inner: "partial", outer: "ok"},
			{name: "not completed", do: func(t *testing.T, l *lab.Lab) { replaceWire(t, l, true) }, inner: "partial", outer: "ok", wrong: []string{
				"query node-b : outer udp, was ok at tx eth0", "query node-b : inner udp, was partial at tx eth0",
			}, died: lab.NodeB},
			{name: "cure: it is not asked to", do: func(t *testing.T, l *lab.Lab) {
				must(t, l.NodeA.SetTXChecksum(lab.WireDev, false))
			}, mended: true, inner: "ok", outer: "ok"},
		}},
		{"the same, without a checksum", zero, byDevice, []tunnelStep{
			{name: "healthy", mended: true, inner: "partial", outer: "none"},
			{name: "not completed", do: func(t *testing.T, l *lab.Lab) { replaceWire(t, l, true) }, inner: "partial", outer: "none",
				wrong: []string{"query node-b : inner udp, was partial at tx eth0"}, died: lab.DNSB},
		}},
		{"a wire that loses", lab.Config{}, byDevice, []tunnelStep{
			{name: "healthy", mended: true, inner: "partial", outer: "ok"},
			{name: "lost", do: func(t *testing.T, l *lab.Lab) { replaceWire(t, l, false) }, inner: "partial", outer: "ok"},
		}},
		{"what is in it", zero, byRule, []tunnelStep{
			{name: "pending checksum", do: corrupt(lab.InnerChecksum), inner: "bad", outer: "none",
				wrong: []string{"query node-a *: inner udp, was partial at *"}, died: lab.DNSB},
		}},
		{"what is in it, with a checksum", lab.Config{}, byRule, []tunnelStep{
			{name: "pending checksum", do: corrupt(lab.InnerChecksum), inner: "bad", outer: "bad",
				wrong: []string{"query node-a *: outer udp, was ok at *", "query node-a *: inner udp, was partial at *"}, died: lab.NodeB},
		}},
		{"what is in it, complete", lab.Config{}, byRule, []tunnelStep{
			{name: "name", do: func(t *testing.T, l *lab.Lab) {
				must(t, l.NodeA.SetTXChecksum(lab.VXLANDev, false))
				corrupt(lab.InnerName)(t, l)
			}, inner: "bad", outer: "ok", wrong: []string{"query node-a : inner udp, was ok at *"}, died: lab.DNSB},
		}},
		{"over IPv6", lab.Config{Underlay6: true}, "TestTunnelKinds has one", []tunnelStep{{name: "healthy", mended: true, inner: "partial", outer: "ok"}}},
		{"over IPv6, without", lab.Config{Underlay6: true, VXLAN: lab.VXLAN{ZeroChecksum: true}}, "no kernel computes one", []tunnelStep{
			{name: "healthy", mended: true, inner: "partial", outer: "none"},
			{name: "no checksum pending", do: func(t *testing.T, l *lab.Lab) {
				must(t, l.NodeA.SetTXChecksum(lab.WireDev, false))
			}, mended: true, inner: "ok", outer: "none"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.same != "" {
				sameEverywhere(t, c.same)
			}
			l := raise(t, c.cfg)
			name := func(i int) string { return fmt.Sprintf("step%d.example.test.", i) }
			o, read := observe(t, append(labOnly(l), "--count", fmt.Sprint(len(c.steps)))...), endWrong
			for i, s := range c.steps {
				if s.do != nil {
					s.do(t, l)
				}
				opts := lab.LookupOptions{Server: addrPort(l.DNSB), Name: name(i), Timeout: noAnswer()}
				if s.mended {
					opts.Timeout = 0
				} else if s.died == "" { // that nothing came shows when its time is up
					read = wait
				}
				if _, err := l.Client.Lookup(t.Context(), opts); (err == nil) != s.mended {
					t.Fatalf("%s: lookup: %v, want it answered: %t", s.name, err, s.mended)
				}
			}
			x := read(t, o)
			for i, s := range c.steps {
				t.Run(s.name, func(t *testing.T) { s.check(t, x.only(t, name(i))) })
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *tunnelStep) check(t *testing.T, r *render.Record) {
	t.Helper()
	if s.hooks && !seesHooks(t) {
		t.Skip("which hook rewrites is not seen here")
	}
	switch {
	case s.mended:
		checkVerdict(t, r, "answered")
	case s.died == "":
		checkVerdict(t, r, "lost", "no reply was seen")
	default:
		checkVerdict(t, r, "dropped", "the query: ", wantSum, "in "+s.died)
		checkSumDrop(t, lastHop(t, r, "query"), "UDP_CSUM")
	}
	if inner, outer := sumsAt(r, lab.NodeA, lab.WireDev); inner != s.inner || outer != s.outer {
		t.Errorf("on the wire inner %q, outer %q, want %q, %q", inner, outer, s.inner, s.outer)
	}
	wrong := wrongSums(r)
	if !slices.EqualFunc(s.wrong, wrong, matches) {
		t.Errorf("wrong are %q, want %q", wrong, s.wrong)
	}
	if translated := tunnelSources(r) > 1; translated != s.translated {
		t.Errorf("the tunnel's source was translated: %t, want %t", translated, s.translated)
	}
}

// matches reports whether a line is as a pattern of path.Match says.
func matches(pattern, line string) bool {
	ok, err := path.Match(pattern, line)
	return ok && err == nil
}

// checkSumDrop checks that a drop is said to be for a checksum: by the kernel, or
// by dnspath's own sum where the kernel does not say.
func checkSumDrop(t *testing.T, h render.Hop, reason string) {
	t.Helper()
	switch d := h.Drop; {
	case d == nil:
		t.Errorf("the last hop is %q, want a drop", h.Hop)
	case d.Reason == reason:
	case d.Reason != "" && d.Reason != "NOT_SPECIFIED" || d.Inferred != reason:
		t.Errorf("drop %+v, want %s", *d, reason)
	}
}

// tunnelSources counts the addresses from which a query's tunnel sends on node-a.
func tunnelSources(r *render.Record) int {
	var sources []string
	for _, h := range r.Legs[0].Hops {
		if h.NetNSName == lab.NodeA && h.Tunnel != nil && !slices.Contains(sources, h.Tunnel.Src) {
			sources = append(sources, h.Tunnel.Src)
		}
	}
	return len(sources)
}

// replaceWire has what node-a sends to node-b arrive by a device that was told
// nothing of it but its bytes, as that of another machine: eth0's XDP program
// hands it to nic0, which is a cable to nic1. Checksums that were pending stay as
// they were: nobody has completed them. Without delivers nothing arrives.
func replaceWire(t *testing.T, l *lab.Lab, delivers bool) {
	t.Helper()
	var mac string
	err := l.NodeB.Do(func() error {
		d, err := net.InterfaceByName(lab.WireDev)
		if err == nil {
			mac = d.HardwareAddr.String()
		}
		return err
	})
	must(t, err)
	for _, command := range []string{
		"link add nic0 type veth peer name nic1", "link set nic1 address " + mac, "link set nic0 up", "link set nic1 up",
	} {
		must(t, l.NodeB.IP(t.Context(), strings.Fields(command)...))
	}
	const drop, pass = 1, 2 // XDP_DROP, XDP_PASS
	end := pass
	if !delivers {
		end = drop
	}
	inXDP(t, l.NodeB, "nic1", func(int32) asm.Instructions { return asm.Instructions{asm.Mov.Imm(asm.R0, int32(end)), asm.Return()} })
	inXDP(t, l.NodeB, lab.WireDev, func(nic int32) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // xdp_md.data
			asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // xdp_md.data_end
			asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, 14), asm.JGT.Reg(asm.R4, asm.R3, "pass"),
			asm.LoadMem(asm.R5, asm.R2, 12, asm.Half), asm.JNE.Imm(asm.R5, ethertypeIPv4(), "pass"),
			asm.Mov.Imm(asm.R1, nic), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return(),
			asm.Mov.Imm(asm.R0, pass).WithSymbol("pass"), asm.Return(),
		}
	})
}

// inXDP attaches a program to a device's driver. It is made for the index of nic0.
func inXDP(t *testing.T, ns *lab.NS, dev string, program func(nic int32) asm.Instructions) {
	t.Helper()
	must(t, ns.Do(func() error {
		nic, err := net.InterfaceByName("nic0")
		if err != nil {
			return err
		}
		d, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "nic", Type: ebpf.XDP, License: "GPL", Instructions: program(int32(nic.Index))})
		if err != nil {
			return err
		}
		t.Cleanup(func() { p.Close() })
		at, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: d.Index, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { at.Close() })
		}
		return err
	}))
}
