package nftrace

import (
	"regexp"
	"strconv"
	"strings"
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
