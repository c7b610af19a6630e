package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Overlay is the kind of tunnel through which pods of different nodes meet, by
// the kernel's name for its devices.
type Overlay string

// The overlays.
const (
	OverlayVXLAN Overlay = "vxlan" // VXLANDev, shaped by Config.VXLAN; also the empty string
	// OverlayIPIP is IPv4 in IPv4 by the device that the kernel's module puts
	// into each namespace, as Calico has it: IPIPDev. It carries no IPv6: there,
	// IPv6 pods of different nodes do not reach each other.
	OverlayIPIP   Overlay = "ipip"
	OverlayGeneve Overlay = "geneve" // GeneveDev, VNI 4096, UDP port 6081
)

// Device returns the name of the overlay's device on both nodes.
func (o Overlay) Device() string {
	switch o {
	case OverlayIPIP:
		return IPIPDev
	case OverlayGeneve:
		return GeneveDev
	default:
		return VXLANDev
	}
}

// tunnelMAC is the hardware address of node i's tunnel, where it has one.
func tunnelMAC(i int) net.HardwareAddr { return net.HardwareAddr{0x02, 0, 0, 0, 0x20, byte(i + 1)} }

// addTunnel makes the tunnel device of node i.
func (l *Lab) addTunnel(i int) error {
	node := l.nodes()[i]
	switch l.cfg.Overlay {
	case OverlayIPIP:
		return node.addIPIP()
	case OverlayGeneve:
		return node.addGeneve(i)
	default:
		return node.addVXLAN(l.cfg.VXLAN, i)
	}
}

// addIPIP makes sure of the device that the module puts into each namespace. To
// ask for one of that name is what loads the module ("ip tunnel add tunl0").
func (ns *NS) addIPIP() error {
	err := ns.addDevice(&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: IPIPDev}}, "CONFIG_NET_IPIP")
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func (ns *NS) addGeneve(i int) error {
	return ns.addDevice(&netlink.Geneve{
		LinkAttrs: netlink.LinkAttrs{Name: GeneveDev, MTU: podMTU, HardwareAddr: tunnelMAC(i)},
		ID:        4096,
		Remote:    wireAddr(1 - i).AsSlice(),
	}, "CONFIG_GENEVE")
}

// routeOverlay tells node i how to reach the other node's pods.
func (l *Lab) routeOverlay(i int) error {
	node, dev, other := l.nodes()[i], l.cfg.Overlay.Device(), 1-i
	if l.cfg.Overlay == OverlayIPIP {
		if err := node.addAddr(dev, netip.PrefixFrom(ipv4.host(i, ipv4.tunnel), ipv4.bits)); err != nil {
			return err
		}
		return node.addRoute(dev, ipv4.nodes[other], wireAddr(other))
	}
	for _, f := range families() {
		if err := node.routeEthernet(dev, f, i); err != nil {
			return err
		}
	}
	if l.cfg.Overlay == OverlayVXLAN {
		return node.forwardVXLAN(i)
	}
	return nil
}

// routeEthernet is routeOverlay for a tunnel that carries Ethernet frames: a
// route to the other end's tunnel address, and its hardware address.
func (ns *NS) routeEthernet(dev string, f family, i int) error {
	link, err := ns.device(dev)
	if err != nil {
		return err
	}
	if err := ns.addAddr(dev, netip.PrefixFrom(f.host(i, f.tunnel), f.bits)); err != nil {
		return err
	}
	other := 1 - i
	peer := f.host(other, f.tunnel)
	err = ns.link.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: f.af, State: netlink.NUD_PERMANENT,
		IP: peer.AsSlice(), HardwareAddr: tunnelMAC(other),
	})
	if err != nil {
		return fmt.Errorf("add neighbour %s in %s: %w", peer, ns.Name, err)
	}
	return ns.addRoute(dev, f.nodes[other], peer)
}
