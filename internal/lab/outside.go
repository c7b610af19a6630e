package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
)

// Outside is a resolver that is no part of the cluster, and never answers.
func Outside() netip.AddrPort { return netip.MustParseAddrPort("198.51.100.53:53") }

// addOutside gives node-a a way to Outside: a device that takes what it is given,
// as a wire does, and whose other end is on no machine.
func addOutside(ctx context.Context, l *Lab) error {
	tun := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: FabricDev, MTU: 1500}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_DEFAULTS,
		NonPersist: true, Queues: 1,
	}
	err := l.NodeA.Do(func() error { return netlink.LinkAdd(tun) })
	if errors.Is(err, fs.ErrNotExist) {
		return notSupported("tun devices", "CONFIG_TUN")
	}
	if err != nil {
		return fmt.Errorf("add tun device: %w", err)
	}
	l.onClose(func() error { return closeAll(tun.Fds) })
	if err := l.NodeA.IP(ctx, "link", "set", FabricDev, "up"); err != nil {
		return err
	}
	return l.NodeA.IP(ctx, "route", "add", "198.51.100.0/24", "dev", FabricDev)
}

func closeAll(files []*os.File) (err error) {
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	return err
}
