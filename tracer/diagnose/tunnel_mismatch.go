package diagnose

import (
	"fmt"

	"github.com/dnspath/dnspath/tracer"
)

// tunnelMismatch finds a tunnel's packet that its receiver has no device for: with
// another VNI, on another port, down, or not there at all.
func tunnelMismatch(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		t := outermost(drop.Tunnel)
		if t == nil {
			continue
		}
		ns := c.NetNS(drop.NetNS)
		links, ok := read(c, ns, "devices", ns.Links)
		certain := c.nobodyTakes(leg, drop)
		if !certain && !mayTakeNobody(drop) {
			continue
		}
		match, like := findTunnel(links, t)
		if !certain && (!ok || match != nil) {
			continue // one of several causes
		}
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Summary:    fmt.Sprintf("%s has no %s device for %s", ns.Name(), t.Kind, tunnelText(t)),
			Evidence: []string{
				fmt.Sprintf("%s dropped the %s's %s packet %v → %v: %s", ns.Name(), legName(leg), t.Kind, t.Src.Addr(), t.Dst.Addr(), dropText(drop)),
			},
		}
		for _, q := range c.icmpAbout(leg) {
			f.Evidence = append(f.Evidence, fmt.Sprintf("it told %v: %s", t.Src.Addr(), q.String()))
			break
		}
		if ok && match == nil {
			f.Confidence = tracer.ConfidenceConfirmed
		}
		c.explainMismatch(f, ns, t, like, ok)
		return f
	}
	return nil
}

// nobodyTakes reports whether a tunnel's packet was certainly dropped for want of
// a device.
func (c *Case) nobodyTakes(leg *tracer.Leg, h *tracer.Hop) bool {
	switch reason(h) {
	case "NO_SOCKET", "VXLAN_VNI_NOT_FOUND", "IP_NOPROTO":
		return true
	case "":
		return h.Drop.Function == "__udp4_lib_rcv" && c.refusedIn(leg, h.NetNS)
	}
	return false
}

// mayTakeNobody reports whether that may be why a tunnel's packet was dropped: the
// reason has a name since 6.11, and IPIP gives none.
func mayTakeNobody(h *tracer.Hop) bool {
	switch reason(h) {
	case "", "NOT_SPECIFIED":
		switch h.Drop.Function {
		case "vxlan_rcv", "tunnel4_rcv", "tunnel6_rcv", "__udp4_lib_rcv", "__udp6_lib_rcv", "ip_protocol_deliver_rcu":
			return true
		}
	}
	return false
}

// findTunnel returns the device that takes a tunnel's packets, and all of its kind.
func findTunnel(links []Link, t *tracer.Tunnel) (match *Link, like []*Link) {
	for i := range links {
		l := &links[i]
		if l.Kind != t.Kind || l.Tunnel == nil {
			continue
		}
		like = append(like, l)
		if l.Up && l.Tunnel.VNI == t.VNI && (l.Tunnel.Port == 0 || l.Tunnel.Port == t.Dst.Port()) {
			match = l
		}
	}
	return match, like
}

// tunnelText says what tells a tunnel from others of its kind.
func tunnelText(t *tracer.Tunnel) string {
	switch {
	case t.Dst.Port() != 0:
		return fmt.Sprintf("VNI %d on UDP port %d", t.VNI, t.Dst.Port())
	case t.VNI != 0:
		return fmt.Sprintf("key %d", t.VNI)
	}
	return "packets from " + t.Src.Addr().String()
}

// explainMismatch says which devices there are instead.
func (c *Case) explainMismatch(f *tracer.Finding, ns NetNS, t *tracer.Tunnel, like []*Link, ok bool) {
	restart := fmt.Sprintf("restart the CNI agent of %s, which should have made it", ns.Name())
	if ok && len(like) == 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s has no device of kind %s", ns.Name(), t.Kind))
	}
	for _, l := range like {
		there := fmt.Sprintf("%s has %s: VNI %d, UDP port %d", ns.Name(), l.Name, l.Tunnel.VNI, l.Tunnel.Port)
		if l.Tunnel.Port == 0 {
			there = fmt.Sprintf("%s has %s, of kind %s", ns.Name(), l.Name, l.Kind)
		}
		if !l.Up {
			there += ", which is down"
		}
		f.Evidence = append(f.Evidence, there)
		same := l.Tunnel.VNI == t.VNI && (l.Tunnel.Port == 0 || l.Tunnel.Port == t.Dst.Port())
		switch {
		case same && !l.Up:
			f.Summary = fmt.Sprintf("the tunnel's device %s of %s is down", l.Name, ns.Name())
			f.Mend = append(f.Mend, inNS(ns, fmt.Sprintf("ip link set %s up", l.Name)))
			restart = fmt.Sprintf("restart the CNI agent of %s, which makes the routes by %s", ns.Name(), l.Name)
		case !same:
			f.Summary = fmt.Sprintf("%s of %s is another tunnel than that of its peer %v: %s", l.Name, ns.Name(), t.Src.Addr(), difference(l, t))
			f.Mend = append(f.Mend, inNS(ns, fmt.Sprintf("ip link del %s, then restart the CNI agent with the cluster's %s", l.Name, differs(l, t))))
			restart = ""
		}
	}
	if restart != "" {
		f.Mend = append(f.Mend, restart)
	}
}

// differs names what of a device is not as in a tunnel's packets.
func differs(l *Link, t *tracer.Tunnel) string {
	switch {
	case l.Tunnel.VNI == t.VNI:
		return "UDP port"
	case l.Tunnel.Port == 0 || l.Tunnel.Port == t.Dst.Port():
		return "VNI"
	}
	return "VNI and UDP port"
}

func difference(l *Link, t *tracer.Tunnel) string {
	switch differs(l, t) {
	case "UDP port":
		return fmt.Sprintf("UDP port %d, not %d", l.Tunnel.Port, t.Dst.Port())
	case "VNI":
		return fmt.Sprintf("VNI %d, not %d", l.Tunnel.VNI, t.VNI)
	}
	return fmt.Sprintf("VNI %d on UDP port %d, not %d on %d", l.Tunnel.VNI, l.Tunnel.Port, t.VNI, t.Dst.Port())
}
