package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// dotted is a sysctl's name as sysctl(8) takes it. Dots that are part of it, as
// in the name of a device, become slashes there.
func dotted(path string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, path)
}

// device checks the device by which a route leads.
func (w *walk) device(r *Route) {
	if r.Local || !w.first("device "+r.Dev) {
		return
	}
	links, err := w.Node.Links()
	if w.unread("device", err) {
		return
	}
	l := linkNamed(links, r.Dev)
	if l == nil {
		return
	}
	if !l.Up || l.State == "down" || l.State == "lowerlayerdown" {
		w.fail("device", "device-down", fmt.Sprintf("%s of %s is down", l.Name, w.Node.Name()), "ip link set "+l.Name+" up")
		return
	}
	w.ok("device", "%s is up, MTU %d", l.Name, l.MTU)
	if l.Tunnel != nil {
		w.tunnel(l, r)
	}
	w.rpFilter(l, r)
}

func linkNamed(links []Link, name string) *Link {
	for i := range links {
		if links[i].Name == name {
			return &links[i]
		}
	}
	return nil
}

// tunnelOverhead is what a tunnel adds to a packet over IPv4, bytes: the outer
// headers up to the inner IP header. Over IPv6 it is 20 more.
var tunnelOverhead = map[string]int{"vxlan": 50, "geneve": 50, "ipip": 20, "gre": 24, "gretap": 38, "sit": 20}

// tunnel checks a tunnel's device against the way of its own packets.
func (w *walk) tunnel(l *Link, r *Route) {
	peer := l.Tunnel.Remote
	if !peer.IsValid() {
		peer = r.Gateway
		if len(l.Tunnel.FDB) > 0 {
			peer = l.Tunnel.FDB[0]
		}
	}
	if l.Kind == "vxlan" && !l.Tunnel.Remote.IsValid() && len(l.Tunnel.FDB) == 0 {
		w.fail("tunnel", "tunnel-peer-unknown", fmt.Sprintf("%s knows no other node", l.Name), "bridge fdb show dev "+l.Name, "restart the CNI's agent on this node")
		return
	}
	if !peer.IsValid() {
		return
	}
	under, err := w.Node.Route(RouteQuery{Dst: peer})
	if w.unread("tunnel", err) {
		return
	}
	if under.Errno != 0 {
		w.fail("tunnel", "no-route-to-endpoint", fmt.Sprintf("%s has no route to %v, the other end of %s", w.Node.Name(), peer, l.Name), fmt.Sprintf("ip route get %v", peer))
		return
	}
	w.tunnelSource(l, peer, under)
	w.tunnelMTU(l, peer, under)
	w.tunnelChecksum(l, peer, under)
}

// tunnelSource compares a tunnel's own address with what the route chooses.
func (w *walk) tunnelSource(l *Link, peer netip.Addr, under *Route) {
	if local := l.Tunnel.Local; local.IsValid() && under.Src.IsValid() && local != under.Src {
		w.warn("tunnel", "tunnel-wrong-device", fmt.Sprintf("%s sends from %v, but the route to %v leads by %s, from %v: the peer may expect that", l.Name, local, peer, under.Dev, under.Src),
			"set the CNI's choice of interface, such as IP_AUTODETECTION_METHOD=can-reach="+peer.String())
		return
	}
	w.ok("tunnel", "%s to %v by %s", l.Name, peer, under.Dev)
}

// tunnelMTU compares a tunnel's MTU with that of the way of its packets.
func (w *walk) tunnelMTU(l *Link, peer netip.Addr, under *Route) {
	overhead, ok := tunnelOverhead[l.Kind]
	if !ok {
		return
	}
	if peer.Is6() {
		overhead += 20
	}
	mtu := under.MTU
	if links, err := w.Node.Links(); mtu == 0 && err == nil {
		if dev := linkNamed(links, under.Dev); dev != nil {
			mtu = dev.MTU
		}
	}
	if mtu == 0 {
		return
	}
	if l.MTU+overhead > mtu {
		w.warn("MTU", "mtu-too-big", fmt.Sprintf("packets of %s can have %d bytes, with headers %d; %s takes %d", l.Name, l.MTU, l.MTU+overhead, under.Dev, mtu),
			fmt.Sprintf("ip link set %s mtu %d", l.Name, mtu-overhead))
		return
	}
	w.ok("MTU", "%s: %d and %d for headers, %s takes %d", l.Name, l.MTU, overhead, under.Dev, mtu)
}

// tunnelChecksum checks that no rule translates a tunnel's own packets, whose outer
// checksum the kernel leaves wrong then, if the inner one is the device's to do (seen on
// 5.10 to 7.2: docs/checksums.md).
func (w *walk) tunnelChecksum(l *Link, peer netip.Addr, under *Route) {
	if l.Kind != "vxlan" && l.Kind != "geneve" || !l.Tunnel.UDPChecksum || !l.Features["tx-checksum-ip-generic"] {
		return
	}
	from := l.Tunnel.Local
	if !from.IsValid() {
		from = under.Src
	}
	rule, err := w.Node.Masquerades(tracer.Flow{Src: netip.AddrPortFrom(from, 0), Dst: netip.AddrPortFrom(peer, l.Tunnel.Port)}, under.Dev)
	switch {
	case w.unread("checksum", err):
	case rule != "":
		w.warn("checksum", "tunnel-checksum", fmt.Sprintf("%s translates the packets of %s, which leaves the inner checksum to the device: if their port changes, the outer one is wrong, and the peer drops them", rule, l.Name),
			fmt.Sprintf("ethtool -K %s tx-checksum-ip-generic off", l.Name), "or don't translate UDP to port "+fmt.Sprint(l.Tunnel.Port))
	default:
		w.ok("checksum", "%s has an outer checksum, and leaves the inner one to the device: NAT of its packets would break them, and no rule is sure to do that", l.Name)
	}
}

// rpFilter says whether replies, which come by a device, must come by that.
func (w *walk) rpFilter(l *Link, r *Route) {
	if w.strict(l.Name) {
		w.ok("rp_filter", "strict on %s: replies must come by it, and so does the route", r.Dev)
	}
}

// strict reports whether a device takes only packets to whose source the route leads
// by it: the greater one of its own rp_filter and that of all decides, and 2 is loose
// (net/ipv4/fib_frontend.c, __fib_validate_source).
func (w *walk) strict(dev string) bool {
	value := "0"
	for _, which := range []string{"all", dev} {
		v, err := w.Node.Sysctl("net/ipv4/conf/" + which + "/rp_filter")
		if err != nil {
			return false
		}
		value = max(value, v)
	}
	return value == "1"
}

// clientFilter checks that the client's queries to a server pass the filter of the
// device by which they come.
func (w *walk) clientFilter(server netip.Addr) {
	if w.Client == w.Node || !server.Is4() {
		return
	}
	out, err := w.Client.Route(RouteQuery{Dst: server})
	if w.unread("rp_filter", err) || out.Errno != 0 || !out.Src.IsValid() {
		return
	}
	in, err := w.entry(out.Dev)
	if w.unread("rp_filter", err) || in == nil || !w.first("client "+in.Name) || !w.strict(in.Name) {
		return
	}
	back, err := w.Node.Route(RouteQuery{Dst: out.Src})
	switch {
	case w.unread("rp_filter", err) || back.Errno != 0:
	case back.Dev != in.Name:
		w.fail("rp_filter", "rp-filter-drop", fmt.Sprintf("%s sends from %v by %s, where rp_filter is strict, and the route back to that leads by %s", w.Client.Name(), out.Src, in.Name, back.Dev),
			fmt.Sprintf("ip route get %v, which should lead by %s", out.Src, in.Name), fmt.Sprintf("or sysctl -w %s=2", dotted("net/ipv4/conf/"+in.Name+"/rp_filter")))
	default:
		w.ok("rp_filter", "strict on %s, by which %s sends, and the route back to it leads there", in.Name, w.Client.Name())
	}
}

// entry returns the node's device by which comes what the client sends by one of its
// own: the other end of that, or its bridge; nil if it has none on the node.
func (w *walk) entry(dev string) (*Link, error) {
	own, err := w.Client.Links()
	if err != nil {
		return nil, err
	}
	links, err := w.Node.Links()
	if err != nil {
		return nil, err
	}
	l := linkNamed(own, dev)
	if l == nil || l.Peer == 0 {
		return nil, nil
	}
	i := slices.IndexFunc(links, func(o Link) bool { return o.Index == l.Peer && o.Peer == l.Index && o.Kind == l.Kind })
	if i < 0 {
		return nil, nil
	}
	if m := slices.IndexFunc(links, func(o Link) bool { return o.Index == links[i].Master && o.Kind == "bridge" }); m >= 0 {
		return &links[m], nil
	}
	return &links[i], nil
}

// neighbour checks the next hop's link-layer address.
func (w *walk) neighbour(to netip.Addr, r *Route) {
	hop := r.Gateway
	if !hop.IsValid() {
		hop = to
	}
	if r.Local || !w.first(fmt.Sprintf("neighbour %v %s", hop, r.Dev)) {
		return
	}
	list, err := w.Node.Neighbours()
	if w.unread("neighbour", err) {
		return
	}
	for _, n := range list {
		if n.Addr != hop || n.Dev != r.Dev {
			continue
		}
		if n.State == "FAILED" || n.State == "INCOMPLETE" {
			w.fail("neighbour", "neighbour-failed", fmt.Sprintf("nobody answers for %v on %s (%s)", hop, r.Dev, n.State), fmt.Sprintf("ip neigh show dev %s", r.Dev))
			return
		}
		w.ok("neighbour", "%v on %s is %s", hop, r.Dev, n.MAC)
	}
}

// sameBridge checks that replies of a server on the client's own bridge meet
// conntrack, which translates them back.
func (w *walk) sameBridge(r *Route, translated bool) {
	links, err := w.Node.Links()
	if err != nil || !translated || w.Client == w.Node || !w.first("bridge "+r.Dev) {
		return
	}
	bridge := linkNamed(links, r.Dev)
	if bridge == nil || bridge.Kind != "bridge" || !w.onBridge(bridge) {
		return
	}
	value, err := w.Node.Sysctl("net/bridge/bridge-nf-call-iptables")
	on := err == nil && value == "1" || bridge.NFCall != nil && *bridge.NFCall
	if on {
		w.ok("bridge", "%s hands its frames to iptables", bridge.Name)
		return
	}
	w.fail("bridge", "reply-not-untranslated", fmt.Sprintf("replies of a server on %s, the client's own bridge, pass conntrack by: they are not translated back", bridge.Name),
		"modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1")
}

// onBridge reports whether the client is in the network of a bridge.
func (w *walk) onBridge(bridge *Link) bool {
	links, err := w.Client.Links()
	if err != nil {
		return false
	}
	for _, l := range links {
		for _, a := range l.Addrs {
			for _, b := range bridge.Addrs {
				if b.Masked().Contains(a.Addr()) && a.Addr() != b.Addr() {
					return true
				}
			}
		}
	}
	return false
}
