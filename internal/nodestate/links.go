package nodestate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer/diagnose"
)

type linksKey struct{}

// Links returns the devices.
func (s *space) Links() ([]diagnose.Link, error) {
	return once(s, linksKey{}, s.readLinks)
}

func (s *space) readLinks() ([]diagnose.Link, error) {
	messages, err := dumpLinks()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	out := make([]diagnose.Link, 0, len(messages))
	peers := s.peers()
	for _, m := range messages {
		l, err := netlink.LinkDeserialize(nil, m)
		if err != nil {
			return nil, fmt.Errorf("decode a device: %w", err)
		}
		link := linkOf(l)
		link.PeerNetNS = peers.of(l)
		if link.Kind == "bridge" {
			link.NFCall = bridgeCalls(m)
		}
		for _, a := range addrs {
			if prefix, ok := prefixOf(a.IPNet); ok && a.LinkIndex == link.Index {
				link.Addrs = append(link.Addrs, prefix)
			}
		}
		out = append(out, link)
	}
	_ = addFeatures(out) // a kernel may lack them; they are nil then
	return out, errors.Join(addQdiscs(out), addFDB(out))
}

// dumpLinks returns the kernel's messages about devices.
func dumpLinks() ([][]byte, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
}

func linkOf(l netlink.Link) diagnose.Link {
	a := l.Attrs()
	link := diagnose.Link{
		Index: a.Index, Name: a.Name, Kind: l.Type(), MTU: a.MTU, Up: a.Flags&net.FlagUp != 0, State: a.OperState.String(),
		MAC: a.HardwareAddr.String(), Master: a.MasterIndex, Peer: a.ParentIndex, XDP: a.Xdp != nil && a.Xdp.Attached,
	}
	if link.Kind == "device" {
		link.Kind = ""
	}
	switch t := l.(type) {
	case *netlink.Vxlan:
		link.Tunnel = &diagnose.TunnelLink{VNI: uint32(t.VxlanId), Port: uint16(t.Port), Local: addrOf(t.SrcAddr), Remote: addrOf(t.Group), UDPChecksum: t.UDPCSum}
		link.Peer = t.VtepDevIndex
	case *netlink.Geneve:
		link.Tunnel = &diagnose.TunnelLink{VNI: t.ID, Port: t.Dport, Remote: addrOf(t.Remote), UDPChecksum: t.UdpCsum != 0}
	case *netlink.Iptun:
		link.Tunnel = &diagnose.TunnelLink{Local: addrOf(t.Local), Remote: addrOf(t.Remote), UDPChecksum: true}
		link.Peer = int(t.Link)
	case *netlink.Gretun:
		link.Tunnel = &diagnose.TunnelLink{VNI: t.IKey, Local: addrOf(t.Local), Remote: addrOf(t.Remote), UDPChecksum: true}
		link.Kind = "gre"
		link.Peer = int(t.Link)
	}
	return link
}

// bridgeCalls reads from a message about a bridge whether it hands its frames to
// iptables though the sysctl for all of them says no; nil unknown.
func bridgeCalls(message []byte) *bool {
	for attr, info := range attributes(message, unix.SizeofIfInfomsg) {
		if attr != unix.IFLA_LINKINFO {
			continue
		}
		for attr, data := range attributes(info, 0) {
			if attr != nl.IFLA_INFO_DATA {
				continue
			}
			for attr, value := range attributes(data, 0) {
				if attr == nl.IFLA_BR_NF_CALL_IPTABLES && len(value) == 1 {
					on := value[0] == 1
					return &on
				}
			}
		}
	}
	return nil
}

// addFDB fills in which peers the forwarding tables of tunnels know.
func addFDB(links []diagnose.Link) error {
	for i := range links {
		l := &links[i]
		if l.Kind != "vxlan" {
			continue
		}
		entries, err := netlink.NeighList(l.Index, unix.AF_BRIDGE)
		if err != nil {
			return fmt.Errorf("list forwarding entries of %s: %w", l.Name, err)
		}
		for _, e := range entries {
			if addr := addrOf(e.IP); addr.IsValid() && !addr.IsUnspecified() {
				l.Tunnel.FDB = append(l.Tunnel.FDB, addr)
			}
		}
	}
	return nil
}

// addrOf is invalid for the address that stands for any.
func addrOf(ip net.IP) netip.Addr {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok || addr.IsUnspecified() {
		return netip.Addr{}
	}
	return addr.Unmap()
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits), ok
}
