package nftrace

import (
	"bytes"
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Answers of the kernel are decoded here: what is malformed, or absent, is zero.

// attributes returns a decoder for the payload of a message of nftables; one of
// nothing if that is malformed.
func attributes(data []byte) *netlink.AttributeDecoder {
	var attrs []byte
	if len(data) > nfgenmsgLen {
		attrs = data[nfgenmsgLen:]
	}
	ad, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		ad, _ = netlink.NewAttributeDecoder(nil) // never fails
	}
	ad.ByteOrder = binary.BigEndian
	return ad
}

// decodeChain reads a chain, NFT_MSG_NEWCHAIN.
func decodeChain(data []byte) Chain {
	var c Chain
	for ad := attributes(data); ad.Next(); {
		switch ad.Type() {
		case unix.NFTA_CHAIN_NAME:
			c.Name = ad.String()
		case unix.NFTA_CHAIN_TYPE:
			c.Type = ad.String()
		case unix.NFTA_CHAIN_HOOK:
			ad.Nested(func(hook *netlink.AttributeDecoder) error {
				for hook.Next() {
					switch hook.Type() {
					case unix.NFTA_HOOK_HOOKNUM:
						c.Hook = hook.Uint32()
					case unix.NFTA_HOOK_PRIORITY:
						c.Priority = int32(hook.Uint32())
					}
				}
				return nil
			})
		}
	}
	return c
}

// tableHandle is NFTA_TABLE_HANDLE, since 4.16.
const tableHandle = 4

// decodeTable reads the handle of a table, NFT_MSG_NEWTABLE.
func decodeTable(data []byte) (handle uint64) {
	for ad := attributes(data); ad.Next(); {
		if ad.Type() == tableHandle {
			handle = ad.Uint64()
		}
	}
	return handle
}

// decodeGeneration reads the number of a generation, NFT_MSG_NEWGEN.
func decodeGeneration(data []byte) (id uint32) {
	for ad := attributes(data); ad.Next(); {
		if ad.Type() == unix.NFTA_GEN_ID {
			id = ad.Uint32()
		}
	}
	return id
}

// ruleFacts is what the kernel tells of a rule.
type ruleFacts struct {
	comment string
	nat     bool // it translates addresses
}

// translators are the expressions, and the targets of iptables, that set up NAT.
var translators = map[string]bool{
	"nat": true, "masq": true, "redir": true,
	"target DNAT": true, "target SNAT": true, "target MASQUERADE": true, "target REDIRECT": true, "target NETMAP": true,
}

// decodeRule reads a rule, NFT_MSG_NEWRULE.
func decodeRule(data []byte) ruleFacts {
	var facts ruleFacts
	for ad := attributes(data); ad.Next(); {
		switch ad.Type() {
		case unix.NFTA_RULE_USERDATA:
			if c := userComment(ad.Bytes()); c != "" {
				facts.comment = oneLine(c)
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					list.Nested(func(e *netlink.AttributeDecoder) error {
						facts.expression(e)
						return nil
					})
				}
				return nil
			})
		}
	}
	return facts
}

// expression reads one expression of a rule. What iptables-nft has no other form
// for is kept as "match" and "target", each with iptables' own name for it and
// its info: that of the match "comment" is the text.
func (f *ruleFacts) expression(e *netlink.AttributeDecoder) {
	var name string
	for e.Next() {
		switch e.Type() {
		case unix.NFTA_EXPR_NAME:
			name = e.String()
			f.nat = f.nat || translators[name]
		case unix.NFTA_EXPR_DATA:
			if name != "match" && name != "target" { // the same numbers mean other things there
				continue
			}
			e.Nested(func(ext *netlink.AttributeDecoder) error {
				f.extension(name, ext)
				return nil
			})
		}
	}
}

// extension reads a match or a target of iptables; their attributes are numbered
// alike.
func (f *ruleFacts) extension(kind string, ext *netlink.AttributeDecoder) {
	for ext.Next() {
		switch ext.Type() {
		case unix.NFTA_MATCH_NAME:
			kind += " " + ext.String()
			f.nat = f.nat || translators[kind]
		case unix.NFTA_MATCH_INFO:
			if kind == "match comment" {
				f.comment = oneLine(cString(ext.Bytes()))
			}
		}
	}
}

// userComment finds nft's comment in a rule's user data: types and lengths of a
// byte each, the comment is type 0 (libnftnl/udata.h).
func userComment(data []byte) string {
	for len(data) >= 2 && len(data) >= 2+int(data[1]) {
		value := data[2 : 2+int(data[1])]
		if data[0] == 0 {
			return cString(value)
		}
		data = data[2+len(value):]
	}
	return ""
}

// cString returns the text up to the first zero.
func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// cBytes is a text as netlink has it, with a zero at its end.
func cBytes(s string) []byte { return append([]byte(s), 0) }
