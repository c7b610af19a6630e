package lab

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// await calls check at short intervals until it returns "", at most for
// readyTimeout. What check returns is what is still missing.
func (ns *NS) await(ctx context.Context, check func() (missing string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout())
	defer cancel()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		missing, err := check()
		if missing == "" && err == nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch %s: %w", ns.Name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s in %s: %w", missing, ns.Name, context.Cause(ctx))
		case <-again.C:
		}
	}
}

// wires returns the devices that have a carrier and neighbours to discover. It
// asks for them one by one: that, and not listing them, settles a carrier on
// the spot since Linux 6.8 (linkwatch_sync_dev in rtnl_getlink, commit
// facd15dfd691). Otherwise a worker gets to it, for bridges up to a second later.
func (ns *NS) wires() ([]netlink.Link, error) {
	all, err := ns.link.LinkList()
	if err != nil {
		return nil, err
	}
	var wires []netlink.Link
	for _, dev := range all {
		if kind := dev.Type(); kind != "veth" && kind != "bridge" {
			continue
		}
		dev, err := ns.link.LinkByIndex(dev.Attrs().Index)
		if err != nil {
			return nil, err
		}
		wires = append(wires, dev)
	}
	return wires, nil
}

// awaitCarriers waits for carriers: a veth drops what it is given before.
func (ns *NS) awaitCarriers(ctx context.Context) error {
	return ns.await(ctx, func() (string, error) {
		wires, err := ns.wires()
		if err != nil {
			return "", err
		}
		for _, dev := range wires {
			if a := dev.Attrs(); a.OperState != netlink.OperUp {
				return "carrier of " + a.Name, nil
			}
		}
		return "", nil
	})
}

// awaitIPv6 waits until neighbours can find the IPv6 addresses, and these can
// ask. Even without duplicate address detection a worker joins an address's
// solicited-node group and ends its tentative state (addrconf_dad_work); a
// neighbour solicitation that comes before is lost, and the next takes a second.
func (ns *NS) awaitIPv6(ctx context.Context) error {
	return ns.await(ctx, func() (string, error) {
		wires, err := ns.wires()
		if err != nil {
			return "", err
		}
		groups, err := ns.multicast6()
		if err != nil {
			return "", err
		}
		for _, dev := range wires {
			addrs, err := ns.link.AddrList(dev, unix.AF_INET6)
			if err != nil {
				return "", err
			}
			for _, a := range addrs {
				name := dev.Attrs().Name
				joined := groups[name+" "+solicitedNode(a.IP)]
				if a.Flags&unix.IFA_F_TENTATIVE != 0 || !joined {
					return fmt.Sprintf("address %s on %s", a.IP, name), nil
				}
			}
		}
		return "", nil
	})
}

// solicitedNode returns an address's group (RFC 4291 section 2.7.1) in
// hexadecimal.
func solicitedNode(addr []byte) string {
	return "ff0200000000000000000001ff" + hex.EncodeToString(addr[13:])
}

// multicast6 returns the IPv6 groups that are joined, as "device group".
func (ns *NS) multicast6() (map[string]bool, error) {
	var text []byte
	err := ns.Do(func() (err error) {
		// Not /proc/net: that is the main thread's.
		text, err = os.ReadFile("/proc/thread-self/net/igmp6")
		return err
	})
	if err != nil {
		return nil, err
	}
	joined := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 {
			joined[f[1]+" "+f[2]] = true
		}
	}
	return joined, nil
}
