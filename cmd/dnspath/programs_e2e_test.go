//go:build e2e

package main

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"      //nolint:depguard // the test is who attaches a program that the tool has to find
	"github.com/cilium/ebpf/asm"  //nolint:depguard // see above
	"github.com/cilium/ebpf/link" //nolint:depguard // see above
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/lab"
)

// schedCLS loads a program for tc that does something with IPv4 packets, and
// passes all others.
func schedCLS(t *testing.T, name string, then asm.Instructions) *ebpf.Program {
	t.Helper()
	const protocol = 16 // in struct __sk_buff
	insns := append(asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R1, protocol, asm.Word),
		asm.JNE.Imm(asm.R2, ethertypeIPv4(), "pass"),
	}, then...)
	insns = append(insns, asm.Mov.Imm(asm.R0, int32(netlink.TC_ACT_OK)).WithSymbol("pass"), asm.Return())
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, Instructions: insns, License: "GPL"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// ethertypeIPv4 is as a program loads it from a packet.
func ethertypeIPv4() int32 { return int32(binary.NativeEndian.Uint16([]byte{0x08, 0x00})) }

var shoot = asm.Instructions{asm.Mov.Imm(asm.R0, int32(netlink.TC_ACT_SHOT)), asm.Return()}

// redirectTo returns what rewrites a destination, and the checksums with it.
func redirectTo(from, to netip.Addr) asm.Instructions { return rewrite(16, from, to, true) }

// redirectBadly is redirectTo, but that it forgets UDP's checksum.
func redirectBadly(from, to netip.Addr) asm.Instructions { return rewrite(16, from, to, false) }

// pretend returns what rewrites a source, and the checksums with it.
func pretend(from, to netip.Addr) asm.Instructions { return rewrite(12, from, to, true) }

// rewrite returns what rewrites an address in the IPv4 header, and in UDP's checksum.
func rewrite(offset int32, from, to netip.Addr, inUDP bool) asm.Instructions {
	const (
		eth         = 14
		headerSum   = eth + 10
		udpSum      = eth + 20 + 6
		pseudo      = 1 << 4 // BPF_F_PSEUDO_HDR
		zeroIsNone  = 1 << 5 // BPF_F_MARK_MANGLED_0
		addressSize = 4
	)
	word := func(a netip.Addr) int64 { return int64(binary.NativeEndian.Uint32(a.AsSlice())) }
	replace := func(helper asm.BuiltinFunc, at, flags int32) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, at), asm.Mov.Reg(asm.R3, asm.R7), asm.Mov.Reg(asm.R4, asm.R8),
			asm.Mov.Imm(asm.R5, flags), helper.Call(),
		}
	}
	at := eth + offset
	insns := asm.Instructions{
		asm.Mov.Imm(asm.R2, at), asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, -4), asm.Mov.Imm(asm.R4, addressSize),
		asm.FnSkbLoadBytes.Call(),
		asm.LoadMem(asm.R7, asm.RFP, -4, asm.Word), asm.LoadImm(asm.R8, word(from), asm.DWord), asm.JNE.Reg(asm.R7, asm.R8, "pass"),
		asm.LoadImm(asm.R8, word(to), asm.DWord), asm.StoreMem(asm.RFP, -4, asm.R8, asm.Word),
	}
	if inUDP {
		insns = append(insns, replace(asm.FnL4CsumReplace, udpSum, pseudo|zeroIsNone|addressSize)...)
	}
	insns = append(insns, replace(asm.FnL3CsumReplace, headerSum, addressSize)...)
	return append(insns,
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, at), asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, -4),
		asm.Mov.Imm(asm.R4, addressSize), asm.Mov.Imm(asm.R5, 0), asm.FnSkbStoreBytes.Call())
}

// atIngress attaches a program to a device of a namespace, by tcx or by clsact.
func atIngress(t *testing.T, ns *lab.NS, dev string, p *ebpf.Program, tcx bool) {
	t.Helper()
	attachTC(t, ns, tcPlace{dev, ebpf.AttachTCXIngress, netlink.HANDLE_MIN_INGRESS}, p, tcx)
}

// atEgress is atIngress for what leaves by the device.
func atEgress(t *testing.T, ns *lab.NS, dev string, p *ebpf.Program, tcx bool) {
	t.Helper()
	attachTC(t, ns, tcPlace{dev, ebpf.AttachTCXEgress, netlink.HANDLE_MIN_EGRESS}, p, tcx)
}

// tcPlace is where a program for tc is attached.
type tcPlace struct {
	dev    string
	tcx    ebpf.AttachType
	parent uint32 // of a filter
}

func attachTC(t *testing.T, ns *lab.NS, at tcPlace, p *ebpf.Program, tcx bool) {
	t.Helper()
	err := ns.Do(func() error {
		d, err := netlink.LinkByName(at.dev)
		if err != nil {
			return err
		}
		if tcx {
			l, err := link.AttachTCX(link.TCXOptions{Interface: d.Attrs().Index, Program: p, Attach: at.tcx})
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		}
		qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: d.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
		if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: d.Attrs().Index, Parent: at.parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
			Fd:          p.FD(), Name: "filter.o:[classifier]", DirectAction: true,
		})
	})
	if tcx && errors.Is(err, ebpf.ErrNotSupported) {
		t.Skipf("tcx: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dropInXDP attaches a program that drops IPv4 packets as they come in.
func dropInXDP(t *testing.T, ns *lab.NS, dev, name string) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // xdp_md.data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // xdp_md.data_end
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, 14), asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R5, asm.R2, 12, asm.Half), asm.JNE.Imm(asm.R5, ethertypeIPv4(), "pass"),
		asm.Mov.Imm(asm.R0, 1), asm.Return(), // XDP_DROP
		asm.Mov.Imm(asm.R0, 2).WithSymbol("pass"), asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	err = ns.Do(func() error {
		d, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: d.Attrs().Index, Flags: link.XDPGenericMode})
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestProgramDrops(t *testing.T) {
	sameEverywhere(t, "programs are listed in user space")
	for _, c := range []struct {
		name   string
		attach func(t *testing.T, l *lab.Lab)
		tc     bool
		want   string
	}{
		{"tcx", func(t *testing.T, l *lab.Lab) {
			atIngress(t, l.NodeA, "veth-client", schedCLS(t, "deny_dns", shoot), true)
		}, true, "tc BPF program deny_dns on veth-client"},
		{"clsact", func(t *testing.T, l *lab.Lab) {
			atIngress(t, l.NodeA, "veth-client", schedCLS(t, "deny_dns", shoot), false)
		}, true, "tc BPF program deny_dns on veth-client"},
		{"XDP", func(t *testing.T, l *lab.Lab) { dropInXDP(t, l.NodeA, "veth-client", "guard") }, false, "XDP program guard on veth-client"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
			c.attach(t, l)
			r, h := dropBy(t, l, "drop.example.test.")
			if h.Drop == nil {
				t.Fatalf("the query's last hop is %q, want a drop", h.Hop)
			}
			if c.tc && h.Drop.Reason != "TC_INGRESS" {
				t.Skipf("this kernel gives %q as the reason of a drop by tc", h.Drop.Reason)
			}
			if diff := cmp.Diff(c.want+" | inferred", byLine(h.Drop.By)); diff != "" {
				t.Errorf("dropped by (-want +got):\n%s", diff)
			}
			checkVerdict(t, r, "dropped", "by "+c.want+" (inferred), in node-a")
		})
	}
}

// Beside dnspath's own programs of --tc there is one that rewrites.
func TestProgramRewrites(t *testing.T) {
	sameEverywhere(t, "programs are listed in user space")
	l := raise(t, lab.Config{})
	atIngress(t, l.NodeA, "veth-client", schedCLS(t, "to_backend", redirectTo(lab.Service().Addr(), l.DNSB.Addr)), false)
	args := []string{"--count", "1", "--name", "a.example.test."}
	if attached(t, "tc_ingress") {
		args = append(args, "--tc")
	}
	o := observe(t, args...)
	askShort(t, l.Client, lab.Service(), "a.example.test.", os.ErrDeadlineExceeded) // nobody translates the reply back
	r := wait(t, o).only(t, "a.example.test.")
	if diff := cmp.Diff([]string{"dnat tc BPF program to_backend on veth-client | inferred"}, changesOf(r, 0)); diff != "" {
		t.Errorf("rewrites of the query (-want +got):\n%s\n%q", diff, way(r, 0))
	}
}
