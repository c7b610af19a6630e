package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// ipv6Off finds a packet of IPv6 that met a device where IPv6 is off, or a pod in
// which it is: that one has no such address any more, and answers nobody.
func ipv6Off(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if drop.Tunnel != nil || !drop.Dst.Addr().Is6() {
			continue
		}
		ns, dev := c.NetNS(drop.NetNS), drop.Dev
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Evidence:   []string{fmt.Sprintf("%s dropped the %s: %s", ns.Name(), legName(leg), dropText(drop))},
		}
		switch off := c.disabled(ns, dev); {
		case drop.Drop.Reason == "IPV6DISABLED" || off && perhapsDisabled(drop):
			if off {
				f.Confidence = tracer.ConfidenceConfirmed
			}
		case isNeighbourDrop(drop):
			pod, peer := c.podWithout6(drop)
			if pod == nil {
				continue
			}
			f.Confidence = tracer.ConfidenceLikely
			f.Evidence = append(f.Evidence, fmt.Sprintf("nobody behind %s has %v, and %s is the only pod there without IPv6", dev, drop.Dst.Addr(), pod.Name()))
			ns, dev = pod, peer.Name
		default:
			continue
		}
		key := disableKey(dev)
		f.Summary = fmt.Sprintf("IPv6 is off on %s of %s", dev, ns.Name())
		if c.disabled(ns, dev) {
			f.Evidence = append(f.Evidence, fmt.Sprintf("sysctl %s in %s is 1", key, ns.Name()))
		}
		f.Mend = []string{
			inNS(ns, "sysctl -w "+key+"=0") + "; its IPv6 addresses and routes were lost: restart who made them (the pod, the CNI agent)",
			"or don't use IPv6: ask the server's IPv4 address",
		}
		return f
	}
	return nil
}

func disableKey(dev string) string { return "net/ipv6/conf/" + dev + "/disable_ipv6" }

// disabled reports whether IPv6 is off on a device, as far as that can be read.
func (c *Case) disabled(ns NetNS, dev string) bool {
	if dev == "" { // a packet that a socket had
		return false
	}
	key := disableKey(dev)
	value, ok := read(c, ns, "sysctl "+key, func() (string, error) { return ns.Sysctl(key) })
	return ok && value == "1"
}

// perhapsDisabled reports whether a packet was dropped, without a reason, where
// those are that come by a device, or leave by one, without IPv6.
func perhapsDisabled(h *tracer.Hop) bool {
	return unsaid(h) && (h.Drop.Function == "ip6_rcv_core" || h.Drop.Function == "ip6_output")
}

// podWithout6 returns the only pod of a namespace in which IPv6 is off, if none of
// its pods has a packet's address.
func (c *Case) podWithout6(h *tracer.Hop) (pod NetNS, peer *Link) {
	ns := c.NetNS(h.NetNS)
	links, _ := read(c, ns, "devices", ns.Links)
	for i := range links {
		l := &links[i]
		if l.Kind != "veth" || l.PeerNetNS == 0 || l.PeerNetNS == h.NetNS {
			continue
		}
		there := c.NetNS(l.PeerNetNS)
		if c.ownAddr(there, h.Dst.Addr()) != nil {
			return nil, nil
		}
		end := c.deviceAt(there, l.Peer)
		if end == nil || !c.disabled(there, end.Name) {
			continue
		}
		if pod != nil {
			return nil, nil
		}
		pod, peer = there, end
	}
	return pod, peer
}

// deviceAt returns a namespace's device by its index, or nil.
func (c *Case) deviceAt(ns NetNS, index int) *Link {
	links, _ := read(c, ns, "devices", ns.Links)
	for i := range links {
		if links[i].Index == index {
			return &links[i]
		}
	}
	return nil
}
