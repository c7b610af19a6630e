package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const podMTU = 1450 // 1500 less the 50 bytes of VXLAN and Geneve

// readyTimeout bounds how long a device, an address or a server may take.
func readyTimeout() time.Duration { return Patience(5 * time.Second) }

func (l *Lab) nodes() []*NS { return []*NS{l.NodeA, l.NodeB} }

// makeNamespaces creates them all, with the sysctls that devices inherit.
func (l *Lab) makeNamespaces() error {
	for _, n := range []struct {
		name string
		ns   **NS
	}{{NodeA, &l.NodeA}, {NodeB, &l.NodeB}, {Client, &l.Client}, {DNSA, &l.DNSA}, {DNSB, &l.DNSB}} {
		ns, err := createNS(l, n.name)
		if err != nil {
			return err
		}
		*n.ns = ns
		l.onClose(ns.Close)
		// IPv6 addresses are of use at once, and nobody asks for routers.
		err = ns.setSysctls([][2]string{
			{"net.ipv6.conf.default.accept_dad", "0"},
			{"net.ipv6.conf.default.accept_ra", "0"},
			{"net.ipv6.conf.default.router_solicitations", "0"},
		})
		if err != nil {
			return err
		}
	}
	for i, node := range l.nodes() {
		node.Addr, node.Addr6 = wireAddr(i), ipv6.host(i, ipv6.bridge)
		if err := l.tuneNode(node); err != nil {
			return err
		}
	}
	for _, p := range pods() {
		ns := l.NS(p.name)
		ns.Addr, ns.Addr6 = ipv4.host(p.node, p.last), ipv6.host(p.node, p.last)
	}
	return nil
}

// tuneNode makes a router of a namespace.
func (l *Lab) tuneNode(node *NS) error {
	err := node.setSysctls([][2]string{
		{"net.ipv4.ip_forward", "1"},
		{"net.ipv4.conf.all.rp_filter", "0"},
		{"net.ipv4.conf.default.rp_filter", "0"},
		{"net.ipv6.conf.all.forwarding", "1"},
		{"net.ipv6.conf.default.forwarding", "1"},
	})
	if err != nil {
		return err
	}
	value := "0"
	if l.cfg.BridgeNF {
		value = "1"
	}
	err = node.setSysctls([][2]string{
		{"net.bridge.bridge-nf-call-iptables", value},
		{"net.bridge.bridge-nf-call-ip6tables", value},
	})
	if errors.Is(err, fs.ErrNotExist) {
		if l.cfg.BridgeNF {
			return notSupported("br_netfilter", "CONFIG_BRIDGE_NETFILTER")
		}
		return nil // bridged packets never see netfilter
	}
	return err
}

func (ns *NS) setSysctls(pairs [][2]string) error {
	for _, p := range pairs {
		if err := ns.SetSysctl(p[0], p[1]); err != nil {
			return err
		}
	}
	return nil
}

// wire makes devices, waits for their carriers, adds addresses and routes, and
// waits for IPv6.
func (l *Lab) wire(ctx context.Context) error {
	if err := l.addWire(); err != nil {
		return err
	}
	for i, node := range l.nodes() {
		if err := addBridge(node, i); err != nil {
			return err
		}
	}
	for _, p := range pods() {
		node := l.nodes()[p.node]
		if err := addVeth(l.NS(p.name), WireDev, node, p.dev, podMTU); err != nil {
			return err
		}
		if err := node.enslave(p.dev, BridgeDev); err != nil {
			return err
		}
	}
	for i := range l.nodes() {
		if err := l.addTunnel(i); err != nil {
			return err
		}
	}
	for _, ns := range l.Namespaces() {
		if err := ns.raiseAll(l.cfg.Overlay); err != nil {
			return err
		}
	}
	for _, ns := range l.Namespaces() {
		if err := ns.awaitCarriers(ctx); err != nil {
			return err
		}
	}
	if err := l.address(); err != nil {
		return err
	}
	for _, ns := range l.Namespaces() {
		if err := ns.awaitIPv6(ctx); err != nil {
			return err
		}
	}
	return nil
}

// addWire joins the nodes.
func (l *Lab) addWire() error {
	if l.cfg.Relay {
		return l.addRelay()
	}
	return addVeth(l.NodeA, WireDev, l.NodeB, WireDev, 1500)
}

// address adds all addresses and routes.
func (l *Lab) address() error {
	for i, node := range l.nodes() {
		if err := node.addAddr(WireDev, netip.PrefixFrom(wireAddr(i), 24)); err != nil {
			return err
		}
		if l.cfg.Underlay6 {
			if err := node.addAddr(WireDev, netip.PrefixFrom(wireAddr6(i), 64)); err != nil {
				return err
			}
		}
		if err := node.addRoute(WireDev, ipv4.any, wireGateway()); err != nil {
			return err
		}
		if err := node.addRoute(WireDev, ipv6.any, netip.Addr{}); err != nil {
			return err
		}
		for _, f := range families() {
			bridge := netip.PrefixFrom(f.host(i, f.bridge), f.nodes[i].Bits())
			if err := node.addAddr(BridgeDev, bridge); err != nil {
				return err
			}
		}
		if err := l.routeOverlay(i); err != nil {
			return err
		}
	}
	for _, p := range pods() {
		for _, f := range families() {
			ns := l.NS(p.name)
			addr := netip.PrefixFrom(f.host(p.node, p.last), f.nodes[p.node].Bits())
			if err := ns.addAddr(WireDev, addr); err != nil {
				return err
			}
			if err := ns.addRoute(WireDev, f.any, f.host(p.node, f.bridge)); err != nil {
				return err
			}
		}
	}
	return nil
}

// addVeth makes a pair with one end in each namespace.
func addVeth(ns *NS, dev string, peer *NS, peerDev string, mtu int) error {
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: dev, MTU: mtu, TxQLen: -1})
	veth.PeerName = peerDev
	veth.PeerNamespace = netlink.NsFd(peer.fd)
	veth.PeerMTU = uint32(mtu)
	return ns.addDevice(veth, "CONFIG_VETH")
}

// addBridge makes cni0 on node i. Its hardware address is fixed, since
// otherwise it changes as ports join, after neighbours have learnt it.
func addBridge(node *NS, i int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = BridgeDev
	attrs.MTU = podMTU
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0, 0, 0, 0x10, byte(i + 1)}
	return node.addDevice(&netlink.Bridge{LinkAttrs: attrs}, "CONFIG_BRIDGE")
}

// addDevice makes a device. A kind that the kernel does not know, and has no
// module for, is not supported.
func (ns *NS) addDevice(dev netlink.Link, option string) error {
	err := ns.link.LinkAdd(dev)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return notSupported("devices of kind "+dev.Type(), option)
	}
	if err != nil {
		return fmt.Errorf("add %s %s in %s: %w", dev.Type(), dev.Attrs().Name, ns.Name, err)
	}
	return nil
}

// device looks a device up by name.
func (ns *NS) device(name string) (netlink.Link, error) {
	dev, err := ns.link.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find device %s in %s: %w", name, ns.Name, err)
	}
	return dev, nil
}

// enslave makes a port of a device. A port may send back what came from it, as
// CNI bridges allow: a DNS pod that asks the service may be given itself.
func (ns *NS) enslave(port, bridge string) error {
	p, err := ns.device(port)
	if err != nil {
		return err
	}
	b, err := ns.device(bridge)
	if err != nil {
		return err
	}
	if err := ns.link.LinkSetMaster(p, b); err != nil {
		return fmt.Errorf("join %s to %s in %s: %w", port, bridge, ns.Name, err)
	}
	if err := ns.link.LinkSetHairpin(p, true); err != nil {
		return fmt.Errorf("allow hairpin on %s in %s: %w", port, ns.Name, err)
	}
	return nil
}

// raiseAll sets every device of the lab up; veths get a carrier when both ends
// are up. Modules of tunnels put devices of theirs into each namespace (tunl0,
// gre0): they stay down where they are not the overlay.
func (ns *NS) raiseAll(overlay Overlay) error {
	links, err := ns.link.LinkList()
	if err != nil {
		return fmt.Errorf("list devices in %s: %w", ns.Name, err)
	}
	kinds := []string{"device", "veth", "tuntap", "bridge", string(overlay)} // "device" is lo
	for _, dev := range links {
		if dev.Attrs().Name != underDev && !slices.Contains(kinds, dev.Type()) {
			continue
		}
		if err := ns.link.LinkSetUp(dev); err != nil {
			return fmt.Errorf("raise %s in %s: %w", dev.Attrs().Name, ns.Name, err)
		}
	}
	return nil
}

func (ns *NS) addAddr(dev string, prefix netip.Prefix) error {
	link, err := ns.device(dev)
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: ipNet(prefix)}
	if prefix.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := ns.link.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("add %s to %s in %s: %w", prefix, dev, ns.Name, err)
	}
	return nil
}

// addRoute adds a route; an invalid gateway means that dst is on the link.
func (ns *NS) addRoute(dev string, dst netip.Prefix, gateway netip.Addr) error {
	link, err := ns.device(dev)
	if err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(dst)}
	if gateway.IsValid() {
		route.Gw = gateway.AsSlice()
		route.Flags = int(netlink.FLAG_ONLINK)
	}
	if err := ns.link.RouteAdd(route); err != nil {
		return fmt.Errorf("add route %s in %s: %w", dst, ns.Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
