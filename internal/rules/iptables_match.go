package rules

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// specParser reads the words of one rule.
type specParser struct {
	rule   *iptablesRule
	module string // the last -m: options of the same name mean different things
	nat    target
}

// silent are the modules whose options are understood, or ask for nothing: all
// others ask for something that is not known afterwards.
var silent = map[string]bool{"comment": true, "mark": true, "addrtype": true, "conntrack": true, "state": true, "udp": true, "tcp": true, "multiport": true, "icmp": true, "icmp6": true}

// ofTransport are the modules that read a transport header: later fragments have
// none, and match nothing of theirs (net/netfilter/xt_tcpudp.c).
var ofTransport = map[string]bool{"udp": true, "tcp": true, "multiport": true, "icmp": true, "icmp6": true}

func unknown(*packet) tri { return maybe }

// parse fills in what the rule asks and does.
func (r *iptablesRule) parse(words []word, chains map[string]*iptablesChain) {
	p := specParser{rule: r}
	for i := 0; i < len(words); {
		invert := words[i].text == "!" && !words[i].quoted
		if invert {
			i++
		}
		if i == len(words) {
			break
		}
		name := words[i].text
		var args []string
		for i++; i < len(words) && !words[i].option(); i++ {
			args = append(args, words[i].text)
		}
		if len(args) == 0 {
			args = []string{""}
		}
		switch name {
		case "-j":
			r.does = actionOf(args[0], chains)
			r.marks = args[0] == "MARK" || args[0] == "CONNMARK"
		case "-g":
			r.does = action{verb: goTo, chain: args[0]}
		default:
			p.option(name, strings.Join(args, " "), invert)
		}
	}
	if r.does.verb == translate {
		p.nat.deed, p.nat.here = r.does.nat.deed, r.does.nat.here
		r.does.nat = &p.nat
	}
}

// actionOf reads a target; what goes on to the next rule (LOG, MARK) needs no
// more.
func actionOf(name string, chains map[string]*iptablesChain) action {
	switch name {
	case "NOTRACK":
		return action{exempts: true}
	case "ACCEPT", "QUEUE", "NFQUEUE", "TPROXY", "SYNPROXY":
		return action{verb: accept}
	case "DROP":
		return action{verb: drop}
	case "REJECT":
		return action{verb: reject}
	case "RETURN":
		return action{verb: comeBack}
	case "DNAT", "REDIRECT":
		return action{verb: translate, nat: &target{deed: DNAT, here: name == "REDIRECT"}}
	case "SNAT", "MASQUERADE":
		return action{verb: translate, nat: &target{deed: SNAT}}
	}
	if chains[name] != nil {
		return action{verb: jump, chain: name}
	}
	return action{}
}

// option reads one option with its value; there may be two words of it.
func (p *specParser) option(name, value string, invert bool) {
	switch name {
	case "-m":
		if p.module = value; !silent[value] {
			p.add(unknown)
		}
		if ofTransport[value] {
			p.add(func(q *packet) tri { return truth(q.Shape.Piece != Later) })
		}
		return
	case "--comment":
		return
	case "--to-destination", "--to-source", "--to-ports":
		if name == "--to-ports" {
			value = ":" + value
		}
		r, ok := parseNATRange(value)
		p.nat.ranges, p.nat.unknown = append(p.nat.ranges, r), p.nat.unknown || !ok
		return
	}
	own := len(name) == len("-s") // of iptables, not of a module
	if name == "--notrack" {      // of -j CT
		p.rule.does.exempts = true
		return
	}
	if p.rule.does.verb != goOn || !own && !silent[p.module] {
		return // of the target, or of a module that is not understood anyway
	}
	if m := p.matchOf(name, value); m != nil {
		p.add(func(q *packet) tri { return m(q).not(invert) })
	}
}

func (p *specParser) add(m match) { p.rule.matches = append(p.rule.matches, m) }

// matchOf returns what an option asks.
func (p *specParser) matchOf(name, value string) match {
	switch name {
	case "-s":
		return matchAddr(value, func(q *packet) netip.Addr { return q.Src.Addr() })
	case "-d":
		return matchAddr(value, func(q *packet) netip.Addr { return q.Dst.Addr() })
	case "-i":
		return matchDevice(value, func(q *packet) string { return q.In })
	case "-o":
		return matchDevice(value, func(q *packet) string { return q.Out })
	case "-p":
		return matchProtocol(value)
	case "-f":
		return func(q *packet) tri { return truth(q.Shape.Piece == Later) }
	case "--tcp-flags":
		return matchFlags(value)
	case "--icmp-type", "--icmpv6-type":
		return matchICMP(value)
	case "--dport", "--dports":
		return matchPorts(value, false, true)
	case "--sport", "--sports":
		return matchPorts(value, true, false)
	case "--ports":
		return matchPorts(value, true, true)
	case "--ctstate", "--state":
		return matchState(value)
	case "--mark":
		return matchMark(value)
	case "--dst-type":
		return matchDstType(value)
	case "--src-type":
		return matchType(value, func(q *packet) netip.Addr { return q.Src.Addr() })
	}
	return unknown
}

// matchAddr compares with addr, addr/bits or addr/mask.
func matchAddr(value string, of func(*packet) netip.Addr) match {
	base, mask, ok := parseMasked(value)
	if !ok {
		return unknown
	}
	return func(q *packet) tri {
		addr := of(q).Unmap()
		if !addr.IsValid() {
			return maybe
		}
		if addr.Is4() != base.Is4() {
			return no
		}
		a, b := addr.AsSlice(), base.AsSlice()
		for i := range a {
			if (a[i]^b[i])&mask[i] != 0 {
				return no
			}
		}
		return yes
	}
}

func parseMasked(s string) (base netip.Addr, mask []byte, ok bool) {
	host, rest, masked := strings.Cut(s, "/")
	base, err := netip.ParseAddr(host)
	if err != nil {
		return base, nil, false
	}
	if m, err := netip.ParseAddr(rest); masked && err == nil && m.BitLen() == base.BitLen() {
		return base, m.AsSlice(), true
	}
	bits := base.BitLen()
	if masked {
		if bits, err = strconv.Atoi(rest); err != nil || bits < 0 || bits > base.BitLen() {
			return base, nil, false
		}
	}
	mask = make([]byte, base.BitLen()/8)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return base, mask, true
}

// matchDevice compares a device's name; a + at the end matches any rest.
func matchDevice(value string, of func(*packet) string) match {
	prefix, open := strings.CutSuffix(value, "+")
	return func(q *packet) tri {
		switch dev := of(q); {
		case dev == "":
			return maybe
		case open:
			return truth(strings.HasPrefix(dev, prefix))
		default:
			return truth(dev == value)
		}
	}
}

func matchProtocol(value string) match {
	numbers := map[string]uint64{
		"all": 0, "icmp": unix.IPPROTO_ICMP, "tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP,
		"ipv6-icmp": unix.IPPROTO_ICMPV6, "icmpv6": unix.IPPROTO_ICMPV6, "sctp": unix.IPPROTO_SCTP,
		"udplite": unix.IPPROTO_UDPLITE, "dccp": unix.IPPROTO_DCCP, "esp": unix.IPPROTO_ESP, "ah": unix.IPPROTO_AH,
		"gre": unix.IPPROTO_GRE, "ipencap": unix.IPPROTO_IPIP, "ipip": unix.IPPROTO_IPIP,
	}
	n, known := numbers[value]
	if !known {
		var err error
		if n, err = strconv.ParseUint(value, 10, 8); err != nil {
			return func(*packet) tri { return no } // one that has a name of its own, and is neither UDP nor TCP
		}
	}
	return func(q *packet) tri { return truth(n == 0 || n == uint64(q.Protocol)) }
}

// matchPorts compares with ports and ranges of them, such as 53,5353:5360.
func matchPorts(value string, src, dst bool) match {
	var ranges [][2]uint16
	for part := range strings.SplitSeq(value, ",") {
		low, top, ok := parsePorts(part, ":")
		if !ok {
			return unknown
		}
		ranges = append(ranges, [2]uint16{low, top})
	}
	in := func(port uint16) bool {
		for _, r := range ranges {
			if r[0] <= port && port <= r[1] {
				return true
			}
		}
		return false
	}
	return func(q *packet) tri {
		switch {
		case !q.hasPorts():
			return no
		case dst && in(q.Dst.Port()):
			return yes
		case src && !q.Src.IsValid():
			return maybe
		}
		return truth(src && in(q.source()))
	}
}

// matchMark compares with value or value/mask.
func matchMark(value string) match {
	v, m, masked := strings.Cut(value, "/")
	want, err := strconv.ParseUint(v, 0, 32)
	mask := uint64(0xffffffff)
	if masked && err == nil {
		mask, err = strconv.ParseUint(m, 0, 32)
	}
	if err != nil {
		return unknown
	}
	return func(q *packet) tri {
		if q.mark == nil {
			return maybe
		}
		return truth(uint64(*q.mark)&mask == want)
	}
}

// matchDstType compares the type of the destination.
func matchDstType(value string) match {
	guess := matchType(value, func(q *packet) netip.Addr { return q.Dst.Addr() })
	return func(q *packet) tri {
		if value == "LOCAL" && q.Local != nil {
			return truth(*q.Local)
		}
		return guess(q)
	}
}

// matchType compares an address's type. What is local to a namespace is not
// known here, but for what is so everywhere.
func matchType(value string, of func(*packet) netip.Addr) match {
	return func(q *packet) tri {
		switch addr := of(q).Unmap(); {
		case value == "MULTICAST":
			return truth(addr.IsMulticast())
		case value == "LOCAL" && addr.IsLoopback():
			return yes
		case value == "LOCAL" && addr.IsMulticast():
			return no
		}
		return maybe
	}
}
