package lab

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// settle waits until every device with a carrier has it. Until then a veth
// drops what it is given, and IPv6 addresses on it stay unusable. Asking for one
// device (not for the list) settles its carrier on the spot since Linux 6.8
// (linkwatch_sync_dev in rtnl_getlink, commit facd15dfd691); otherwise a worker
// gets to it, for bridges up to a second later.
func (ns *NS) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	links, err := ns.link.LinkList()
	if err != nil {
		return fmt.Errorf("list devices in %s: %w", ns.Name, err)
	}
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for _, dev := range links {
		if kind := dev.Type(); kind != "veth" && kind != "bridge" {
			continue
		}
		for dev.Attrs().OperState != netlink.OperUp {
			if dev, err = ns.link.LinkByIndex(dev.Attrs().Index); err != nil {
				return fmt.Errorf("find device in %s: %w", ns.Name, err)
			}
			if dev.Attrs().OperState == netlink.OperUp {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for carrier of %s in %s: %w", dev.Attrs().Name, ns.Name, ctx.Err())
			case <-again.C:
			}
		}
	}
	return nil
}
