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

// oneLine folds white space and bounds the length.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// decodeRule reads the handle and the comment of a rule: the payload of a
// netlink message NFT_MSG_NEWRULE.
func decodeRule(data []byte) (handle uint64, comment string) {
	if len(data) < nfgenmsgLen {
		return 0, ""
	}
	ad, err := netlink.NewAttributeDecoder(data[nfgenmsgLen:])
	if err != nil {
		return 0, ""
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_RULE_HANDLE:
			handle = ad.Uint64()
		case unix.NFTA_RULE_USERDATA:
			if c := userComment(ad.Bytes()); c != "" {
				comment = c
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					list.Nested(func(e *netlink.AttributeDecoder) error {
						if c := matchComment(e); c != "" {
							comment = c
						}
						return nil
					})
				}
				return nil
			})
		}
	}
	return handle, oneLine(comment)
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

// matchComment finds what iptables-nft keeps of "-m comment": an expression
// "match" whose name is "comment" and whose info is the text.
func matchComment(e *netlink.AttributeDecoder) string {
	var isMatch, isComment bool
	var info []byte
	for e.Next() {
		switch e.Type() {
		case unix.NFTA_EXPR_NAME:
			isMatch = e.String() == "match"
		case unix.NFTA_EXPR_DATA:
			if !isMatch { // the same numbers mean other things in other expressions
				continue
			}
			e.Nested(func(match *netlink.AttributeDecoder) error {
				for match.Next() {
					switch match.Type() {
					case unix.NFTA_MATCH_NAME:
						isComment = match.String() == "comment"
					case unix.NFTA_MATCH_INFO:
						info = match.Bytes()
					}
				}
				return nil
			})
		}
	}
	if !isComment {
		return ""
	}
	return cString(info)
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
