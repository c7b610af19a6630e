package rules

import (
	"strconv"
	"strings"
)

// tcpFlags are the names that iptables has for TCP's flags.
var tcpFlags = map[string]uint8{
	"FIN": flagFIN, "SYN": flagSYN, "RST": flagRST, "PSH": flagPSH, "ACK": flagACK, "URG": flagURG,
	"ALL": flagFIN | flagSYN | flagRST | flagPSH | flagACK | flagURG, "NONE": 0,
}

func parseFlags(list string) (flags uint8, ok bool) {
	for name := range strings.SplitSeq(list, ",") {
		flag, known := tcpFlags[name]
		if !known {
			return 0, false
		}
		flags |= flag
	}
	return flags, true
}

// matchFlags compares with those to look at and those that must be set, as in
// "FIN,SYN,RST,ACK SYN".
func matchFlags(value string) match {
	first, second, _ := strings.Cut(value, " ")
	mask, ok1 := parseFlags(first)
	set, ok2 := parseFlags(second)
	if !ok1 || !ok2 {
		return unknown
	}
	return func(q *packet) tri {
		data, known := q.Shape.flags()
		switch {
		case (data^set)&mask&known != 0 || set&^mask != 0:
			return no
		case mask&^known != 0:
			return maybe
		}
		return yes
	}
}

// matchICMP compares with "type" or "type/code"; "any" is all of them.
func matchICMP(value string) match {
	if value == "any" {
		return func(*packet) tri { return yes }
	}
	first, second, coded := strings.Cut(value, "/")
	kind, err1 := strconv.ParseUint(first, 10, 8)
	if !coded {
		second = "0"
	}
	code, err2 := strconv.ParseUint(second, 10, 8)
	if err1 != nil || err2 != nil {
		return unknown
	}
	return func(q *packet) tri {
		return truth(q.Shape.Type == uint8(kind) && (!coded || q.Shape.Code == uint8(code)))
	}
}
