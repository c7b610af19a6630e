package diagnose

import (
	"fmt"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// replyNotUntranslated finds a reply that reached its client with the address of
// the server that it came from, not with that of the service which the client
// had asked. Conntrack turns the one into the other, on the node that redirected
// the query; a reply does not come to conntrack if a bridge takes it from port to
// port without br_netfilter, or if it comes back by another way.
func replyNotUntranslated(c *Case) *tracer.Finding {
	leg, end := c.strayReply()
	at, dnat := c.redirected()
	if end == nil || dnat == nil || at.NetNS == end.NetNS {
		return nil
	}
	f := &tracer.Finding{Confidence: tracer.ConfidenceSeen}
	f.Evidence = []string{fmt.Sprintf("%s redirected the query %v → %v%s", c.NetNS(at.NetNS).Name(), dnat.From, dnat.To, byText(dnat.By))}
	came := fmt.Sprintf("the client had asked %v, and got the %s from %v", c.Server, legName(leg), end.Src)
	if end.Drop != nil {
		came += ": " + dropText(end)
	}
	way := hopsIn(leg, at.NetNS)
	switch {
	case len(way) == 0:
		c.otherWay(f, leg, at)
	case bridged(way):
		c.explainBridged(f, way)
	default:
		return nil
	}
	f.Evidence = append(f.Evidence, came)
	return f
}

// strayReply returns the reply that its client got from who answered, not from
// whom it had asked, and where it was seen last; nil if there is none.
func (c *Case) strayReply() (*tracer.Leg, *tracer.Hop) {
	if !c.Failed() || !c.Backend.IsValid() || c.Backend == c.Server || c.Lookup.NetNS == 0 {
		return nil, nil
	}
	for i := range c.Legs {
		leg := &c.Legs[i]
		if !leg.Response || leg.Error != nil || len(leg.Hops) == 0 {
			continue
		}
		if h := &leg.Hops[len(leg.Hops)-1]; h.NetNS == c.Lookup.NetNS && h.Src == c.Backend && h.Dst == c.Client {
			return leg, h
		}
	}
	return nil, nil
}

// redirected returns where the query's destination was rewritten to who was to
// answer; nil if that was not seen.
func (c *Case) redirected() (*tracer.Hop, *tracer.Change) {
	for leg, h := range c.Hops() {
		if leg.Response || leg.Error != nil {
			continue
		}
		for change := h.Change; change != nil; change = change.Also {
			if change.Kind == tracer.ChangeDNAT && change.From == c.Server {
				return h, change
			}
		}
	}
	return nil, nil
}

// byText says which rule it was, if that is known: not its text, which is long.
func byText(by *tracer.By) string {
	if by == nil {
		return ""
	}
	return " by " + by.Name
}

// hopsIn returns a packet's hops in a namespace.
func hopsIn(leg *tracer.Leg, netns uint32) (hops []*tracer.Hop) {
	for i := range leg.Hops {
		if leg.Hops[i].NetNS == netns {
			hops = append(hops, &leg.Hops[i])
		}
	}
	return hops
}

// bridged reports whether a packet went through a namespace from device to
// device as through a switch: no hook of netfilter saw it, no conntrack entry was
// given to it, and nothing took from its hop limit.
func bridged(way []*tracer.Hop) bool {
	for _, h := range way {
		if h.Layer == "netfilter" || h.CT != nil || h.NoTrack || h.Tunnel != nil || h.TTL != way[0].TTL {
			return false
		}
	}
	in, out := ports(way)
	return in != nil && out != nil && in.Ifindex != out.Ifindex
}

// ports returns by which devices a packet came and left; nil if that was not seen.
func ports(way []*tracer.Hop) (in, out *tracer.Hop) {
	for _, h := range way {
		switch {
		case h.Name == "rx" && in == nil:
			in = h
		case h.Name == "tx":
			out = h
		}
	}
	return in, out
}

// explainBridged says by which bridge a reply went, and why netfilter did not see it.
func (c *Case) explainBridged(f *tracer.Finding, way []*tracer.Hop) {
	in, out := ports(way)
	ns := c.NetNS(in.NetNS)
	bridge, calls := c.bridgeOf(ns, in, out)
	f.Summary = fmt.Sprintf("the reply went from %s to %s through %s in %s past netfilter: nothing turned its source %v back into %v",
		in.Dev, out.Dev, bridge, ns.Name(), in.Src, c.Server)
	f.Evidence = append(f.Evidence, fmt.Sprintf("the reply came into %s by %s and left by %s, its TTL still %d, with no conntrack entry", ns.Name(), in.Dev, out.Dev, in.TTL))
	option := "net.bridge.bridge-nf-call-iptables"
	if in.Src.Addr().Is6() {
		option = "net.bridge.bridge-nf-call-ip6tables"
	}
	f.Mend = []string{inNS(ns, "sysctl -w "+option+"=1")}
	value, ok := read(c, ns, option, func() (string, error) { return ns.Sysctl(strings.ReplaceAll(option, ".", "/")) })
	switch {
	case !ok && len(c.unread) == 0: // the kernel has no such thing
		f.Confidence = tracer.ConfidenceConfirmed
		f.Evidence = append(f.Evidence, "br_netfilter is not loaded")
		f.Mend = []string{"on the node of " + ns.Name() + ": modprobe br_netfilter; " + inNS(ns, "sysctl -w "+option+"=1")}
	case ok && value == "0" && !calls:
		f.Confidence = tracer.ConfidenceConfirmed
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s is 0 in %s", option, ns.Name()))
	}
}

// bridgeOf names the bridge that two devices are ports of, and reports whether it
// hands its packets to iptables even where the sysctl for all bridges says no.
func (c *Case) bridgeOf(ns NetNS, in, out *tracer.Hop) (name string, calls bool) {
	links, _ := read(c, ns, "devices", ns.Links)
	master := func(index uint32) int {
		for i := range links {
			if links[i].Index == int(index) {
				return links[i].Master
			}
		}
		return 0
	}
	for _, l := range links {
		if l.Index == master(in.Ifindex) && l.Index == master(out.Ifindex) {
			return "bridge " + l.Name, l.NFCall != nil && *l.NFCall
		}
	}
	return "a bridge", false
}

// otherWay says that a reply did not come back to where the query was redirected.
func (c *Case) otherWay(f *tracer.Finding, leg *tracer.Leg, at *tracer.Hop) {
	ns := c.NetNS(at.NetNS)
	var names []string
	for i := range leg.Hops {
		if name := c.NetNS(leg.Hops[i].NetNS).Name(); len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	f.Summary = fmt.Sprintf("the reply did not come back through %s, which redirected the query: nothing turned its source %v back into %v", ns.Name(), c.Backend, c.Server)
	f.Evidence = append(f.Evidence, fmt.Sprintf("the %s went by way of %s", legName(leg), strings.Join(names, ", ")))
	f.Mend = []string{
		fmt.Sprintf("have the server's replies to %s come back through %s: by its routes, or by masquerading the queries there", c.Client.Addr(), ns.Name()),
		inNS(ns, fmt.Sprintf("iptables -t nat -I POSTROUTING -s %s -d %s -p %s --dport %d -j MASQUERADE", c.Client.Addr(), c.Backend.Addr(), c.Transport, c.Backend.Port())),
	}
}
