package rules

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/internal/kernel"
	"github.com/dnspath/dnspath/tracer"
)

// Explainer says in finished lookups which rule rewrote or dropped a packet. It
// is not safe for concurrent use.
type Explainer struct {
	asker  asker
	failed func(netns uint32, err error)
	told   map[uint32]bool
}

// asker is a Reader.
type asker interface {
	Ask(netns uint32, q *Question) (*Answer, error)
	Attached(netns uint32, d Device, at uint64) ([]string, error)
}

// NewExplainer returns an Explainer that asks r. failed is called once for each
// namespace whose rules can't be read; its lookups stay as they are.
func NewExplainer(r *Reader, failed func(netns uint32, err error)) *Explainer {
	return &Explainer{asker: r, failed: failed, told: map[uint32]bool{}}
}

// Explain fills in By wherever it was not seen which rule did it, and one is left
// that could have, and says so in the detail of a lookup that was dropped or rejected. It
// may take some tenths of a second, if rules have to be read.
func (x *Explainer) Explain(l *tracer.Lookup) {
	for i := range l.Legs {
		leg := way{&l.Legs[i], l.Transport}
		for j := range leg.Hops {
			h := &leg.Hops[j]
			for c := h.Change; c != nil; c = c.Also {
				if open(c.By) {
					c.By = x.change(leg, j, c)
				}
			}
			if h.Drop != nil && open(h.Drop.By) {
				h.Drop.By = x.drop(leg, j)
			}
		}
	}
	if by := fate(l); by != nil {
		l.Detail += " by " + by.String()
	}
}

// way is a leg of a lookup, and what carries it.
type way struct {
	*tracer.Leg
	transport tracer.Transport
}

// first reports whether the leg may be that of the first packet of a connection,
// on which alone rules decide how it is rewritten: conntrack translates an ICMP
// error and the later segments of TCP as it does replies, and a later fragment
// with its first.
func (w way) first() bool {
	return w.Error == nil && (w.Fragment == nil || w.Fragment.Offset == 0) &&
		(w.transport != tracer.TransportTCP || w.Segment == "SYN")
}

// open reports whether more can be said of what did it than was seen.
func open(by *tracer.By) bool { return by == nil || by.Part }

// fate returns what ended the lookup, as its detail tells.
func fate(l *tracer.Lookup) *tracer.By {
	response, segment := fateOf(l.Detail)
	if l.Outcome != tracer.OutcomeDropped && l.Outcome != tracer.OutcomeRejected || strings.Contains(l.Detail, "itself dropped") {
		return nil
	}
	for i := len(l.Legs) - 1; i >= 0; i-- {
		leg := &l.Legs[i]
		if leg.Response != response || leg.Error != nil || segment != "" && leg.Segment != "" && leg.Segment != segment {
			continue
		}
		if n := len(leg.Hops); n > 0 {
			if h := &leg.Hops[n-1]; h.Drop != nil && h.NetNS == l.FateNetNS {
				return h.Drop.By
			}
		}
	}
	return nil
}

// fateOf returns of which leg a detail tells: its direction, and over TCP its
// segment, if it is one.
func fateOf(detail string) (response bool, segment string) {
	for _, f := range []struct {
		start    string
		response bool
		segment  string
	}{
		{"the SYN-ACK:", true, "SYN-ACK"}, {"the SYN:", false, "SYN"}, {"the query:", false, "data"}, {"the reply", true, "data"},
	} {
		if strings.HasPrefix(detail, f.start) {
			return f.response, f.segment
		}
	}
	return false, ""
}

// change explains a rewrite. A reply is translated back by conntrack, without
// any rule. IPVS rewrites every packet itself, by the service that its connection
// is of.
func (x *Explainer) change(leg way, at int, c *tracer.Change) *tracer.By {
	h := &leg.Hops[at]
	q := question(leg, at)
	switch c.Kind {
	case tracer.ChangeDNAT:
		q.Deed, q.Dst = DNAT, c.From
		q.Src = before(h, tracer.ChangeSNAT, q.Src) // sources are rewritten last
	case tracer.ChangeSNAT:
		q.Deed, q.Src = SNAT, c.From
	case tracer.ChangeUnDNAT, tracer.ChangeUnSNAT:
	default:
		return c.By
	}
	if ipvs := c.By != nil && leg.Error == nil; q.Deed == 0 || !leg.first() && !ipvs {
		return x.unruled(leg, at, c)
	}
	q.To, q.Tracked = c.To, Tracked{State: stateNew} // later packets don't come to rules that rewrite
	if c.By == nil {                                 // else it was seen to be IPVS, which asks no rule
		q.Hook, q.Seen = c.Hook, c.HookHow == tracer.HowSeen
	}
	a := x.ask(h.NetNS, q)
	if a == nil {
		return x.unruled(leg, at, c)
	}
	if a.IPVS && c.By == nil {
		c.Hook, c.HookHow = ipvsHook(leg.Leg, at), tracer.HowInferred
	}
	return inferred(a)
}

// unruled explains a rewrite for which there is no rule.
func (x *Explainer) unruled(leg way, at int, c *tracer.Change) *tracer.By {
	if c.By != nil || c.Conntrack || c.Hook != "" || leg.Error != nil {
		return c.By
	}
	return x.programs(leg.Leg, at)
}

// ipvsHook returns where IPVS rewrites a query: it comes to this node by a
// service address, which is the node's, or is sent here.
func ipvsHook(leg *tracer.Leg, at int) tracer.Hook {
	for i := range leg.Hops[:at] {
		if h := &leg.Hops[i]; h.NetNS == leg.Hops[at].NetNS && h.Name == "rx" {
			return tracer.HookInput
		}
	}
	return tracer.HookOutput
}

// before returns what an address was before the change of a kind at the same
// hop, if there was one.
func before(h *tracer.Hop, kind tracer.ChangeKind, addr netip.AddrPort) netip.AddrPort {
	for c := h.Change; c != nil; c = c.Also {
		if c.Kind == kind {
			return c.From
		}
	}
	return addr
}

// drop explains the end of a packet. What was seen of it stays, unless it leads
// to a rule.
func (x *Explainer) drop(leg way, at int) *tracer.By {
	h := &leg.Hops[at]
	if at, ok := placeOf(h.Drop.Reason, h.Drop.Function); ok {
		return x.attached(h, []place{{Device{h.Ifindex, at}, h.Dev}})
	}
	seen, by := h.Drop.By, refusing(leg.Leg, at)
	q := question(leg, at)
	q.Deed, q.Hook, q.Seen = Drop, h.Drop.Hook, true
	if q.Hook == "" && by != nil {
		q.Hook = by.Hook
	}
	if h.Drop.Confirm || seen != nil && by == nil || !leg.certain(at) {
		return seen
	}
	switch {
	case seen != nil:
		q.Known = knownOf(by.Table)
	case h.Drop.Function == "nft_do_chain":
		q.Known.Backend = BackendNFTables
	}
	for i := range leg.Hops[:at] {
		if o := &leg.Hops[i]; o.ICMP != nil && o.NetNS == h.NetNS {
			q.Deed = Reject
		}
	}
	if q.Hook == "" {
		return x.anywhere(leg, at, q)
	}
	if by := inferred(x.ask(h.NetNS, q)); by != nil {
		return by
	}
	return seen
}

// anywhere explains a drop in netfilter of which it was not seen in which hook:
// by the one hook that the packet may have been in whose rules drop it. Unless
// the drop is one of nftables (see tracer.Drop), it need not be of a rule, and one
// that perhaps did it is no answer.
func (x *Explainer) anywhere(leg way, at int, q *Question) (by *tracer.By) {
	h := &leg.Hops[at]
	if h.Drop.Reason != "NETFILTER_DROP" && h.Drop.Inferred != "NETFILTER_DROP" {
		return nil
	}
	hooks := []tracer.Hook{tracer.HookOutput, tracer.HookPostrouting}
	if entered(leg.Leg, at) != nil {
		hooks = []tracer.Hook{tracer.HookPrerouting, tracer.HookInput, tracer.HookForward, tracer.HookPostrouting}
	}
	q.Certain = q.Known.Backend != BackendNFTables
	for _, hook := range hooks {
		here := *q
		here.Hook = hook
		here.devices(hook, leg.Leg, at)
		a := x.ask(h.NetNS, &here)
		if a == nil {
			continue
		}
		if by != nil {
			return nil
		}
		by = inferred(a)
	}
	return by
}

// refusing returns the hop in the table whose rules were seen to refuse the
// packet just before its end, or nil.
func refusing(leg *tracer.Leg, at int) *tracer.Hop {
	for i := at - 1; i >= 0; i-- {
		h := &leg.Hops[i]
		if h.NetNS != leg.Hops[at].NetNS || h.Layer != "netfilter" {
			return nil
		}
		if h.Verdict == tracer.VerdictDrop && h.Table != nil {
			return h
		}
	}
	return nil
}

func knownOf(t *tracer.Table) Known {
	if t.Tool == "nftables" {
		return Known{Backend: BackendNFTables, Family: t.Family, Table: t.Name, Chain: t.Chain}
	}
	return Known{Backend: BackendLegacy, Table: t.Name}
}

// question is what all questions about a hop have in common. In a tunnel the
// rules see the tunnel's addresses.
func question(w way, at int) *Question {
	leg, h := w.Leg, &w.Hops[at]
	q := &Question{
		Protocol: transportProtocol(w.transport == tracer.TransportTCP), Shape: segmentFlags[w.Segment],
		Src: h.Src, Dst: h.Dst, Time: h.Time, Tracked: trackedOf(leg, at),
	}
	switch {
	case h.Tunnel != nil:
		q.tunnelled(h.Tunnel, h.Src.Addr())
	case w.Error != nil:
		q.quoting(w.Error)
	case w.Fragment != nil:
		q.fragment(w.Fragment.Offset, w.Fragment.Last)
	}
	q.devices(h.Hook, leg, at)
	return q
}

// devices fills in the device by which the packet came to a hook, or leaves it.
func (q *Question) devices(hook tracer.Hook, leg *tracer.Leg, at int) {
	h := &leg.Hops[at]
	switch {
	case hook == tracer.HookPostrouting:
		if out := left(leg, at); out != nil && sameDevice(h, out) {
			q.Out = h.Dev
		}
	case hook != "" && hook != tracer.HookOutput:
		// A packet that a bridge hands to netfilter comes from the bridge, as rules see it.
		if in := entered(leg, at); in != nil && sameDevice(h, in) {
			q.In = h.Dev
		}
	}
}

// certain reports whether it is known what rules saw of the packet at a hop. The
// addresses of an ICMP error are those that it was seen with first, and which
// packet was fragmented is not told in a tunnel.
func (w way) certain(at int) bool {
	if w.Fragment != nil && w.Fragment.Offset > 0 && w.Hops[at].Tunnel != nil {
		return false
	}
	rewritten := func(h tracer.Hop) bool {
		for c := h.Change; c != nil; c = c.Also {
			if c.Tunnel == nil {
				return true
			}
		}
		return false
	}
	return w.Error == nil || !slices.ContainsFunc(w.Hops[:at+1], rewritten)
}

// entered returns the hop by which the packet came into the namespace last.
func entered(leg *tracer.Leg, at int) *tracer.Hop {
	for i := at - 1; i >= 0; i-- {
		if h := &leg.Hops[i]; h.Layer == "device" {
			if h.Name == "rx" {
				return h
			}
			return nil
		}
	}
	return nil
}

// left returns the hop by which the packet goes on from there, or nil.
func left(leg *tracer.Leg, at int) *tracer.Hop {
	for i := at + 1; i < len(leg.Hops); i++ {
		if h := &leg.Hops[i]; h.Layer == "device" {
			return h
		}
	}
	return nil
}

func sameDevice(a, b *tracer.Hop) bool {
	return a.NetNS == b.NetNS && a.Ifindex == b.Ifindex && a.Ifindex != 0 && b.Layer == "device"
}

// placeOf says where the kernel drops for a program. For XDP it rarely gives a
// reason: do_xdp_generic and veth_xdp_rcv_skb free the packet by plain
// kfree_skb (6.18). Before 5.17 it gives none at all, and functions that free for
// tc (sch_handle_ingress and sch_handle_egress are part of them, net/core/dev.c)
// seldom do so for other causes: what is attached there tells.
func placeOf(reason, function string) (at kernel.Place, ok bool) {
	switch {
	case reason == "TC_INGRESS", reason == "" && function == "__netif_receive_skb_core":
		return kernel.PlaceIngress, true
	case reason == "TC_EGRESS", reason == "" && function == "__dev_queue_xmit":
		return kernel.PlaceEgress, true
	case reason == "XDP", strings.Contains(function, "xdp"):
		return kernel.PlaceXDP, true
	}
	return "", false
}

// place is where a packet met programs.
type place struct {
	Device
	dev string
}

// programs explains a rewrite that netfilter had no part in: between two hops
// are the ingress of the device that the packet came in by, and the egress of
// the one that it leaves by, whose tx is seen after that. Between two
// namespaces there may be more.
func (x *Explainer) programs(leg *tracer.Leg, at int) *tracer.By {
	h := &leg.Hops[at]
	if at == 0 || leg.Hops[at-1].NetNS != h.NetNS {
		return nil
	}
	var places []place
	if last := &leg.Hops[at-1]; last.Name == "rx" || last.Name == "tc-ingress" {
		places = append(places, place{Device{last.Ifindex, kernel.PlaceIngress}, last.Dev})
	}
	if h.Name == "tx" {
		places = append(places, place{Device{h.Ifindex, kernel.PlaceEgress}, h.Dev})
	}
	return x.attached(h, places)
}

// attached names the program, or says which it may have been.
func (x *Explainer) attached(h *tracer.Hop, places []place) *tracer.By {
	var found []string
	for _, p := range places {
		names, err := x.asker.Attached(h.NetNS, p.Device, h.Time)
		if err != nil {
			x.fail(h.NetNS, err)
			return nil
		}
		for _, name := range names {
			found = append(found, name+" on "+p.dev)
		}
	}
	switch len(found) {
	case 0:
		return nil
	case 1:
		return &tracer.By{Name: found[0], How: tracer.HowInferred}
	}
	return &tracer.By{Name: "one of: " + strings.Join(found, ", "), How: tracer.HowInferred}
}

func (x *Explainer) ask(netns uint32, q *Question) *Answer {
	a, err := x.asker.Ask(netns, q)
	if err != nil {
		x.fail(netns, err)
	}
	return a
}

func inferred(a *Answer) *tracer.By {
	if a == nil {
		return nil
	}
	return &tracer.By{Name: a.Name, Rule: a.Rule, How: tracer.HowInferred}
}

// fail tells once of each namespace that its rules can't be read.
func (x *Explainer) fail(netns uint32, err error) {
	if !x.told[netns] {
		x.told[netns] = true
		x.failed(netns, err)
	}
}
