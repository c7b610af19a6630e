package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"      //nolint:depguard // the lab attaches programs for the tool to find
	"github.com/cilium/ebpf/asm"  //nolint:depguard // see above
	"github.com/cilium/ebpf/link" //nolint:depguard // see above
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Results of programs, from linux/bpf.h.
const (
	xdpDrop = 1
	xdpPass = 2
)

// refuseTC loads a program for tc that drops IPv4 packets. The caller closes it.
func refuseTC(name string) (*ebpf.Program, error) {
	const protocol = 16 // in struct __sk_buff
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, protocol, asm.Word),
		asm.JNE.Imm(asm.R2, ipv4Frame(), "pass"),
		asm.Mov.Imm(asm.R0, int32(netlink.TC_ACT_SHOT)), asm.Return(),
		asm.Mov.Imm(asm.R0, int32(netlink.TC_ACT_OK)).WithSymbol("pass"), asm.Return(),
	}})
}

// refuseXDP loads a program for XDP that drops IPv4 packets. The caller closes it.
func refuseXDP(name string) (*ebpf.Program, error) {
	const ethernet, protocol = 14, 12 // of the header: its length, and where in it the protocol is
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // xdp_md.data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // xdp_md.data_end
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, ethernet), asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R5, asm.R2, protocol, asm.Half), asm.JNE.Imm(asm.R5, ipv4Frame(), "pass"),
		asm.Mov.Imm(asm.R0, xdpDrop), asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"), asm.Return(),
	}})
}

// ipv4Frame is the type of frames with IPv4, as a program loads it.
func ipv4Frame() int32 { return int32(binary.NativeEndian.Uint16([]byte{0x08, 0x00})) }

// dropInTC has a program drop the IPv4 packets that come in by a device, or those
// that leave by it, until its filters are deleted.
func (ns *NS) dropInTC(dev, name string, parent uint32) error {
	p, err := refuseTC(name)
	if err != nil {
		return fmt.Errorf("load program %s: %w", name, err)
	}
	defer p.Close()
	d, err := ns.device(dev)
	if err != nil {
		return err
	}
	index := d.Attrs().Index
	err = ns.link.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add clsact to %s in %s: %w", dev, ns.Name, err)
	}
	err = ns.link.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:          p.FD(), Name: name, DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("attach %s to %s in %s: %w", name, dev, ns.Name, err)
	}
	return nil
}

// dropInXDP has a program drop the IPv4 packets that come in by a device, until
// it is taken off.
func (ns *NS) dropInXDP(dev, name string) error {
	p, err := refuseXDP(name)
	if err != nil {
		return fmt.Errorf("load program %s: %w", name, err)
	}
	defer p.Close()
	d, err := ns.device(dev)
	if err != nil {
		return err
	}
	err = ns.Do(func() error { return netlink.LinkSetXdpFdWithFlags(d, p.FD(), unix.XDP_FLAGS_SKB_MODE) })
	if err != nil {
		return fmt.Errorf("attach %s to %s in %s: %w", name, dev, ns.Name, err)
	}
	return nil
}

// cgroup is a group of processes, of version 2, in a tree that this process alone
// sees. It is empty when the lab closes it.
type cgroup struct {
	dir  *os.File
	root string
}

// makeCgroup makes one. It goes with the lab.
func (l *Lab) makeCgroup(name string) (*cgroup, error) {
	root, err := os.MkdirTemp("/run", "cgroup-")
	if err != nil {
		return nil, err
	}
	if err := unix.Mount("cgroup2", root, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("mount cgroup2: %w", err), os.Remove(root))
	}
	g := &cgroup{root: root}
	l.onClose(g.close)
	path := filepath.Join(root, fmt.Sprintf("%s-%d", name, os.Getpid()))
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	g.dir, err = os.Open(path)
	return g, err
}

func (g *cgroup) close() error {
	var err error
	if g.dir != nil {
		err = errors.Join(g.dir.Close(), os.Remove(g.dir.Name()))
	}
	return errors.Join(err, unix.Unmount(g.root, unix.MNT_DETACH), os.Remove(g.root))
}

// dropOnEgress has a program drop all that the group's processes send, until it is
// detached, or the lab closed.
func (l *Lab) dropOnEgress(g *cgroup, name string) (detach func() error, err error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return nil, fmt.Errorf("load program %s: %w", name, err)
	}
	defer p.Close()
	at, err := link.AttachCgroup(link.CgroupOptions{Path: g.dir.Name(), Attach: ebpf.AttachCGroupInetEgress, Program: p})
	if err != nil {
		return nil, fmt.Errorf("attach %s to a cgroup: %w", name, err)
	}
	l.onClose(at.Close)
	return at.Close, nil
}
