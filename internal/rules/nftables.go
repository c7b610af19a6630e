package rules

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// nftSource reads a table of nftables piece by piece: there may be far more
// than one packet meets.
type nftSource interface {
	// Rules returns those of a chain.
	Rules(t *nftables.Table, chain string) ([]*nftables.Rule, error)
	// Elements returns those of a set or map.
	Elements(t *nftables.Table, set string) ([]nftables.SetElement, error)
	// List returns what "nft -a list chain" prints, or nothing.
	List(t *nftables.Table, chain string) string
	// Since is when the counters were read, ns of CLOCK_MONOTONIC.
	Since() uint64
}

// nftTable is a table of nftables.
type nftTable struct {
	*nftables.Table
	source nftSource
}

// nftRule is a rule of nftables.
type nftRule struct {
	*nftables.Rule
	table *nftTable
}

func (t *nftTable) name() string { return "nftables " + familyName(t.Family) + " " + t.Name }

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyINet:
		return "inet"
	}
	return fmt.Sprintf("family %d", f)
}

func (t *nftTable) since() uint64 { return t.source.Since() }

func (t *nftTable) rules(chain string) ([]rule, error) {
	list, err := t.source.Rules(t.Table, chain)
	if err != nil {
		return nil, fmt.Errorf("rules of chain %q: %w", chain, err)
	}
	rules := make([]rule, len(list))
	for i, r := range list {
		rules[i] = nftRule{r, t}
	}
	return rules, nil
}

// counted is a counter with what it has counted, which is no part of the rule.
var counted = regexp.MustCompile(`\bcounter packets \d+ bytes \d+`)

// text finds the rule in what nft prints; without that, there may be a comment.
func (t *nftTable) text(chain string, r rule) string {
	handle := fmt.Sprintf(" # handle %d", r.(nftRule).Handle)
	for line := range strings.Lines(t.source.List(t.Table, chain)) {
		if spec, ok := strings.CutSuffix(strings.TrimSpace(line), handle); ok {
			return counted.ReplaceAllString(strings.Join(strings.Fields(spec), " "), "counter")
		}
	}
	if comment, ok := comment(r.(nftRule).UserData); ok {
		return fmt.Sprintf("comment %q", comment)
	}
	return ""
}

// comment reads a rule's user data, whose lengths are not trusted.
func comment(data []byte) (string, bool) {
	for rest := data; len(rest) > 0; rest = rest[2+int(rest[1]):] {
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			return "", false
		}
	}
	return userdata.GetString(data, userdata.TypeComment)
}

func (r nftRule) label() string { return fmt.Sprintf(" handle %d", r.Handle) }

func (r nftRule) idle() bool {
	for _, e := range r.Exprs {
		if c, ok := e.(*expr.Counter); ok {
			return c.Packets == 0
		}
	}
	return false
}

func (r nftRule) outcomes(p *packet) ([]outcome, error) {
	v := nftEval{rule: r, packet: p, registers: newRegisters(), sure: true}
	for _, e := range r.Exprs {
		done, err := v.step(e)
		if done || err != nil {
			return v.found, err
		}
	}
	return v.found, nil
}

// headers are the packet's, as far as they are known.
func headers(p *packet) (network, transport value) {
	src, dst := p.Src.Addr().Unmap().AsSlice(), p.Dst.Addr().Unmap().AsSlice()
	if p.ipv6() {
		network = unknownValue(40)
		if p.Shape.Piece == Whole { // else a fragment header may follow
			network.set(6, []byte{p.Protocol})
		}
		network.set(8, src)
		network.set(24, dst)
	} else {
		network = unknownValue(20)
		p.Shape.fragmentation(network)
		network.set(9, []byte{p.Protocol})
		network.set(12, src)
		network.set(16, dst)
	}
	return network, transportHeader(p)
}

// transportHeader returns what is known of it: the ports, which begin both UDP's
// and TCP's, TCP's flags, the type and code of ICMP.
func transportHeader(p *packet) value {
	v := unknownValue(20)
	switch p.Protocol {
	case unix.IPPROTO_UDP, unix.IPPROTO_TCP:
		if p.Src.IsValid() {
			v.set(0, binary.BigEndian.AppendUint16(nil, p.Src.Port()))
		}
		v.set(2, binary.BigEndian.AppendUint16(nil, p.Dst.Port()))
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		v.set(0, []byte{p.Shape.Type, p.Shape.Code})
	}
	if p.Protocol == unix.IPPROTO_TCP {
		data, known := p.Shape.flags()
		v.setBits(13, data, known)
	}
	return v
}

// fragmentation fills in the flag for more fragments and the offset of an IPv4
// header, in units of eight bytes. Whether it may be fragmented is not known.
func (s Shape) fragmentation(network value) {
	const more, offset = 1 << 13, 1<<13 - 1
	field, known := s.Offset/8, uint16(more|offset)
	switch {
	case s.Piece == First:
		known = offset
	case s.Piece == Later && !s.Last:
		field |= more
	}
	network.setBits(6, byte(field>>8), byte(known>>8))
	network.setBits(7, byte(field), byte(known))
}

// meta returns what "meta KEY" loads.
func meta(p *packet, key expr.MetaKey) value {
	family, ethertype := byte(nftables.TableFamilyIPv4), uint16(0x0800)
	if p.ipv6() {
		family, ethertype = byte(nftables.TableFamilyIPv6), 0x86dd
	}
	switch key {
	case expr.MetaKeyL4PROTO:
		return knownValue([]byte{p.Protocol})
	case expr.MetaKeyNFPROTO:
		return knownValue([]byte{family})
	case expr.MetaKeyPROTOCOL:
		return knownValue(binary.BigEndian.AppendUint16(nil, ethertype))
	case expr.MetaKeyIIFNAME:
		return deviceName(p.In)
	case expr.MetaKeyOIFNAME:
		return deviceName(p.Out)
	case expr.MetaKeyMARK:
		if p.mark != nil {
			return knownValue(binary.NativeEndian.AppendUint32(nil, *p.mark))
		}
	}
	return unknownValue(longRegister)
}

func deviceName(dev string) value {
	v := unknownValue(longRegister) // IFNAMSIZ
	if dev != "" {
		v.set(0, make([]byte, longRegister))
		copy(v.data, dev)
	}
	return v
}
