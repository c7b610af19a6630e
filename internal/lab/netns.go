package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is a named network namespace. Its methods are safe for concurrent use,
// except with Close.
type NS struct {
	// Name is its file name in /run/netns, as "ip netns" shows it.
	Name string
	// Addr is the pod's IPv4 address, or the node's on the wire between nodes.
	Addr netip.Addr
	// Addr6 is the pod's IPv6 address, or the node's on its bridge.
	Addr6 netip.Addr

	lab   *Lab // nil for a namespace that was opened by name
	path  string
	fd    int
	inode uint64
	link  *netlink.Handle // nil for a namespace that was opened by name
}

// Open returns the namespace of the given name in /run/netns, as made by a lab
// of this process or of one around it. The caller closes it.
func Open(name string) (*NS, error) {
	return openNS(filepath.Join(netnsDir, name), name)
}

// Home returns the namespace of this process, under the name "self". The caller
// closes it.
func Home() (*NS, error) {
	return openNS("/proc/self/ns/net", "self")
}

func openNS(path, name string) (*NS, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("stat namespace %s: %w", path, err)
	}
	return &NS{Name: name, path: path, fd: fd, inode: st.Ino}, nil
}

// createNS makes a namespace, names it and opens a netlink handle in it.
func createNS(lab *Lab, name string) (*NS, error) {
	path := filepath.Join(netnsDir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return nil, fmt.Errorf("name namespace: %w", err)
	}
	f.Close()
	err = onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make namespace %s: %w", name, err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind namespace %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	ns, err := openNS(path, name)
	if err != nil {
		return nil, errors.Join(err, removeNS(path))
	}
	ns.lab = lab
	ns.link, err = netlink.NewHandleAt(netns.NsHandle(ns.fd), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink in %s: %w", name, err), ns.Close())
	}
	return ns, nil
}

// onOwnThread calls fn on a locked thread and puts the thread back into its
// network namespace afterwards. Restored, not discarded: the main thread can't
// be discarded, and the death of any thread would kill the processes that were
// started from it with Pdeathsig.
func onOwnThread(fn func() error) (err error) {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own namespace: %w", err)
	}
	// Deferred, so that t.FailNow within fn restores the thread too.
	defer func() {
		back := unix.Setns(home, unix.CLONE_NEWNET)
		unix.Close(home)
		if back != nil {
			// Still locked: the thread ends with the goroutine.
			err = errors.Join(err, fmt.Errorf("return to own namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return fn()
}

// Do calls fn with its thread in the namespace and returns its error.
// Goroutines that fn starts are not in the namespace; descriptors that it opens
// stay there and may be used from anywhere.
func (ns *NS) Do(fn func() error) error {
	if ns.fd < 0 {
		return fmt.Errorf("enter %s: %w", ns.Name, ErrClosed)
	}
	return onOwnThread(func() error {
		if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: %w", ns.Name, err)
		}
		return fn()
	})
}

// Path returns the namespace's file, for setns and "ip netns".
func (ns *NS) Path() string { return ns.path }

// Inode returns the namespace's number, as the kernel's net->ns.inum and
// /proc/PID/ns/net show it.
func (ns *NS) Inode() uint64 { return ns.inode }

// SetSysctl writes a value; key has the form "net.ipv4.ip_forward", or, as names
// of devices may have dots, "net/ipv4/conf/vxlan.calico/rp_filter".
func (ns *NS) SetSysctl(key, value string) error {
	path := "/proc/sys/" + key
	if !strings.Contains(key, "/") {
		path = "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
	}
	err := ns.Do(func() error { return os.WriteFile(path, []byte(value), 0o644) })
	if err != nil {
		return fmt.Errorf("sysctl %s=%s in %s: %w", key, value, ns.Name, err)
	}
	return nil
}

// Close lets go of the namespace. One that a lab made loses its name too, and
// the kernel frees it when the last socket and process in it has gone. Closing
// twice is no error.
func (ns *NS) Close() error {
	if ns.fd < 0 {
		return nil
	}
	if ns.link != nil {
		ns.link.Close()
	}
	err := unix.Close(ns.fd)
	ns.fd = -1
	if ns.lab != nil {
		err = errors.Join(err, removeNS(ns.path))
	}
	if err != nil {
		return fmt.Errorf("close namespace %s: %w", ns.Name, err)
	}
	return nil
}

func removeNS(path string) error {
	return errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path))
}
