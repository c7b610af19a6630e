package lab

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offloads say what is left to devices, by ethtool's names.
type Offloads struct {
	TX  bool // checksums of what is sent
	RX  bool // checksums of what is received
	GSO bool // several packets in one on the way out, parted before the device
	GRO bool // several packets made one on the way in
	TSO bool // several packets in one, of TCP, that the device parts itself; needs TX
}

// offload is a part of Offloads.
type offload struct {
	name     string
	get, set uint32 // commands of the ioctl
	on       func(*Offloads) *bool
}

func offloads() []offload {
	return []offload{
		{"tx", unix.ETHTOOL_GTXCSUM, unix.ETHTOOL_STXCSUM, func(o *Offloads) *bool { return &o.TX }},
		{"rx", unix.ETHTOOL_GRXCSUM, unix.ETHTOOL_SRXCSUM, func(o *Offloads) *bool { return &o.RX }},
		{"gso", unix.ETHTOOL_GGSO, unix.ETHTOOL_SGSO, func(o *Offloads) *bool { return &o.GSO }},
		{"gro", unix.ETHTOOL_GGRO, unix.ETHTOOL_SGRO, func(o *Offloads) *bool { return &o.GRO }},
		{"tso", unix.ETHTOOL_GTSO, unix.ETHTOOL_STSO, func(o *Offloads) *bool { return &o.TSO }},
	}
}

// String lists what is on, as in "tx rx gso"; "none" if nothing is.
func (o Offloads) String() string {
	var on []string
	for _, f := range offloads() {
		if *f.on(&o) {
			on = append(on, f.name)
		}
	}
	if on == nil {
		return "none"
	}
	return strings.Join(on, " ")
}

// EachOffload returns settings that have each offload on and off: all and none,
// all but one, and one alone.
func EachOffload() []Offloads {
	all := Offloads{TX: true, RX: true, GSO: true, GRO: true, TSO: true}
	settings := []Offloads{all, {}}
	for _, f := range offloads() {
		but, alone := all, Offloads{}
		*f.on(&but), *f.on(&alone) = false, true
		settings = append(settings, but, alone)
	}
	return settings
}

// SetOffloads sets the offloads of all devices that are up in the lab. A device
// need not be able to do what is asked: refused counts offloads of devices that
// are not as asked then.
func (l *Lab) SetOffloads(o Offloads) (refused, total int, err error) {
	for _, ns := range l.Namespaces() {
		devs, err := ns.link.LinkList()
		if err != nil {
			return 0, 0, fmt.Errorf("list devices in %s: %w", ns.Name, err)
		}
		err = ns.Do(func() error {
			for _, dev := range devs {
				if dev.Attrs().RawFlags&unix.IFF_UP == 0 {
					continue
				}
				n, err := setOffloads(dev.Attrs().Name, o)
				if err != nil {
					return fmt.Errorf("set offloads of %s in %s: %w", dev.Attrs().Name, ns.Name, err)
				}
				refused, total = refused+n, total+len(offloads())
			}
			return nil
		})
		if err != nil {
			return 0, 0, err
		}
	}
	return refused, total, nil
}

// setOffloads sets the offloads of a device in this thread's namespace, and
// returns how many are not as asked.
func setOffloads(dev string, o Offloads) (refused int, err error) {
	for _, f := range offloads() {
		want := *f.on(&o)
		_, err := ethtool(dev, f.set, want)
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // it is fixed
			return 0, err
		}
	}
	for _, f := range offloads() { // at last: one may depend on another
		is, err := ethtool(dev, f.get, false)
		if err != nil {
			return 0, err
		}
		if is != *f.on(&o) {
			refused++
		}
	}
	return refused, nil
}

// SetTXChecksum turns a device's transmit checksum offload on or off, as
// "ethtool -K DEV tx off" does. A lab's packets have no computed checksum at all
// while it is on, since veth leaves that to a wire that never comes.
func (ns *NS) SetTXChecksum(dev string, on bool) error {
	err := ns.Do(func() error {
		_, err := ethtool(dev, unix.ETHTOOL_STXCSUM, on)
		return err
	})
	if err != nil {
		return fmt.Errorf("set transmit checksum of %s in %s: %w", dev, ns.Name, err)
	}
	return nil
}

// ethtool gives a command with a value to a device in this thread's namespace,
// and returns the value that comes back (struct ethtool_value).
func ethtool(dev string, cmd uint32, value bool) (bool, error) {
	v := struct{ cmd, data uint32 }{cmd: cmd}
	if value {
		v.data = 1
	}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq holds 24 bytes after the name
	}{data: unsafe.Pointer(&v)}
	copy(request.name[:unix.IFNAMSIZ-1], dev)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&v)
	if errno != 0 {
		return false, errno
	}
	return v.data != 0, nil
}
