package rules

import (
	"net/netip"
	"strconv"
	"strings"
)

// target is what a NAT rule may turn an address into.
type target struct {
	deed    Deed
	ranges  []natRange // one of these; none: any address
	unknown bool       // it is, or the rule's address is chosen at run time
	here    bool       // of DNAT: to an address of the namespace
}

// natRange is a range of addresses and of ports. What is not valid, or 0, is
// left as it was, or chosen by the kernel.
type natRange struct {
	from, to netip.Addr
	low, top uint16
}

// fits reports whether the question's NAT may have been this.
func (t *target) fits(q *Question) bool {
	if t.deed != q.Deed {
		return false
	}
	if len(t.ranges) == 0 || t.unknown {
		return true
	}
	for _, r := range t.ranges {
		if r.fits(q) {
			return true
		}
	}
	return false
}

func (r *natRange) fits(q *Question) bool {
	addr, port := q.To.Addr().Unmap(), q.To.Port()
	if r.from.IsValid() && (addr.Less(r.from) || r.to.Less(addr)) {
		return false
	}
	// The source port is what the rule says only if that was free.
	return r.low == 0 || q.Deed == SNAT || r.low <= port && port <= r.top
}

// parseNATRange reads what follows --to-destination and --to-source:
// addr[-addr][:port[-port]], with IPv6 addresses in brackets if there is a port.
func parseNATRange(s string) (r natRange, ok bool) {
	addrs, ports := s, ""
	switch {
	case strings.HasPrefix(s, "["):
		end := strings.LastIndexByte(s, ']')
		if end < 0 {
			return r, false
		}
		addrs, ports = strings.NewReplacer("[", "", "]", "").Replace(s[:end]), strings.TrimPrefix(s[end+1:], ":")
	case strings.Count(s, ":") == 1:
		addrs, ports, _ = strings.Cut(s, ":")
	}
	if addrs != "" {
		first, last, several := strings.Cut(addrs, "-")
		if !several {
			last = first
		}
		var err1, err2 error
		r.from, err1 = netip.ParseAddr(first)
		r.to, err2 = netip.ParseAddr(last)
		if err1 != nil || err2 != nil {
			return r, false
		}
	}
	if ports != "" {
		ports, _, _ = strings.Cut(ports, "/") // the base of a shifted range
		r.low, r.top, ok = parsePorts(ports, "-")
		return r, ok
	}
	return r, true
}

// parsePorts reads a port, or two with sep between them; a missing end is the
// first or last port there is.
func parsePorts(s, sep string) (low, top uint16, ok bool) {
	first, last, several := strings.Cut(s, sep)
	if !several {
		last = first
	}
	if several && first == "" {
		first = "0"
	}
	if several && last == "" {
		last = "65535"
	}
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	return uint16(a), uint16(b), err1 == nil && err2 == nil
}
