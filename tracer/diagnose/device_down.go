package diagnose

import (
	"fmt"
	"net/netip"

	"github.com/dnspath/dnspath/tracer"
)

// deviceDown finds a packet that did not get to a pod, since one end of the pod's
// veth pair is down.
func deviceDown(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for i := range c.Legs {
		leg := &c.Legs[i]
		if leg.Error != nil || len(leg.Hops) == 0 {
			continue
		}
		h := &leg.Hops[len(leg.Hops)-1]
		if h.Tunnel != nil || !mayMeetDevice(h) || c.elsewhere(leg, h) {
			continue
		}
		if d := c.downBefore(h); d != nil {
			return c.isDown(leg, h, d)
		}
	}
	return nil
}

// mayMeetDevice reports whether a hop is the last before a device that is down: it
// is not there that a packet was delivered, or dropped for another reason.
func mayMeetDevice(h *tracer.Hop) bool {
	if h.Drop == nil {
		return h.Layer != "socket" && h.Layer != "end"
	}
	switch reason(h) {
	case "NO_TX_TARGET", "DEV_READY":
		return true
	case "", "NOT_SPECIFIED":
		return deviceFunctions[h.Drop.Function] || flushedWith[h.Drop.Function] || isNeighbourDrop(h)
	case "QUEUE_PURGE":
		return flushedWith[h.Drop.Function]
	}
	return isNeighbourDrop(h)
}

// flushedWith are the functions that forget the neighbours of a device that has gone
// down or lost its carrier (a bridge, with the last of its ports), and with them the
// packets that waited for their addresses (net/core/neighbour.c). The device tells
// so up to a second late (net/core/link_watch.c).
var flushedWith = map[string]bool{
	"neigh_destroy": true, "neigh_flush_dev": true, "__neigh_ifdown": true, "neigh_carrier_down": true, "neigh_ifdown": true,
}

// deviceFunctions free, without a reason, what a device that is down can't take.
var deviceFunctions = map[string]bool{
	"____dev_forward_skb": true, "__dev_forward_skb": true, "veth_xmit": true, "__dev_queue_xmit": true, "kfree_skb_list": true,
	"br_handle_frame_finish": true, "br_flood": true, "br_forward": true, "enqueue_to_backlog": true,
}

// downDevice is a device that is down, and whose.
type downDevice struct {
	ns    NetNS
	link  *Link
	other string // end of the pair, and whose it is
}

// downBefore returns the end of a veth pair that is down, between a hop and the
// namespace that has the packet's destination; nil if there is none.
func (c *Case) downBefore(h *tracer.Hop) *downDevice {
	ns, dst := c.NetNS(h.NetNS), h.Dst.Addr()
	links, _ := read(c, ns, "devices", ns.Links)
	for i := range links {
		l := &links[i]
		if l.Kind != "veth" || l.PeerNetNS == 0 || l.PeerNetNS == h.NetNS {
			continue
		}
		pod := c.NetNS(l.PeerNetNS)
		peer := c.hasAddr(pod, l.Peer, dst)
		if peer == nil {
			continue
		}
		if !l.Up {
			return &downDevice{ns, l, peer.Name + " of " + pod.Name()}
		}
		if !peer.Up {
			return &downDevice{pod, peer, l.Name + " of " + ns.Name()}
		}
	}
	return nil
}

// hasAddr returns a namespace's device of that index if it has an address.
func (c *Case) hasAddr(ns NetNS, index int, addr netip.Addr) *Link {
	if l := c.ownAddr(ns, addr); l != nil && l.Index == index {
		return l
	}
	return nil
}

func (c *Case) isDown(leg *tracer.Leg, h *tracer.Hop, d *downDevice) *tracer.Finding {
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceLikely,
		Summary:    fmt.Sprintf("%s of %s is down: nothing gets to %v", d.link.Name, d.ns.Name(), h.Dst.Addr()),
		Mend:       []string{inNS(d.ns, fmt.Sprintf("ip link set %s up", d.link.Name)), "or restart the pod"},
	}
	seen := fmt.Sprintf("the %s was seen last at %s", legName(leg), c.At(h))
	if h.Drop != nil {
		f.Confidence = tracer.ConfidenceConfirmed
		seen = fmt.Sprintf("%s dropped the %s: %s", c.NetNS(h.NetNS).Name(), legName(leg), dropText(h))
	}
	f.Evidence = []string{seen, fmt.Sprintf("ip link in %s says that %s is down; its other end is %s", d.ns.Name(), d.link.Name, d.other)}
	return f
}
