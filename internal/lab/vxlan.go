package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// vxlanDevice is a VXLAN device of a node.
type vxlanDevice struct {
	VXLAN
	name   string
	mac    net.HardwareAddr
	mtu    int
	dev    string     // that its packets leave by
	local  netip.Addr // of its packets
	remote netip.Addr // where all go; none: where forwardVXLAN says
}

// addVXLAN makes a VXLAN device. The request is made by hand: a
// netlink.Vxlan can turn the outer checksum on, which is the kernel's default,
// and not off.
func (ns *NS) addVXLAN(d vxlanDevice) error {
	under, err := ns.device(d.dev)
	if err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(d.name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(d.mtu))))
	req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, d.mac))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vxlan"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_VXLAN_ID, nl.Uint32Attr(uint32(d.VNI)))
	data.AddRtAttr(nl.IFLA_VXLAN_LINK, nl.Uint32Attr(uint32(under.Attrs().Index)))
	local, group := nl.IFLA_VXLAN_LOCAL, nl.IFLA_VXLAN_GROUP
	if d.local.Is6() {
		local, group = nl.IFLA_VXLAN_LOCAL6, nl.IFLA_VXLAN_GROUP6
	}
	data.AddRtAttr(local, d.local.AsSlice())
	if d.remote.IsValid() {
		data.AddRtAttr(group, d.remote.AsSlice())
	}
	data.AddRtAttr(nl.IFLA_VXLAN_LEARNING, nl.Uint8Attr(0))
	data.AddRtAttr(nl.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, uint16(d.Port)))
	if d.ZeroChecksum {
		data.AddRtAttr(nl.IFLA_VXLAN_UDP_CSUM, nl.Uint8Attr(0))
		data.AddRtAttr(nl.IFLA_VXLAN_UDP_ZERO_CSUM6_TX, nl.Uint8Attr(1))
		data.AddRtAttr(nl.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, nl.Uint8Attr(1))
	}
	req.AddData(info)
	err = ns.Do(func() error {
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return notSupported("devices of kind vxlan", "CONFIG_VXLAN")
	}
	if err != nil {
		return fmt.Errorf("add vxlan device in %s: %w", ns.Name, err)
	}
	return nil
}

// forwardVXLAN tells a VXLAN device behind which node a hardware address is.
func (ns *NS) forwardVXLAN(name string, mac net.HardwareAddr, node netip.Addr) error {
	dev, err := ns.device(name)
	if err != nil {
		return err
	}
	err = ns.link.NeighSet(&netlink.Neigh{
		LinkIndex: dev.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
		IP: node.AsSlice(), HardwareAddr: mac,
	})
	if err != nil {
		return fmt.Errorf("add forwarding entry for %s in %s: %w", node, ns.Name, err)
	}
	return nil
}
