package nftrace

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// maxText bounds what is kept of a rule's text, bytes.
const maxText = 500

var ruleEnd = regexp.MustCompile(`^(.*) # handle (\d+)$`)

// parseListing reads what "nft -a list chain" writes: the texts of the chain's
// rules by handle. A rule with a map takes several lines; its handle is at its
// end.
func parseListing(out string) map[uint64]string {
	texts := map[uint64]string{}
	var parts []string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		end := ruleEnd.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "table ") && strings.Contains(line, "{"),
			strings.HasPrefix(line, "chain ") && strings.Contains(line, "{"),
			strings.HasPrefix(line, "type ") && strings.HasSuffix(line, ";"),
			strings.HasPrefix(line, `comment "`) && end == nil:
			parts = nil // what the chain says of itself
		case end != nil:
			parts = append(parts, end[1])
			if handle, err := strconv.ParseUint(end[2], 10, 64); err == nil {
				texts[handle] = oneLine(strings.Join(parts, " "))
			}
			parts = nil
		default:
			parts = append(parts, line)
		}
	}
	return texts
}

// identifier is a name as nft's language has it. The kernel takes any name, and
// whoever owns a namespace may give one that nft would take for commands.
var identifier = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9/\\_.-]*$`)

// listCommand returns the arguments with which nft lists a chain; nil if it can't.
func listCommand(c chainKey) []string {
	family := familyNames[c.family]
	if family == "" || !identifier.MatchString(c.table) || !identifier.MatchString(c.name) {
		return nil
	}
	return []string{"-a", "-s", "list", "chain", family, c.table, c.name}
}

// oneLine folds white space and bounds the length.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}

// ruleFacts is what the kernel tells of a rule.
type ruleFacts struct {
	comment string
	nat     bool // it translates addresses
}

// decodeRule reads a rule: the payload of a netlink message NFT_MSG_NEWRULE.
func decodeRule(data []byte) (handle uint64, facts ruleFacts) {
	if len(data) < nfgenmsgLen {
		return 0, facts
	}
	ad, err := netlink.NewAttributeDecoder(data[nfgenmsgLen:])
	if err != nil {
		return 0, facts
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_RULE_HANDLE:
			handle = ad.Uint64()
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
	return handle, facts
}

// translators are the expressions, and the targets of iptables, that set up NAT.
var translators = map[string]bool{
	"nat": true, "masq": true, "redir": true,
	"target DNAT": true, "target SNAT": true, "target MASQUERADE": true, "target REDIRECT": true, "target NETMAP": true,
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

func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// decodeChain reads a chain: the payload of a netlink message NFT_MSG_NEWCHAIN.
func decodeChain(data []byte) Chain {
	var c Chain
	if len(data) < nfgenmsgLen {
		return c
	}
	ad, err := netlink.NewAttributeDecoder(data[nfgenmsgLen:])
	if err != nil {
		return c
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
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
