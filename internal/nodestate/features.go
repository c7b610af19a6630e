package nodestate

import (
	"encoding/binary"
	"sync"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer/diagnose"
)

// featureNames are the kernel's names of the bits by which features are told: the
// same for all devices.
var featureNames = sync.OnceValues(func() (map[string]uint, error) {
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return nil, err
	}
	defer tool.Close()
	return tool.FeatureNames("lo")
})

// ethtoolFamily is the number of ethtool's netlink family.
var ethtoolFamily = sync.OnceValues(func() (*netlink.GenlFamily, error) { return netlink.GenlFamilyGet("ethtool") })

// addFeatures fills in the features of devices. One request asks for all: by
// ioctl each device takes a millisecond.
func addFeatures(links []diagnose.Link) error {
	names, err := featureNames()
	if err != nil {
		return err
	}
	family, err := ethtoolFamily()
	if err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_DUMP)
	req.AddData(&nl.Genlmsg{Command: unix.ETHTOOL_MSG_FEATURES_GET, Version: 1})
	header := nl.NewRtAttr(unix.NLA_F_NESTED|unix.ETHTOOL_A_FEATURES_HEADER, nil)
	header.AddRtAttr(unix.ETHTOOL_A_HEADER_FLAGS, nl.Uint32Attr(unix.ETHTOOL_FLAG_COMPACT_BITSETS))
	req.AddData(header)
	messages, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return err
	}
	for _, m := range messages {
		ifindex, active := parseFeatures(m)
		for i := range links {
			if links[i].Index == ifindex {
				links[i].Features = featuresOf(names, active)
			}
		}
	}
	return nil
}

// parseFeatures returns the device that a message is about, and the bits of the
// features that are on.
func parseFeatures(message []byte) (ifindex int, active []byte) {
	for attr, value := range attributes(message, nl.SizeofGenlmsg) {
		for part, v := range attributes(value, 0) {
			switch {
			case attr == unix.ETHTOOL_A_FEATURES_HEADER && part == unix.ETHTOOL_A_HEADER_DEV_INDEX && len(v) == 4:
				ifindex = int(binary.NativeEndian.Uint32(v))
			case attr == unix.ETHTOOL_A_FEATURES_ACTIVE && part == unix.ETHTOOL_A_BITSET_VALUE:
				active = v
			}
		}
	}
	return ifindex, active
}

// featuresOf names the bits, which come in words of 32.
func featuresOf(names map[string]uint, bits []byte) map[string]bool {
	if len(bits) == 0 {
		return nil
	}
	features := make(map[string]bool, len(names))
	for name, bit := range names {
		at := int(bit/32) * 4
		features[name] = at+4 <= len(bits) && binary.NativeEndian.Uint32(bits[at:])>>(bit%32)&1 == 1
	}
	return features
}
