package tracer

import (
	"net/netip"
	"slices"

	"github.com/dnspath/dnspath/internal/kernel"
)

// hopBuilder turns one packet's events, in order of time, into hops.
type hopBuilder struct {
	ofDst, ofSrc ChangeKind // what a rewrite of its destination is, and of its source
	hops         []Hop
	entered      []uint32 // namespaces that it came into by a device
}

func buildHops(leg *legState) []Hop {
	events := leg.events
	b := &hopBuilder{ofDst: ChangeDNAT, ofSrc: ChangeSNAT, hops: make([]Hop, 0, roomFor(events))}
	switch {
	case leg.quote == nil && leg.response:
		b.ofDst, b.ofSrc = ChangeUnSNAT, ChangeUnDNAT
	case leg.quote != nil && leg.response: // the query that it quotes becomes again what it was
		b.ofDst, b.ofSrc = ChangeUnDNAT, ChangeUnSNAT
	case leg.quote != nil:
		b.ofDst, b.ofSrc = ChangeSNAT, ChangeDNAT
	}
	sums := newSumTracker(events)
	for i, e := range events {
		judged := sums.judge(e)
		if e.Probe == ProbeNATManip && e.Step {
			continue // it was called, and changed nothing
		}
		if joined(e) {
			continue // its datagram's end
		}
		read, inferred := readAt(events, i)
		if !read && (e.Probe == ProbeRead || e.Probe == ProbeConsumeSkb && !freedSilently(e)) {
			continue // the normal end of a packet, or of a copy that somebody else was reading
		}
		h := hopOf(e)
		h.Sums = judged
		if h.Drop != nil {
			h.Drop.blame(&h)
		}
		if read {
			h.Name, h.Layer, h.Drop, h.Inferred = "read", "socket", nil, inferred
		}
		if inferred {
			h.PID, h.Comm = 0, "" // who frees it is not who read it
		}
		b.add(e, &h)
	}
	markBreaks(b.hops)
	return b.hops
}

// roomFor says how many hops events will be, most often: the rest are other views
// of a hop before them.
func roomFor(events []*Event) int {
	n := 0
	for i, e := range events {
		switch e.Probe {
		case ProbeNetDevStartXmit, ProbeNFLeave:
			continue
		case ProbeNetifReceiveSkb:
			if i > 0 && events[i-1].Probe == ProbeNetifRx {
				continue
			}
		}
		n++
	}
	return n
}

func (b *hopBuilder) add(e *Event, h *Hop) {
	if b.merge(e, h) {
		return
	}
	n := len(b.hops)
	if n == 0 {
		f := e.sent()
		h.Change = b.change(&Hop{Src: f.Src, Dst: f.Dst, Tunnel: e.Tunnel}, e)
	}
	if n > 0 && e.Probe == ProbeSkDataReady {
		h.Src, h.Dst = b.hops[n-1].Src, b.hops[n-1].Dst // not read anew: bpf/emit.h, queued()
	} else if n > 0 {
		h.Change = b.change(&b.hops[n-1], e)
		b.hops[n-1].claim(h)
	}
	if h.Drop != nil && h.Drop.By == nil {
		h.Drop.By = b.refused(h)
	}
	if h.Layer == "device" && h.Name == "rx" {
		b.entered = append(b.entered, e.NetNS)
	}
	b.hops = append(b.hops, *h)
}

// claim moves the change that shows at next to h, if h is the function that
// makes such changes and ends when the packet has gone on: IPVS that translates
// and sends, a tunnel that wraps up or unpacks.
func (h *Hop) claim(next *Hop) {
	c := next.Change
	switch {
	case c == nil:
		return
	case h.Probe == ProbeIPVSNat || h.Probe == ProbeIPVSNat6:
		for ; c != nil; c = c.Also {
			c.Hook, c.HookHow, c.By = h.Hook, HowSeen, &By{Name: "IPVS", How: HowSeen, Part: true}
		}
		h.Src, h.Dst = next.Src, next.Dst
	case h.Layer == "tunnel" && c.Also == nil && (c.Kind == ChangeEncap || c.Kind == ChangeDecap):
		h.Tunnel = next.Tunnel
	default:
		return
	}
	h.Change, next.Change = both(h.Change, next.Change), nil
}

// refused returns whose verdict a drop in netfilter was, if the last function
// before it was seen to refuse the packet.
func (b *hopBuilder) refused(drop *Hop) *By {
	for _, h := range slices.Backward(b.hops) {
		switch {
		case h.NetNS != drop.NetNS || h.Layer != "netfilter" && h.Layer != "ipvs":
			return nil
		case h.Verdict != VerdictDrop || h.Probe == ProbeNFHookSlow:
		case h.Table != nil && h.Table.Chain == "":
			return &By{Name: h.Table.String() + " " + string(h.Hook), How: HowSeen, Part: true}
		case h.Table != nil:
			return &By{Name: h.Table.String(), How: HowSeen, Part: true}
		case h.Probe == ProbeConfirm:
			drop.Drop.Confirm, drop.Drop.Hook = true, h.Hook
			return &By{Name: "conntrack's confirmation", How: HowSeen}
		default:
			return &By{Name: h.Name, How: HowSeen}
		}
	}
	return nil
}

// merge adds e, which alone would be h, to the last hop if it is another view
// of the same thing.
func (b *hopBuilder) merge(e *Event, h *Hop) bool {
	if len(b.hops) == 0 {
		return false
	}
	last := &b.hops[len(b.hops)-1]
	if h.Name == "read" && last.Name == "read" { // copied out, and freed
		last.Inferred = last.Inferred && h.Inferred
		if last.PID == 0 {
			last.PID, last.Comm = h.PID, h.Comm
		}
		return true
	}
	samePlace := last.NetNS == e.NetNS && last.Ifindex == e.Ifindex
	switch e.Probe {
	case ProbeNetDevStartXmit:
		if last.Name == "tx" && last.Queued && samePlace {
			last.Queued = false
			last.Checksum, last.Sums = e.Checksum, h.Sums
			return true
		}
	case ProbeNetifReceiveSkb:
		return last.Probe == ProbeNetifRx && samePlace
	case ProbeNFLeave:
		if last.Name == "hook" && last.NetNS == e.NetNS && last.Hook == e.Hook {
			last.Change = both(last.Change, b.change(last, e))
			last.Src, last.Dst, last.Tunnel, last.Sums = e.Src, e.Dst, e.Tunnel, h.Sums
			if last.Change != nil {
				last.Name = "nat"
			}
			return true
		}
	case ProbeNFHookSlow:
		if e.Verdict != "" && last.Probe == e.Probe && last.Hook == e.Hook && samePlace { // it has returned
			last.Verdict = e.Verdict
			return true
		}
	case ProbeRcvqueueFull:
		return last.Name == "socket-full"
	case ProbeKfreeSkb:
		if last.Name == "socket-full" { // the same drop, told twice
			errno := last.Drop.Errno
			last.Name, last.Layer, last.Probe, last.Drop = "drop", "end", e.Probe, dropOf(e)
			last.Drop.Errno = errno
			last.Drop.explain()
			return true
		}
		if last.Name == "bad-checksum" {
			last.Name, last.Layer, last.Probe, last.Time, last.Drop = "drop", "end", e.Probe, e.Time, dropOf(e)
			last.Drop.accuse("TCP_CSUM")
			return true
		}
	}
	return false
}

// both chains changes at one hop.
func both(a, c *Change) *Change {
	if a == nil {
		return c
	}
	end := a
	for end.Also != nil {
		end = end.Also
	}
	end.Also = c
	return a
}

// hopOf makes a hop of an event on its own.
func hopOf(e *Event) Hop {
	h := Hop{
		Probe: e.Probe, Time: e.Time, NetNS: e.NetNS, Ifindex: e.Ifindex, Dev: e.Dev,
		Src: e.Src, Dst: e.Dst, Len: e.Len, TTL: e.TTL, Tunnel: e.Tunnel,
		ICMP: e.ICMP, PID: e.PID, Comm: e.Comm, Checksum: e.Checksum,
		CT: e.CT, NoTrack: e.NoTrack, Verdict: e.Verdict, Table: e.Table, State: e.State, Route: e.Route, Waits: e.Waits,
	}
	row := rows[e.Probe]
	h.Name, h.Layer = row.Name, row.Layer
	if row.Layer == "netfilter" || row.Layer == "ipvs" {
		h.Hook = e.Hook
	}
	switch e.Probe {
	case ProbeNetDevQueue:
		h.Queued = true
	case ProbeUDPEnqueue:
		if e.Verdict == VerdictFailed {
			h.Name, h.Drop = "socket-full", &Drop{Errno: e.Errno}
			h.Drop.explain()
		}
	case ProbeUDPFail, ProbeRcvqueueFull:
		h.Drop = &Drop{Errno: e.Errno}
		h.Drop.explain()
	case ProbeTCPBadCsum:
		h.Drop = dropOf(e)
	case ProbeKfreeSkb, ProbeConsumeSkb:
		h.Name, h.Layer, h.PID, h.Comm = "drop", "end", 0, ""
		if readers[e.Freed.Function] {
			h.PID, h.Comm = e.PID, e.Comm
		}
		h.Drop = dropOf(e)
		h.Hook = h.Drop.Hook
	}
	return h
}

// dropOf says what a freed packet's event tells. A hook that the packet was in
// counts only if the function that freed it is one of netfilter's: else the
// packet had left the hook by the kernel's own way.
func dropOf(e *Event) *Drop {
	if e.Probe == ProbeTCPBadCsum {
		d := &Drop{}
		d.accuse("TCP_CSUM")
		return d
	}
	d := &Drop{Reason: e.Freed.Reason, Function: e.Freed.Function}
	if e.Hook != "" && (d.Reason == "NETFILTER_DROP" || netfilterFrees[d.Function]) {
		d.Hook, d.Confirm = e.Hook, e.HookLeft
	}
	d.explain()
	return d
}

// netfilterFrees are the functions in which netfilter frees what a hook
// dropped: nf_hook_slow for all (net/netfilter/core.c), nft_do_chain for
// nftables rules since 6.7.
var netfilterFrees = map[string]bool{"nf_hook_slow": true, "nft_do_chain": true}

// change says how e differs from the hop before it, or nil.
func (b *hopBuilder) change(last *Hop, e *Event) *Change {
	var c *Change
	switch before, after := last.Tunnel.depth(), e.Tunnel.depth(); {
	case before < after:
		c = &Change{Kind: ChangeEncap, Tunnel: e.Tunnel.outermost()}
	case before > after:
		c = &Change{Kind: ChangeDecap, Tunnel: last.Tunnel.outermost()}
	}
	if last.Dst != e.Dst {
		c = both(c, b.nat(b.ofDst, last.Dst, e.Dst, e))
	}
	if last.Src != e.Src {
		c = both(c, b.nat(b.ofSrc, last.Src, e.Src, e))
	}
	return c
}

// nat describes a rewrite. The hook is seen if the links before and after it
// saw the packet change; else it follows from where netfilter does each kind
// (net/netfilter/nf_nat_proto.c): destinations on the way in, sources on the
// way out.
func (b *hopBuilder) nat(kind ChangeKind, from, to netip.AddrPort, e *Event) *Change {
	c := &Change{Kind: kind, From: from, To: to, Conntrack: e.CT != nil && e.Tunnel == nil && translates(e.CT, from, to)}
	switch {
	case e.Probe == ProbeNFLeave, e.Probe == ProbeNATManip:
		c.Hook, c.HookHow = e.Hook, HowSeen
	case e.Probe == ProbeIPVSReply:
		c.Hook, c.HookHow, c.By = e.Hook, HowSeen, &By{Name: "IPVS", How: HowSeen}
	case !c.Conntrack: // not netfilter's doing, as far as we know
	case (kind == ChangeSNAT || kind == ChangeUnDNAT) && rows[e.Probe].Layer != "device":
		c.Hook, c.HookHow = HookInput, HowInferred // it stays here
	case kind == ChangeSNAT || kind == ChangeUnDNAT:
		c.Hook, c.HookHow = HookPostrouting, HowInferred
	case slices.Contains(b.entered, e.NetNS):
		c.Hook, c.HookHow = HookPrerouting, HowInferred
	default:
		c.Hook, c.HookHow = HookOutput, HowInferred
	}
	return c
}

// translates reports whether a conntrack entry turns one address into the
// other, in either direction.
func translates(ct *Conntrack, from, to netip.AddrPort) bool {
	pairs := [][2]netip.AddrPort{{ct.Orig.Dst, ct.Reply.Src}, {ct.Orig.Src, ct.Reply.Dst}}
	for _, p := range pairs {
		if p == [2]netip.AddrPort{from, to} || p == [2]netip.AddrPort{to, from} {
			return true
		}
	}
	return false
}

// rows is the table of hops by probe.
var rows = func() map[Probe]kernel.Hop {
	rows := map[Probe]kernel.Hop{}
	for _, h := range kernel.Hops() {
		rows[Probe(h.Program)] = h
	}
	return rows
}()
