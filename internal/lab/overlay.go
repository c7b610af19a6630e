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
	OverlayGRE    Overlay = "gre"    // GREDev: IPv4 and IPv6 with a GRE header, key 4096
	OverlayIP6Tnl Overlay = "ip6tnl" // IP6TnlDev: IPv4 and IPv6 in IPv6; needs Config.Underlay6
)

// underDev is the device of Config.Under.
const underDev = "under0"

// tunnelMTU is that of an overlay over something with more headers than IPv4.
const tunnelMTU = 1350

// Device returns the name of the overlay's device on both nodes.
func (o Overlay) Device() string {
	switch o {
	case OverlayIPIP:
		return IPIPDev
	case OverlayGeneve:
		return GeneveDev
	case OverlayGRE:
		return GREDev
	case OverlayIP6Tnl:
		return IP6TnlDev
	default:
		return VXLANDev
	}
}

// tunnelMAC is the hardware address of node i's tunnel, where it has one.
func tunnelMAC(i int) net.HardwareAddr { return net.HardwareAddr{0x02, 0, 0, 0, 0x20, byte(i + 1)} }

// underlay returns the address of node i between which the overlay's packets go.
func (l *Lab) underlay(i int) netip.Addr {
	switch {
	case l.cfg.Under != "":
		return netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})
	case l.cfg.Underlay6:
		return wireAddr6(i)
	}
	return wireAddr(i)
}

// overlayMTU returns the MTU of the overlay's device.
func (l *Lab) overlayMTU() int {
	if l.cfg.Under != "" || l.cfg.Underlay6 {
		return tunnelMTU
	}
	return podMTU
}

// addTunnel makes the tunnel devices of node i.
func (l *Lab) addTunnel(i int) error {
	if err := l.addUnder(i); err != nil {
		return err
	}
	node, local, remote := l.nodes()[i], l.underlay(i), l.underlay(1-i)
	switch l.cfg.Overlay {
	case OverlayIPIP:
		return node.addIPIP()
	case OverlayGeneve:
		return node.addDevice(&netlink.Geneve{
			LinkAttrs: netlink.LinkAttrs{Name: GeneveDev, MTU: l.overlayMTU(), HardwareAddr: tunnelMAC(i)},
			ID:        4096,
			Remote:    remote.AsSlice(),
		}, "CONFIG_GENEVE")
	case OverlayGRE:
		return node.addGRE(GREDev, local, remote)
	case OverlayIP6Tnl:
		// Without the option of RFC 2473 that limits nesting, which is the kernel's default: nothing here nests further.
		return node.addDevice(&netlink.Ip6tnl{
			LinkAttrs: netlink.LinkAttrs{Name: IP6TnlDev, MTU: l.overlayMTU()},
			Local:     local.AsSlice(), Remote: remote.AsSlice(), Ttl: 64, Flags: ip6tnlIgnoreEncapLimit,
		}, "CONFIG_IPV6_TUNNEL")
	default:
		return node.addVXLAN(l.vxlan(i))
	}
}

// ip6tnlIgnoreEncapLimit is IP6_TNL_F_IGN_ENCAP_LIMIT.
const ip6tnlIgnoreEncapLimit = 1

// addUnder makes the tunnel device of node i that the overlay goes through, if
// it is to go through one.
func (l *Lab) addUnder(i int) error {
	node := l.nodes()[i]
	switch l.cfg.Under {
	case "":
		return nil
	case OverlayIPIP:
		return node.addDevice(&netlink.Iptun{
			LinkAttrs: netlink.LinkAttrs{Name: underDev}, Local: wireAddr(i).AsSlice(), Remote: wireAddr(1 - i).AsSlice(), Ttl: 64,
		}, "CONFIG_NET_IPIP")
	case OverlayGRE:
		return node.addGRE(underDev, wireAddr(i), wireAddr(1-i))
	default:
		return node.addVXLAN(vxlanDevice{
			name: underDev, mac: underMAC(i), mtu: podMTU, dev: WireDev, local: wireAddr(i), remote: wireAddr(1 - i),
			VXLAN: VXLAN{VNI: 7, Port: 8472},
		})
	}
}

func underMAC(i int) net.HardwareAddr { return net.HardwareAddr{0x02, 0, 0, 0, 0x30, byte(i + 1)} }

// vxlan returns the overlay's VXLAN device of node i.
func (l *Lab) vxlan(i int) vxlanDevice {
	d := vxlanDevice{
		name: VXLANDev, mac: tunnelMAC(i), mtu: l.overlayMTU(), dev: WireDev, local: l.underlay(i), VXLAN: l.cfg.VXLAN,
	}
	if l.cfg.Under != "" {
		d.dev = underDev
	}
	return d
}

func (ns *NS) addGRE(name string, local, remote netip.Addr) error {
	const key = 4096
	return ns.addDevice(&netlink.Gretun{
		LinkAttrs: netlink.LinkAttrs{Name: name, MTU: podMTU}, Local: local.AsSlice(), Remote: remote.AsSlice(), Ttl: 64,
		IKey: key, OKey: key,
	}, "CONFIG_NET_IPGRE")
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

// routeOverlay tells node i how to reach the other node's pods.
func (l *Lab) routeOverlay(i int) error {
	node, dev, other := l.nodes()[i], l.cfg.Overlay.Device(), 1-i
	if l.cfg.Under != "" {
		if err := node.addAddr(underDev, netip.PrefixFrom(l.underlay(i), 24)); err != nil {
			return err
		}
	}
	for _, f := range families() {
		var err error
		switch {
		case l.cfg.Overlay == OverlayIPIP && f.bits == ipv4.bits:
			err = node.routeTunnel(dev, f, i, l.underlay(other))
		case l.cfg.Overlay == OverlayIPIP:
		case l.cfg.Overlay == OverlayGRE || l.cfg.Overlay == OverlayIP6Tnl:
			err = node.routeTunnel(dev, f, i, netip.Addr{})
		default:
			err = node.routeEthernet(dev, f, i)
		}
		if err != nil {
			return err
		}
	}
	if l.cfg.Overlay == OverlayVXLAN {
		return node.forwardVXLAN(VXLANDev, tunnelMAC(other), l.underlay(other))
	}
	return nil
}

// routeTunnel is routeOverlay for a tunnel that carries IP packets, with its
// other end for a gateway where it has several.
func (ns *NS) routeTunnel(dev string, f family, i int, gateway netip.Addr) error {
	if err := ns.addAddr(dev, netip.PrefixFrom(f.host(i, f.tunnel), f.bits)); err != nil {
		return err
	}
	return ns.addRoute(dev, f.nodes[1-i], gateway)
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
