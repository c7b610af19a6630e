package diagnose

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// serve checks the way to a server, by one transport.
func (w *walk) serve() {
	s, err := w.Node.Service(w.transport, w.server)
	if w.unread("service", err) {
		return
	}
	other := tracer.TransportTCP
	if w.transport == tracer.TransportTCP {
		other = tracer.TransportUDP
	}
	what := strings.ToUpper(string(w.transport))
	switch {
	case s == nil:
		if o, err := w.Node.Service(other, w.server); err == nil && o != nil {
			w.fail("service", "service-not-translated",
				fmt.Sprintf("%s of %s translates %s to %v, and not %s", o.By, w.Node.Name(), strings.ToUpper(string(other)), w.server, what),
				"kubectl -n kube-system rollout restart daemonset kube-proxy")
			return
		}
		w.endpoint(w.server, false)
	case s.NoTrack:
		w.fail("service", "service-not-translated", fmt.Sprintf("a rule of %s exempts %s to %v from conntrack: it is not translated", w.Node.Name(), what, w.server),
			"iptables-save -t raw | grep -e NOTRACK -e '--notrack'", "delete the rule, or limit it to other addresses")
	case s.Rejects, s.Known && len(s.Endpoints) == 0:
		w.fail("service", "service-no-endpoints", fmt.Sprintf("%v has no endpoints in %s", w.server, s.By),
			"kubectl -n kube-system get pods -l k8s-app=kube-dns -o wide")
	case !s.Known:
		w.add("service", StatusUnknown, "", fmt.Sprintf("%s of %s translates %v; to what is not known", s.By, w.Node.Name(), w.server))
	default:
		w.ok("service", "%s translates %s to %s", s.By, what, list(s.Endpoints))
		for _, e := range s.Endpoints {
			w.endpoint(e, s.By != "")
		}
	}
}

func list[T fmt.Stringer](items []T) string {
	parts := make([]string, len(items))
	for i, item := range items {
		parts[i] = item.String()
	}
	return strings.Join(parts, ", ")
}

// endpoint checks the way to a server's own address.
func (w *walk) endpoint(to netip.AddrPort, translated bool) {
	q := RouteQuery{Dst: to.Addr()}
	r, err := w.Node.Route(q)
	if w.unread("route", err) {
		return
	}
	switch {
	case r.Errno != 0:
		w.fail("route", "no-route-to-endpoint", fmt.Sprintf("%s has no route to %v", w.Node.Name(), to.Addr()),
			fmt.Sprintf("ip route get %v", to.Addr()), "restart the CNI's agent on this node")
		return
	case r.Default && translated:
		w.warn("route", "no-route-to-endpoint", fmt.Sprintf("%s has none but a default route to %v, by %s: pods are not reached that way on most networks", w.Node.Name(), to.Addr(), r.Dev),
			fmt.Sprintf("ip route get %v", to.Addr()), "restart the CNI's agent on this node")
	case r.Local:
		w.ok("route", "%v is an address of %s", to.Addr(), w.Node.Name())
	case r.Gateway.IsValid():
		w.ok("route", "%v by %s, via %v", to.Addr(), r.Dev, r.Gateway)
	default:
		w.ok("route", "%v by %s", to.Addr(), r.Dev)
	}
	w.device(r)
	w.neighbour(to.Addr(), r)
	w.sameBridge(r, translated)
	w.listener(to)
}

// listener checks that a server on this node listens.
func (w *walk) listener(to netip.AddrPort) {
	ns := w.owner(to.Addr())
	if ns == nil || !w.first(fmt.Sprintf("listener %s %v", w.transport, to)) {
		return
	}
	sockets, err := ns.Sockets()
	if w.unread("server", err) {
		return
	}
	for _, s := range sockets {
		if s.Transport == w.transport && s.Addr.Port() == to.Port() && (s.Addr.Addr().IsUnspecified() || s.Addr.Addr().Unmap() == to.Addr()) {
			w.ok("server", "%s listens on %v in %s", nameOr(s.Process, "a process"), s.Addr, ns.Name())
			return
		}
	}
	w.fail("server", "no-listener", fmt.Sprintf("nothing listens on %s %v in %s", strings.ToUpper(string(w.transport)), to, ns.Name()),
		"start the DNS server, or look why it ended: kubectl -n kube-system logs -l k8s-app=kube-dns --previous")
}

func nameOr(name, other string) string {
	if name == "" {
		return other
	}
	return name
}

// owner returns the namespace of this node that has an address; nil: none.
func (w *walk) owner(addr netip.Addr) NetNS {
	for _, ns := range w.All {
		links, err := ns.Links()
		if err != nil {
			continue
		}
		for _, l := range links {
			for _, a := range l.Addrs {
				if a.Addr() == addr {
					return ns
				}
			}
		}
	}
	return nil
}
