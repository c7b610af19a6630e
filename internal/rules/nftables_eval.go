package rules

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// nftEval runs one rule's expressions.
type nftEval struct {
	rule      nftRule
	packet    *packet
	registers *registers
	sure      bool // that it comes to the next expression
	found     []outcome
}

// step runs an expression. It reports whether the rule ends here: it does not
// match, or has spoken.
func (v *nftEval) step(e expr.Any) (done bool, err error) {
	switch e := e.(type) {
	case *expr.Meta:
		v.meta(e)
	case *expr.Payload:
		return v.payload(e), nil
	case *expr.Immediate:
		v.registers.store(e.Register, knownValue(e.Data))
	case *expr.Bitwise:
		v.bitwise(e)
	case *expr.Cmp:
		return v.compare(e), nil
	case *expr.Range:
		in := v.registers.load(e.Register, len(e.FromData)).between(e.FromData, e.ToData)
		return v.ask(in.not(e.Op == expr.CmpOpNeq)), nil
	case *expr.Lookup:
		return v.lookup(e)
	case *expr.Verdict:
		v.verdict(e)
		return true, nil
	case *expr.Notrack:
		v.say(action{exempts: true})
	case *expr.Counter, *expr.Log, *expr.FlowOffload:
	case *expr.NAT, *expr.Masq, *expr.Redir, *expr.Reject, *expr.Target:
		return v.act(e), nil
	default:
		v.load(e)
	}
	return false, nil
}

// load runs what puts something unknown into a register, or asks for something
// unknown.
func (v *nftEval) load(e expr.Any) {
	unknown := unknownValue(longRegister)
	switch e := e.(type) {
	case *expr.Ct:
		if !e.SourceRegister {
			v.registers.store(e.Register, ctLoad(v.packet.Tracked, e.Key))
		}
	case *expr.Fib:
		v.registers.store(e.Register, unknown)
	case *expr.Numgen:
		v.registers.store(e.Register, unknown)
	case *expr.Hash:
		v.registers.store(e.DestRegister, unknown)
	case *expr.Rt:
		v.registers.store(e.Register, unknown)
	case *expr.Socket:
		v.registers.store(e.Register, unknown)
		v.sure = false
	case *expr.Byteorder:
		v.registers.store(e.DestRegister, unknown)
	case *expr.Exthdr:
		v.registers.store(e.DestRegister, unknown)
		v.sure = false
	default: // limit, quota, connlimit, a dynamic set, a match of iptables
		v.sure = false
	}
}

// ask takes the answer to what the rule asks.
func (v *nftEval) ask(answer tri) (done bool) {
	v.sure = v.sure && answer == yes
	return answer == no
}

// compare asks for a register's value. What compares for equality has used it
// up: if it is compared again, an expression in between loaded something else,
// one that the library does not know and leaves out without a word.
func (v *nftEval) compare(e *expr.Cmp) (done bool) {
	answer := v.registers.load(e.Register, len(e.Data)).compare(e.Op, e.Data)
	if e.Op == expr.CmpOpEq || e.Op == expr.CmpOpNeq {
		v.registers.store(e.Register, unknownValue(len(e.Data)))
	}
	return v.ask(answer)
}

func (v *nftEval) meta(e *expr.Meta) {
	switch {
	case !e.SourceRegister:
		v.registers.store(e.Register, meta(v.packet, e.Key))
	case e.Key == expr.MetaKeyMARK:
		v.packet.mark = nil
	}
}

// payload loads from the packet. A later fragment has no transport header: the
// rule ends there (nft_payload_eval).
func (v *nftEval) payload(e *expr.Payload) (done bool) {
	if e.OperationType == expr.PayloadWrite {
		v.sure = false // from here on it is another packet
		return false
	}
	network, transport := headers(v.packet)
	got := unknownValue(int(e.Len))
	switch e.Base {
	case expr.PayloadBaseNetworkHeader:
		got = network.cut(int(e.Offset), int(e.Len))
	case expr.PayloadBaseTransportHeader:
		if v.packet.Shape.Piece == Later {
			return true
		}
		got = transport.cut(int(e.Offset), int(e.Len))
		v.packet.srcPort = v.packet.srcPort || e.Offset < 2
	}
	v.registers.store(e.DestRegister, got)
	return false
}

func (v *nftEval) bitwise(e *expr.Bitwise) {
	got := v.registers.load(e.SourceRegister, int(e.Len))
	if len(e.Mask) == len(got.data) {
		got = got.mask(e.Mask, e.Xor)
	} else { // a shift, or one of the operations that came with 6.13
		got = unknownValue(longRegister)
	}
	v.registers.store(e.DestRegister, got)
}

// verdict takes what the rule says in the end.
func (v *nftEval) verdict(e *expr.Verdict) {
	a := action{chain: e.Chain}
	switch e.Kind {
	case expr.VerdictJump:
		a.verb = jump
	case expr.VerdictGoto:
		a.verb = goTo
	case expr.VerdictReturn:
		a.verb = comeBack
	case expr.VerdictDrop:
		a.verb = drop
	case expr.VerdictContinue, expr.VerdictBreak:
		return
	default: // accept, queue, stolen
		a.verb = accept
	}
	v.say(a)
}

func (v *nftEval) say(a action) { v.found = append(v.found, outcome{sure: v.sure, action: a}) }

// act takes an expression that ends the rule by itself.
func (v *nftEval) act(e expr.Any) (done bool) {
	switch e := e.(type) {
	case *expr.Reject:
		v.say(action{verb: reject})
	case *expr.Masq:
		v.say(action{verb: translate, nat: &target{deed: SNAT}})
	case *expr.Redir:
		to := v.target(DNAT, &expr.NAT{RegProtoMin: e.RegisterProtoMin, RegProtoMax: e.RegisterProtoMax})
		to.here = true
		v.say(action{verb: translate, nat: to})
	case *expr.NAT:
		deed := SNAT
		if e.Type == expr.NATTypeDestNAT {
			deed = DNAT
		}
		v.say(action{verb: translate, nat: v.target(deed, e)})
	case *expr.Target:
		return v.compat(e)
	}
	return true
}

// compat takes a target of iptables-nft, for which iptables-save was not there
// to explain it.
func (v *nftEval) compat(e *expr.Target) (done bool) {
	a := actionOf(e.Name, nil)
	if a.verb == goOn {
		return false
	}
	if a.nat != nil {
		a.nat.unknown = true
	}
	v.say(a)
	return true
}

// target reads what NAT turns the address into from the registers.
func (v *nftEval) target(deed Deed, e *expr.NAT) *target {
	t := &target{deed: deed, ranges: []natRange{{}}}
	r := &t.ranges[0]
	if e.RegAddrMin != 0 {
		n := 4
		if v.packet.ipv6() {
			n = 16
		}
		low, top := v.registers.load(e.RegAddrMin, n), v.registers.load(either(e.RegAddrMax, e.RegAddrMin), n)
		r.from, _ = netip.AddrFromSlice(low.data)
		r.to, _ = netip.AddrFromSlice(top.data)
		t.unknown = !low.whole() || !top.whole() || e.Prefix
	}
	if e.RegProtoMin != 0 {
		low, top := v.registers.load(e.RegProtoMin, 2), v.registers.load(either(e.RegProtoMax, e.RegProtoMin), 2)
		r.low, r.top = binary.BigEndian.Uint16(low.data), binary.BigEndian.Uint16(top.data)
		t.unknown = t.unknown || !low.whole() || !top.whole()
	}
	return t
}

func either(a, b uint32) uint32 {
	if a != 0 {
		return a
	}
	return b
}

// lookup asks a set, or takes a value or a verdict from a map.
func (v *nftEval) lookup(e *expr.Lookup) (done bool, err error) {
	elements, err := v.rule.table.source.Elements(v.rule.table.Table, e.SetName)
	if err != nil {
		return true, err
	}
	key := func(n int) value { return v.registers.load(e.SourceRegister, n) }
	found, is := members(elements, key)
	if !e.IsDestRegSet {
		return v.ask(is.not(e.Invert)), nil
	}
	if is == no {
		return true, nil
	}
	v.ask(is)
	if e.DestRegister == 0 { // the verdict register
		return v.verdicts(found, is), nil
	}
	got := unknownValue(longRegister)
	if is == yes {
		got = knownValue(found[0].Val)
	}
	v.registers.store(e.DestRegister, got)
	return false, nil
}

// verdicts takes all that a map may say.
func (v *nftEval) verdicts(found []nftables.SetElement, is tri) (done bool) {
	for _, element := range found {
		if verdict := elementVerdict(element); verdict != nil {
			v.verdict(verdict)
		}
	}
	return is == yes
}
