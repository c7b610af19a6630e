package nftrace

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrMalformed is what Decode returns for bytes that are no trace message.
var ErrMalformed = errors.New("malformed trace message")

// Kind is what a step is: a rule that matched, the end of a chain that was
// jumped to, or a base chain's policy.
type Kind string

// The kinds, as enum nft_trace_types has them.
const (
	KindRule   Kind = "rule"
	KindReturn Kind = "return"
	KindPolicy Kind = "policy"
)

var kinds = map[uint32]Kind{
	unix.NFT_TRACETYPE_RULE:   KindRule,
	unix.NFT_TRACETYPE_RETURN: KindReturn,
	unix.NFT_TRACETYPE_POLICY: KindPolicy,
}

// Message is one trace message, NFTA_TRACE_* of linux/netfilter/nf_tables.h.
// What is absent is zero. The headers are in the first message of each base
// chain alone.
type Message struct {
	ID        uint32 // constant while the packet stays in the namespace and came in by the same device; a hash, not unique
	Family    uint8  // of the table, NFPROTO_*
	Table     string
	Chain     string
	Handle    uint64 // of the rule
	Kind      Kind
	Verdict   string // accept, drop, continue, return, jump CHAIN, goto CHAIN, …
	Network   []byte // network header, at most 40 bytes
	Transport []byte // transport header, at most 20 bytes: of UDP with the DNS header
	Mark      uint32
	Iif, Oif  uint32
}

// Decode reads the payload of a netlink message NFT_MSG_TRACE: a struct nfgenmsg
// and attributes. Errors match ErrMalformed.
func Decode(data []byte) (*Message, error) {
	if len(data) < nfgenmsgLen {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(data))
	}
	m := &Message{Family: data[0]}
	ad, err := netlink.NewAttributeDecoder(data[nfgenmsgLen:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		m.attribute(ad)
	}
	if err := ad.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if m.Kind == "" || m.Table == "" || m.Chain == "" {
		return nil, fmt.Errorf("%w: no table, chain or type", ErrMalformed)
	}
	return m, nil
}

// nfgenmsgLen is the size of struct nfgenmsg: family, version, resource id.
const nfgenmsgLen = 4

func (m *Message) attribute(ad *netlink.AttributeDecoder) {
	switch ad.Type() {
	case unix.NFTA_TRACE_ID:
		m.ID = ad.Uint32()
	case unix.NFTA_TRACE_TYPE:
		m.Kind = kinds[ad.Uint32()]
	case unix.NFTA_TRACE_TABLE:
		m.Table = ad.String()
	case unix.NFTA_TRACE_CHAIN:
		m.Chain = ad.String()
	case unix.NFTA_TRACE_RULE_HANDLE:
		m.Handle = ad.Uint64()
	case unix.NFTA_TRACE_VERDICT:
		ad.Nested(func(nested *netlink.AttributeDecoder) error {
			m.Verdict = verdict(nested)
			return nil
		})
	case unix.NFTA_TRACE_POLICY:
		m.Verdict = verdictName(int32(ad.Uint32()))
	case unix.NFTA_TRACE_NETWORK_HEADER:
		m.Network = ad.Bytes()
	case unix.NFTA_TRACE_TRANSPORT_HEADER:
		m.Transport = ad.Bytes()
	case unix.NFTA_TRACE_MARK:
		m.Mark = ad.Uint32()
	case unix.NFTA_TRACE_IIF:
		m.Iif = ad.Uint32()
	case unix.NFTA_TRACE_OIF:
		m.Oif = ad.Uint32()
	}
}

// verdict reads the attributes NFTA_VERDICT_*.
func verdict(ad *netlink.AttributeDecoder) string {
	var name, chain string
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			name = verdictName(int32(ad.Uint32()))
		case unix.NFTA_VERDICT_CHAIN:
			chain = ad.String()
		}
	}
	if chain != "" {
		name += " " + chain
	}
	return name
}

// The verdicts that have a meaning here.
const (
	VerdictAccept = "accept"
	VerdictDrop   = "drop"
)

// verdictName names a verdict of netfilter (NF_*, 0 and up, with a queue's
// number or an errno in the upper half) or of nftables (NFT_*, below 0).
func verdictName(code int32) string {
	if code >= 0 {
		code &= 0xff
	}
	names := map[int32]string{
		0: VerdictDrop, 1: VerdictAccept, 2: "stolen", 3: "queue", 4: "repeat", 5: VerdictAccept,
		-1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return",
	}
	if name, ok := names[code]; ok {
		return name
	}
	return fmt.Sprintf("verdict %d", code)
}

// familyNames are those of nft, by NFPROTO_*.
var familyNames = map[uint8]string{
	unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_ARP: "arp", unix.NFPROTO_NETDEV: "netdev",
	unix.NFPROTO_BRIDGE: "bridge", unix.NFPROTO_IPV6: "ip6",
}
