package tracer

import "fmt"

// SumVerdict says whether a checksum is right.
type SumVerdict string

// The verdicts.
const (
	SumOK         SumVerdict = "ok"
	SumPartial    SumVerdict = "partial"     // CHECKSUM_PARTIAL: the sum of the pseudo-header, which is right; the device adds the rest
	SumPartialBad SumVerdict = "partial-bad" // the same, and wrong: what the device will make of it is wrong, too
	SumNone       SumVerdict = "none"        // UDP's zero: there is none, and none is needed
	SumBad        SumVerdict = "bad"
	SumTrusted    SumVerdict = "trusted" // the kernel takes it for right without asking; we can't tell
	SumUnknown    SumVerdict = "unknown"
)

// Wrong reports whether v says that the checksum is wrong.
func (v SumVerdict) Wrong() bool { return v == SumBad || v == SumPartialBad }

// right reports whether v says that the checksum is right so far.
func (v SumVerdict) right() bool { return v == SumOK || v == SumPartial || v == SumNone }

// HeaderSum is what is known of the checksum in one header of a packet.
type HeaderSum struct {
	Header  string // ipv4, udp, tcp
	Depth   int    // how many tunnels it is of lie between it and the lookup's own packet: 0 that packet, 1 the tunnel around it
	Verdict SumVerdict
	Field   uint16 // as it is
	Want    uint16 // as it should be; of verdicts that say it is wrong
	Why     string // of trusted and unknown, and what else there is to say
}

// sumFacts is what a packet's bytes don't tell of its checksums.
type sumFacts struct {
	kernel  Checksum
	tunnels []string // their kinds, outermost first
	len     int      // bytes of the packet, no fewer; 0 unknown
	header  string   // of the innermost: udp, tcp; "" that of an ICMP error, of whose sums no more than IP's are told
	payload int      // where the kernel found what that carries, from the outermost IP header on
	early   bool     // the IP header is yet to be filled in
	apart   bool     // a socket may have taken headers off, and what the kernel said of their sums with them
	guessed int      // bytes of the packet that were captured anew; those behind are as they were before; 0: all are new
}

// sums judges the checksums of a packet, outermost header first. The packet
// begins with its outermost IP header, and may be cut off anywhere.
//
// What a field should hold follows from skb->ip_summed (include/linux/skbuff.h,
// "Checksumming of received packets by device" and "… on transmit"). With
// CHECKSUM_PARTIAL, csum_start and csum_offset tell whose checksum is pending:
// that one holds the sum of its pseudo-header. Those around it are complete,
// computed as if it were, too (Documentation/networking/checksum-offloads.rst,
// "LCO: Local Checksum Offload"); those within it are complete.
func sums(packet []byte, f *sumFacts) []HeaderSum {
	j := &sumJudge{sumFacts: f, p: packet, layers: sumLayers(packet, f)}
	j.pending = j.findPending()
	out := make([]HeaderSum, 0, 2*len(j.layers))
	for i := range j.layers {
		l := &j.layers[i]
		if l.version == 4 {
			out = append(out, j.ipv4(l))
		}
		if l.header != "" {
			out = append(out, j.transport(i))
		}
	}
	return out
}

// sumJudge is a packet, taken apart.
type sumJudge struct {
	*sumFacts
	p       []byte
	layers  []sumLayer
	start   int // of the pending header, from the outermost IP header on
	pending int // the layer with the pending checksum; none: -1, of no layer: unfound
}

const (
	none    = -1
	unfound = -2
)

// findPending returns whose checksum is pending. csum_start counts from the
// buffer's head, and so does where the kernel found the innermost header.
func (j *sumJudge) findPending() int {
	last := &j.layers[len(j.layers)-1]
	known := last.l4 > 0 && j.header != "" // of an ICMP error, the header in what it quotes is the innermost
	if known {
		j.start = int(j.kernel.Start) - int(j.kernel.L4) + last.l4
	}
	switch {
	case j.kernel.Summed != summedPartial:
		return none
	case !known:
		return unfound
	}
	for i := range j.layers {
		if l := &j.layers[i]; l.l4 == j.start && int(j.kernel.Offset) == l.checkOff() {
			return i
		}
	}
	return unfound
}

// enum of skb->ip_summed (include/linux/skbuff.h).
const (
	summedUnnecessary = 1
	summedComplete    = 2
	summedPartial     = 3
)

// ipv4 judges the checksum of an IPv4 header, which nothing but the header goes into.
func (j *sumJudge) ipv4(l *sumLayer) HeaderSum {
	s := HeaderSum{Header: "ipv4", Depth: l.depth, Field: be16(j.p, l.ip+10), Verdict: SumUnknown}
	switch {
	case j.early:
		s.Why = "the kernel has not filled it in yet"
	case l.ipLen == 0 || l.ip+l.ipLen > len(j.p):
		s.Why = l.why
	case fold(add(0, j.p[l.ip:l.ip+l.ipLen])) == 0xffff:
		s.Verdict = SumOK
	default:
		s.Verdict = SumBad
		s.Want = ^fold(add(0, j.p[l.ip:l.ip+l.ipLen]) + uint64(^s.Field))
	}
	return s
}

// transport judges the checksum of the UDP or TCP header of a layer.
func (j *sumJudge) transport(i int) HeaderSum {
	l := &j.layers[i]
	s := HeaderSum{Header: l.header, Depth: l.depth, Verdict: SumUnknown, Why: l.why}
	if l.checkable(j.p) {
		s.Field = be16(j.p, l.l4+l.checkOff())
	}
	switch {
	case j.early && l.why != "":
		s.Why = "the kernel has not filled in the IP header yet"
	case l.why != "":
	case j.pending == i:
		j.seed(l, &s)
	case l.header == "udp" && s.Field == 0 && (l.version == 4 || l.tunnel != ""): // RFC 768; RFC 6935
		s.Verdict = SumNone
	case j.pending == unfound:
		s.Why = "a checksum is pending, of a header that was not found"
	case j.pending > i:
		j.around(l, &s)
	default:
		j.whole(l, &s)
	}
	if s.Verdict.Wrong() && j.kernel.GSOSize > 0 {
		s.Verdict, s.Why, s.Want = SumUnknown, "several packets in one (GSO): they get their checksums when they are parted", 0
	}
	return s
}

// seed judges a pending checksum.
func (j *sumJudge) seed(l *sumLayer, s *HeaderSum) {
	want := fold(l.pseudo(j.p, l.end-l.l4))
	if same(s.Field, want) || j.kernel.GSOSize > 0 && same(s.Field, fold(l.pseudo(j.p, 0))) {
		s.Verdict = SumPartial
		return
	}
	s.Verdict, s.Want = SumPartialBad, want
}

// around judges a checksum outside of a pending one: it is complete, as if that
// were. Of several packets in one it is pending too (net/ipv4/udp.c,
// udp_set_csum).
func (j *sumJudge) around(l *sumLayer, s *HeaderSum) {
	if j.kernel.GSOSize > 0 {
		j.seed(l, s)
		return
	}
	in := &j.layers[j.pending]
	if in.end == 0 {
		s.Why = "it depends on a checksum within, of which we can't tell"
		return
	}
	if in.end != l.end {
		s.Why = fmt.Sprintf("%d bytes follow the packet in it", l.end-in.end)
		return
	}
	sum := l.pseudo(j.p, l.end-l.l4)
	sum = add(sum, j.p[l.l4:in.l4]) + uint64(^be16(j.p, in.l4+in.checkOff()))
	j.compare(l, s, sum)
}

// whole judges a checksum that is complete.
func (j *sumJudge) whole(l *sumLayer, s *HeaderSum) {
	if missing := l.end - len(j.p); missing > 0 {
		if s.Why = fmt.Sprintf("%d bytes were not captured", missing); j.believed(l) {
			s.Verdict = SumTrusted
		}
		return
	}
	j.compare(l, s, add(l.pseudo(j.p, l.end-l.l4), j.p[l.l4:l.end]))
	switch {
	case s.Verdict != SumBad:
		return
	case j.guessed > 0 && j.guessed < l.end:
		s.Verdict, s.Why, s.Want = SumUnknown, "its payload was not captured again", 0
		return
	case j.apart:
		s.Verdict, s.Why, s.Want = SumUnknown, "what was pending is not known any more", 0
		return
	}
	if seed := fold(l.pseudo(j.p, l.end-l.l4)); !same(s.Field, seed) {
		if j.believed(l) {
			s.Why = "the kernel takes it for right (CHECKSUM_UNNECESSARY)"
		}
		return
	}
	switch {
	case j.believed(l): // it never left this host: net/ipv4/ip_output.c, ip_mc_finish_output
		s.Verdict, s.Why = SumTrusted, "it holds the sum of its pseudo-header alone, and the kernel takes it for right (CHECKSUM_UNNECESSARY)"
	case j.start == l.l4 && int(j.kernel.Offset) == l.checkOff(): // skb_postpull_rcsum()
		s.Verdict, s.Why = SumUnknown, "it was pending till the kernel took the header off"
	default:
		s.Why = "it holds the sum of its pseudo-header alone, and is not pending"
	}
	if s.Verdict != SumBad {
		s.Want = 0
	}
}

// compare judges a field by the sum of all that goes into it, the field included.
func (j *sumJudge) compare(l *sumLayer, s *HeaderSum, sum uint64) {
	if s.Field == 0 && l.header == "udp" {
		s.Why = "zero, which IPv6 leaves to tunnels"
	} else if fold(sum) == 0xffff {
		s.Verdict = SumOK
		return
	}
	s.Verdict = SumBad
	s.Want = ^fold(sum + uint64(^s.Field))
	if s.Want == 0 && l.header == "udp" { // RFC 768: zero says that there is none
		s.Want = 0xffff
	}
}

// believed reports whether the kernel takes the checksum of a layer for right:
// csum_level + 1 of them, those outermost, zero ones not counted.
func (j *sumJudge) believed(l *sumLayer) bool {
	if j.kernel.Summed != summedUnnecessary {
		return false
	}
	before := 0
	for i := range j.layers {
		o := &j.layers[i]
		if o == l {
			break
		}
		if o.header != "" && o.checkable(j.p) && be16(j.p, o.l4+o.checkOff()) != 0 {
			before++
		}
	}
	return before <= int(j.kernel.Level)
}

// add adds bytes, as numbers of 16 bits in network order, to a sum (RFC 1071).
func add(sum uint64, b []byte) uint64 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint64(b[0])<<8 | uint64(b[1])
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

// fold makes 16 bits of a sum, in ones' complement.
func fold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// same compares two sums: ones' complement has two zeros.
func same(a, b uint16) bool {
	return a == b || a == 0 && b == 0xffff || a == 0xffff && b == 0
}
