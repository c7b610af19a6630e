//go:build e2e

package main

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"      //nolint:depguard // the test is the CNI whose programs rewrite
	"github.com/cilium/ebpf/asm"  //nolint:depguard // see above
	"github.com/cilium/ebpf/link" //nolint:depguard // see above
	"golang.org/x/sys/unix"
)

// rewriteAtConnect makes a cgroup in which sockets that ask for one IPv4 address
// get another, and are told nothing of it. It returns the cgroup's descriptor,
// for processes to be started in it.
func rewriteAtConnect(t *testing.T, service, backend netip.Addr) (group int) {
	t.Helper()
	dir := makeCgroup(t)
	for _, p := range []struct {
		name     string
		attach   ebpf.AttachType
		from, to netip.Addr
	}{
		{"connect4", ebpf.AttachCGroupInet4Connect, service, backend},
		{"sendmsg4", ebpf.AttachCGroupUDP4Sendmsg, service, backend},
		{"recvmsg4", ebpf.AttachCGroupUDP4Recvmsg, backend, service},
		{"getpeername4", ebpf.AttachCgroupInet4GetPeername, backend, service},
	} {
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: p.name, Type: ebpf.CGroupSockAddr, AttachType: p.attach, License: "GPL", Instructions: replacePeer(p.from, p.to),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { prog.Close() })
		l, err := link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: p.attach, Program: prog})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	group, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(group) })
	return group
}

// replacePeer returns a program that allows all, and replaces the peer's address
// if it is a given one.
func replacePeer(from, to netip.Addr) asm.Instructions {
	const userIP4 = 4 // in struct bpf_sock_addr
	word := func(a netip.Addr) int64 { return int64(binary.NativeEndian.Uint32(a.AsSlice())) }
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, userIP4, asm.Word),
		asm.LoadImm(asm.R3, word(from), asm.DWord), asm.JNE.Reg(asm.R2, asm.R3, "allow"),
		asm.LoadImm(asm.R2, word(to), asm.DWord), asm.StoreMem(asm.R1, userIP4, asm.R2, asm.Word),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("allow"), asm.Return(),
	}
}

// makeCgroup makes a cgroup of version 2, whose tree is mounted in this process's
// own /run: where a machine has it is its own affair.
func makeCgroup(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("/run", "cgroup-")
	if err != nil {
		t.Fatal(err)
	}
	err = unix.Mount("cgroup2", root, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if errors.Is(err, unix.ENODEV) {
		t.Skipf("cgroup2: %v (CONFIG_CGROUPS)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) }) //nolint:errcheck // the mount namespace goes with the process
	dir, err := os.MkdirTemp(root, "dnspath-lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("remove cgroup: %v", err)
		}
	})
	return filepath.Clean(dir)
}
