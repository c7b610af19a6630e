package diagnose

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer"
)

// rpFilterDrop finds a packet that reverse path filtering dropped: the route back
// to its source leads by another device than it came by (__fib_validate_source in
// net/ipv4/fib_frontend.c).
func rpFilterDrop(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, drop := range c.Drops() {
		if drop.Drop.Reason != "IP_RPFILTER" && !perhapsSource(drop) {
			continue
		}
		src, _ := outerAddrs(drop)
		ns := c.NetNS(drop.NetNS)
		route, ok := c.routeBack(drop)
		refused := ok && route.Errno == int(unix.EXDEV)
		if drop.Drop.Reason == "" && !refused {
			continue // one of several causes
		}
		f := &tracer.Finding{
			Confidence: tracer.ConfidenceSeen,
			Evidence:   []string{fmt.Sprintf("%s dropped the %s%s from %v, which came by %s: %s", ns.Name(), legName(leg), inTunnel(drop), src, drop.Dev, dropText(drop))},
		}
		c.explainReversePath(f, drop, src)
		return f
	}
	return nil
}

// perhapsSource reports whether a packet was dropped, without a reason, where its
// source is looked at.
func perhapsSource(h *tracer.Hop) bool {
	return reason(h) == "" && h.Drop.Function == "ip_rcv_finish_core"
}

// routeBack asks for the route of a packet as it came.
func (c *Case) routeBack(h *tracer.Hop) (*Route, bool) {
	ns := c.NetNS(h.NetNS)
	src, dst := outerAddrs(h)
	q := RouteQuery{Dst: dst, Src: src, Iif: h.Dev}
	return read(c, ns, fmt.Sprintf("route of %v", src), func() (*Route, error) { return ns.Route(q) })
}

// explainReversePath says how strict rp_filter is, and where the route back leads.
func (c *Case) explainReversePath(f *tracer.Finding, drop *tracer.Hop, src netip.Addr) {
	ns := c.NetNS(drop.NetNS)
	f.Summary = fmt.Sprintf("rp_filter of %s refuses packets from %v that come by %s", ns.Name(), src, drop.Dev)
	back, ok := read(c, ns, fmt.Sprintf("route to %v", src), func() (*Route, error) { return ns.Route(RouteQuery{Dst: src}) })
	switch {
	case ok && back.Errno > 0:
		f.Summary += ": it has no route back"
		f.Mend = c.addRoute(ns, src)
	case ok && back.Dev != drop.Dev:
		f.Summary += ": its route back leads by " + back.Dev
		f.Evidence = append(f.Evidence, fmt.Sprintf("the route of %s to %v leads by %s", ns.Name(), src, gatewayText(back)))
		if l := c.tunnelBeside(ns, src); l != nil && l.Name == drop.Dev && back.Default {
			f.Mend = c.addRoute(ns, src)
		}
	}
	loose := inNS(ns, fmt.Sprintf("sysctl -w net/ipv4/conf/%s/rp_filter=2, if answers may take another way", drop.Dev))
	f.Mend = append(f.Mend, loose)
	all, allRead := c.rpFilter(ns, "all")
	dev, devRead := c.rpFilter(ns, drop.Dev)
	if !allRead || !devRead {
		return
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("rp_filter of %s is %s, of all %s: the greater counts", drop.Dev, dev, all))
	if ok && (back.Errno > 0 || back.Dev != drop.Dev) && max(all, dev) != "0" {
		f.Confidence = tracer.ConfidenceConfirmed
	}
}

// rpFilter reads the sysctl of a device: 0 off, 1 strict, 2 loose.
func (c *Case) rpFilter(ns NetNS, dev string) (string, bool) {
	name := "net/ipv4/conf/" + dev + "/rp_filter"
	value, ok := read(c, ns, "sysctl "+name, func() (string, error) { return ns.Sysctl(name) })
	return strings.TrimSpace(value), ok
}
