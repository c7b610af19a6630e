package rules

import (
	"encoding/binary"
	"strings"

	"github.com/google/nftables/expr"

	"github.com/dnspath/dnspath/tracer"
)

// Tracked is what conntrack knew of the packet when the rules met it.
type Tracked struct {
	State  uint32 // as nftables loads it by "ct state", one bit; 0 unknown
	Entry  bool   // Status is known
	Status uint32 // of the entry (enum ip_conntrack_status)
}

// States as rules ask for them: NF_CT_STATE_BIT and its like in
// include/uapi/linux/netfilter/nf_conntrack_common.h.
const (
	stateInvalid     = 1 << 0
	stateEstablished = 1 << 1
	stateRelated     = 1 << 2
	stateNew         = 1 << 3
	stateUntracked   = 1 << 6
)

// Bits of an entry's status.
const (
	statusSNAT = 1 << 4
	statusDNAT = 1 << 5
)

// replyInfo is IP_CT_IS_REPLY: from there on, enum ip_conntrack_info repeats
// itself for packets of the other direction.
const replyInfo = 3

// stateOf names states as nf_conntrack_in was seen to find them.
var stateOf = map[string]uint32{
	"new": stateNew, "established": stateEstablished, "reply": stateEstablished, "related": stateRelated,
	"related reply": stateRelated, "untracked": stateUntracked, "invalid": stateInvalid,
}

// trackedOf returns what is known at a hop. A packet without an entry is
// unknown, unless conntrack was seen to look for one: it may not have come
// there yet.
func trackedOf(leg *tracer.Leg, at int) Tracked {
	h := &leg.Hops[at]
	switch {
	case h.CT != nil:
		return Tracked{State: 1 << (h.CT.Info%replyInfo + 1), Entry: true, Status: h.CT.Status}
	case h.NoTrack:
		return Tracked{State: stateUntracked}
	}
	for i := at - 1; i >= 0; i-- {
		o := &leg.Hops[i]
		if o.NetNS != h.NetNS || (o.Tunnel == nil) != (h.Tunnel == nil) {
			break
		}
		if state, ok := stateOf[o.State]; ok {
			return Tracked{State: state}
		}
	}
	return Tracked{}
}

// ctLoad returns what "ct KEY" loads.
func ctLoad(t Tracked, key expr.CtKey) value {
	switch {
	case key == expr.CtKeySTATE && t.State != 0:
		return knownValue(binary.NativeEndian.AppendUint32(nil, t.State))
	case key == expr.CtKeySTATUS && t.Entry:
		return knownValue(binary.NativeEndian.AppendUint32(nil, t.Status))
	}
	return unknownValue(longRegister)
}

// matchState compares with a list such as RELATED,ESTABLISHED. SNAT and DNAT,
// in it, are asked of the entry's status (net/netfilter/xt_conntrack.c).
func matchState(value string) match {
	states := map[string]uint32{
		"INVALID": stateInvalid, "ESTABLISHED": stateEstablished, "RELATED": stateRelated, "NEW": stateNew, "UNTRACKED": stateUntracked,
	}
	var want, status uint32
	for name := range strings.SplitSeq(value, ",") {
		switch {
		case name == "SNAT":
			status |= statusSNAT
		case name == "DNAT":
			status |= statusDNAT
		case states[name] == 0:
			return unknown
		}
		want |= states[name]
	}
	return func(q *packet) tri {
		ct := q.Tracked
		switch {
		case ct.State == 0:
			return maybe
		case ct.State&want != 0:
			return yes
		case status != 0 && !ct.Entry:
			return maybe
		}
		return truth(ct.Status&status != 0)
	}
}
