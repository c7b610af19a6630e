package tracer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dnspath/dnspath/internal/nftrace"
)

// attribute adds to a lookup what nftables told of its packets: to hops the rules
// that were matched there, and to rewrites and drops the rule that did it. steps
// are those of the lookup's keys, in order.
func attribute(l *Lookup, steps []nftrace.Step) {
	if len(steps) == 0 {
		return
	}
	for i := range l.Legs {
		hops := l.Legs[i].Hops
		own := during(steps, l.Legs, i)
		for j := range hops {
			h := &hops[j]
			for c := h.Change; c != nil; c = c.Also {
				if by := translator(c, h, own); by != nil {
					c.By = by
				}
			}
			if h.Drop != nil && h.Tunnel == nil {
				h.Drop.refusedBy(h, own)
			}
		}
		for j := range own {
			if h := hopAt(hops, &own[j]); h != nil {
				h.Rules = append(h.Rules, ruleOf(&own[j]))
			}
		}
	}
}

// stepKeys returns what finds a lookup's steps: its DNS ID, or all ports that its
// client had on the way.
func stepKeys(l *Lookup) []nftrace.Key {
	if l.Transport != TransportTCP {
		return []nftrace.Key{{ID: l.DNSID}}
	}
	var keys []nftrace.Key
	for i := range l.Legs {
		leg := &l.Legs[i]
		for j := range leg.Hops {
			h := &leg.Hops[j]
			for _, f := range []Flow{{h.Src, h.Dst}, h.before()} {
				client := f.Src
				if leg.Response {
					client = f.Dst
				}
				if key := (nftrace.Key{TCP: true, ID: client.Port()}); !slices.Contains(keys, key) {
					keys = append(keys, key)
				}
			}
		}
	}
	return keys
}

// stepsAfter is how long after a packet's last hop its steps may have been read.
const stepsAfter = uint64(time.Second)

// during returns the steps that may be those of a leg: of such a segment, read
// after it began, and before the next leg in the same direction did. A step bears the time at which
// it was read, which is a little late.
func during(steps []nftrace.Step, legs []Leg, i int) []nftrace.Step {
	hops := legs[i].Hops
	if !legs[i].traced() {
		return nil
	}
	from, to := hops[0].Time, hops[len(hops)-1].Time+stepsAfter
	for _, next := range legs[i+1:] {
		if next.Response == legs[i].Response && next.Segment == legs[i].Segment && next.traced() {
			to = min(to, next.Hops[0].Time)
			break
		}
	}
	var own []nftrace.Step
	for _, s := range steps {
		if s.Segment == legs[i].Segment && s.Time >= from && s.Time < to {
			own = append(own, s)
		}
	}
	return own
}

// traced reports whether steps may be those of the leg. What was traced has a
// header of UDP or TCP: an ICMP error has none, nor has a later fragment.
func (l *Leg) traced() bool {
	return len(l.Hops) > 0 && l.Error == nil && (l.Fragment == nil || l.Fragment.Offset == 0)
}

// translator returns the rule that made a translation of addresses, or nil. Only
// the first packet of a connection meets it: the others, and replies, are
// translated as conntrack remembers.
func translator(c *Change, h *Hop, steps []nftrace.Step) *By {
	var before Flow
	switch c.Kind {
	case ChangeDNAT:
		before = h.before()
	case ChangeSNAT:
		before = Flow{c.From, h.Dst} // destinations are rewritten first
	default:
		return nil
	}
	for i := len(steps) - 1; i >= 0; i-- {
		s := &steps[i]
		if before == (Flow{s.Src, s.Dst}) && s.NetNS == h.NetNS && s.NAT && s.Verdict == nftrace.VerdictAccept &&
			(c.Hook == "" || c.Hook == hookOf(s)) {
			return by(steps[:i+1])
		}
	}
	return nil
}

// refusedBy sets the rule, or the policy, that dropped the packet of a hop.
func (d *Drop) refusedBy(h *Hop, steps []nftrace.Step) {
	if d.Confirm || d.Hook == "" && d.Reason != "NETFILTER_DROP" && !netfilterFrees[d.Function] {
		return
	}
	for i := len(steps) - 1; i >= 0; i-- {
		s := &steps[i]
		hook := hookOf(s)
		if s.Verdict != nftrace.VerdictDrop || s.NetNS != h.NetNS || s.Src != h.Src || s.Dst != h.Dst ||
			d.Hook != "" && hook != "" && hook != d.Hook {
			continue
		}
		d.By = by(steps[:i+1])
		if d.Hook == "" {
			d.Hook, h.Hook = hook, hook
		}
		return
	}
}

// hopAt returns the hop that a step belongs to, or nil: the newest that was in
// its hook, or rather the one that is its base chain; where hooks are not
// observed, the newest of all with its addresses.
func hopAt(hops []Hop, s *nftrace.Step) *Hop {
	hook, now := hookOf(s), Flow{s.Src, s.Dst}
	var found, near *Hop
	for i := range hops {
		h := &hops[i]
		if h.NetNS != s.NetNS || h.Tunnel != nil || h.Time > s.Time {
			continue
		}
		here := now == Flow{h.Src, h.Dst}
		if here {
			near = h
		}
		if h.Layer != "netfilter" || h.Hook != hook || !here && now != h.before() {
			continue
		}
		if found == nil || isBase(h.Table, s) || !isBase(found.Table, s) {
			found = h
		}
	}
	if found == nil {
		return near
	}
	return found
}

// isBase reports whether a table, as a function tells it, is a step's base chain.
func isBase(t *Table, s *nftrace.Step) bool {
	return t != nil && *t == Table{Tool: "nftables", Family: s.Family, Name: s.Table, Chain: s.Base.Name}
}

// before returns the addresses with which the packet came to the hop.
func (h *Hop) before() Flow {
	f := Flow{h.Src, h.Dst}
	for c := h.Change; c != nil; c = c.Also {
		switch c.Kind {
		case ChangeDNAT, ChangeUnSNAT:
			f.Dst = c.From
		case ChangeSNAT, ChangeUnDNAT:
			f.Src = c.From
		}
	}
	return f
}

// hookOf returns the netfilter hook that a step's base chain is in; empty in
// families whose hooks are others.
func hookOf(s *nftrace.Step) Hook {
	switch s.Family {
	case "inet", "ip", "ip6":
		if s.Base.Type != "" && int(s.Base.Hook) < len(hookNames) {
			return hookNames[s.Base.Hook]
		}
	}
	return ""
}

// by names the rule, or the policy, of the last step.
func by(steps []nftrace.Step) *By {
	s := &steps[len(steps)-1]
	b := &By{Name: tableOf(s) + " " + strings.Join(way(steps), " → "), Rule: s.Text, How: HowSeen}
	if s.Kind == nftrace.KindPolicy {
		b.Rule = "policy " + s.Verdict
		return b
	}
	b.Name += fmt.Sprintf(" handle %d", s.Handle)
	if b.Rule == "" && s.Comment != "" {
		b.Rule = fmt.Sprintf("comment %q", s.Comment)
	}
	return b
}

// way returns the chains by which the packet came to the last step, that of its
// rule included. Steps in other namespaces may be between them.
func way(steps []nftrace.Step) []string {
	last := &steps[len(steps)-1]
	var own []string // backwards
	for i := len(steps) - 1; i >= 0; i-- {
		s := &steps[i]
		if !together(s, last) {
			continue
		}
		if s != last && final(s) {
			break
		}
		own = append(own, s.Chain)
	}
	var chains []string
	if last.Base.Name != "" {
		chains = append(chains, last.Base.Name)
	}
	for _, chain := range slices.Backward(own) {
		if i := slices.Index(chains, chain); i >= 0 {
			chains = chains[:i] // it came back
		}
		chains = append(chains, chain)
	}
	return chains
}

// together reports whether two steps are of the same packet in the same base chain.
func together(a, b *nftrace.Step) bool {
	return a.Packet == b.Packet && a.NetNS == b.NetNS && a.Family == b.Family && a.Table == b.Table && a.Base.Name == b.Base.Name
}

// final reports whether a step ends the way through its base chain.
func final(s *nftrace.Step) bool {
	return s.Kind == nftrace.KindPolicy || s.Verdict == nftrace.VerdictAccept || s.Verdict == nftrace.VerdictDrop
}

// tableOf names a step's table. What bears the names of iptables' tables and
// hooks is taken for one of iptables-nft.
func tableOf(s *nftrace.Step) string {
	tool, ours := map[string]string{"ip": "iptables", "ip6": "ip6tables"}[s.Family]
	if ours && iptables[s.Table] && s.Base.Name != "" && s.Base.Name == string(hookOf(s)) {
		return tool + " " + s.Table
	}
	return "nftables " + s.Family + " " + s.Table
}

// iptables are the names of its tables.
var iptables = map[string]bool{"raw": true, "mangle": true, "nat": true, "filter": true, "security": true}

func ruleOf(s *nftrace.Step) Rule {
	return Rule{
		Kind: string(s.Kind), Hook: hookOf(s), Family: s.Family, Table: s.Table, Chain: s.Chain, Base: s.Base.Name,
		Handle: s.Handle, Verdict: s.Verdict, Text: s.Text, Comment: s.Comment,
	}
}
