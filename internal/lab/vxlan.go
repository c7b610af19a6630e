package lab

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// addVXLAN makes the VXLAN device of node i. The request is made by hand: a
// netlink.Vxlan can turn the outer checksum on, which is the kernel's default,
// and not off.
func (ns *NS) addVXLAN(cfg VXLAN, i int) error {
	wire, err := ns.device(WireDev)
	if err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(VXLANDev)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(podMTU)))
	req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, tunnelMAC(i)))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vxlan"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_VXLAN_ID, nl.Uint32Attr(uint32(cfg.VNI)))
	data.AddRtAttr(nl.IFLA_VXLAN_LINK, nl.Uint32Attr(uint32(wire.Attrs().Index)))
	data.AddRtAttr(nl.IFLA_VXLAN_LOCAL, wireAddr(i).AsSlice())
	data.AddRtAttr(nl.IFLA_VXLAN_LEARNING, nl.Uint8Attr(0))
	data.AddRtAttr(nl.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, uint16(cfg.Port)))
	if cfg.ZeroChecksum {
		data.AddRtAttr(nl.IFLA_VXLAN_UDP_CSUM, nl.Uint8Attr(0))
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

// forwardVXLAN tells the VXLAN device of node i behind which node the other
// device's hardware address is.
func (ns *NS) forwardVXLAN(i int) error {
	dev, err := ns.device(VXLANDev)
	if err != nil {
		return err
	}
	other := 1 - i
	err = ns.link.NeighSet(&netlink.Neigh{
		LinkIndex: dev.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
		IP: wireAddr(other).AsSlice(), HardwareAddr: tunnelMAC(other),
	})
	if err != nil {
		return fmt.Errorf("add forwarding entry for %s in %s: %w", wireAddr(other), ns.Name, err)
	}
	return nil
}
