package tracer

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// sumTracker judges the checksums of one packet, event by event, in order of
// time. The bytes of a packet are captured where its headers change; what the
// kernel keeps about them comes with each event.
type sumTracker struct {
	payload []byte // from the event that captured most of it: hops don't change it
	held    []byte // the packet as it was captured last, its payload added
	guessed int    // of held, bytes that were captured; 0: all
	of      *Event // that captured held
	last    []HeaderSum
	lastOf  *Event        // whose they are
	since   [][]HeaderSum // what was said of events after that capture
}

// newSumTracker returns a tracker for the packet of these events.
func newSumTracker(events []*Event) *sumTracker {
	t := &sumTracker{}
	for _, e := range events {
		if p := e.payload(); len(p) > len(t.payload) {
			t.payload = p
		}
	}
	return t
}

// payload returns what was captured of the payload of a whole packet.
func (e *Event) payload() []byte {
	if e.Fragment || e.Quote != nil || len(e.Captured) <= int(e.DNSOffset) {
		return nil
	}
	return e.Captured[e.DNSOffset:]
}

// judge returns what is known of the checksums after e, outermost first; nil if
// the packet's bytes were not captured. Later events may show that less is known.
func (t *sumTracker) judge(e *Event) []HeaderSum {
	if e.Captured != nil {
		if t.isAltered(e) {
			t.takeBack()
		}
		t.since = nil
		return t.said(e)
	}
	if t.since == nil { // those of the capture itself stand
		t.last = slices.Clone(t.last)
	}
	said := t.said(e)
	if n := len(t.since); len(said) > 0 && (n == 0 || &t.since[n-1][0] != &said[0]) {
		t.since = append(t.since, said)
	}
	return said
}

// isAltered reports whether e captured another payload than was held: something
// has written over it since then. The kernel program captures a packet again if
// its headers change, not for its payload alone.
func (t *sumTracker) isAltered(e *Event) bool {
	if t.of == nil {
		return false
	}
	was, is := t.of.payload(), e.payload()
	n := min(len(was), len(is))
	return !bytes.Equal(was[:n], is[:n])
}

// takeBack takes back what rests on a payload that was another by then, perhaps.
func (t *sumTracker) takeBack() {
	for _, said := range t.since {
		for i, s := range said {
			if s.Header != "ipv4" && (s.Verdict == SumOK || s.Verdict == SumBad) {
				said[i] = s.unknown("its payload was written over about here")
			}
		}
	}
}

// said is judge without regard to what events after e may show.
func (t *sumTracker) said(e *Event) []HeaderSum {
	switch {
	case e.Captured != nil:
		t.hold(e)
	case t.of == nil:
		return nil
	case e.Step || e.Probe == ProbeSkDataReady: // they tell of no headers
		return t.last
	case !t.isHeld(e):
		return t.doubt("its headers were not captured again")
	case takenApart[e.Probe]:
		return t.last
	case t.lastOf != nil && e.Checksum.alike(t.lastOf.Checksum) && sameHopLimits(e, t.lastOf) && !t.doubtsNext(e):
		return t.last // it would come out the same
	}
	t.last, t.lastOf = sums(t.held, t.facts(e)), e
	t.doubtIPv4(e)
	return t.last
}

// alike reports whether the kernel says the same of the checksums of a packet that
// lies elsewhere in its buffer now.
func (c Checksum) alike(d Checksum) bool {
	c.Start, c.L4 = c.Start-c.L4, 0
	d.Start, d.L4 = d.Start-d.L4, 0
	return c == d
}

// doubtsNext reports whether doubtIPv4 may say of e what it did not of the event
// before, that captured the packet.
func (t *sumTracker) doubtsNext(e *Event) bool {
	return t.lastOf.Captured != nil && (isEarly(t.of) || e.Tunnel != nil && e.Tunnel.In != nil)
}

// doubtIPv4 takes back what follows from IPv4 headers that are not as they were
// captured. The kernel program captures a packet again if its addresses change,
// not for its hop limit alone.
func (t *sumTracker) doubtIPv4(e *Event) {
	for i := range t.last {
		s, why := &t.last[i], ""
		switch {
		case s.Header != "ipv4" || e.Captured != nil:
		case isEarly(t.of):
			why = "it was captured before the kernel had filled it in"
		case s.Depth == 0 && e.TTL != t.of.TTL, s.Depth == 1 && e.Tunnel.TTL != t.of.Tunnel.TTL:
			why = "its hop limit has changed since it was captured"
		case s.Depth > 1: // whose hop limit events don't tell
			why = "it was not captured again"
		}
		if why != "" {
			*s = s.unknown(why)
		}
	}
}

// unknown returns that nothing is known of the header's checksum.
func (s HeaderSum) unknown(why string) HeaderSum {
	return HeaderSum{Header: s.Header, Depth: s.Depth, Verdict: SumUnknown, Why: why}
}

// isEarly reports whether e saw the packet before the kernel had filled in its
// IP header (net/ipv4/ip_output.c, __ip_local_out; net/ipv6/output_core.c).
func isEarly(e *Event) bool { return e.Probe == ProbeIPSendSkb || e.Probe == ProbeIP6SendSkb }

// takenApart are the probes where sockets may have taken headers off, or freed
// the packet: what the kernel keeps about checksums does not tell of them any
// more (net/ipv4/udp.c, udp_csum_pull_header). The bytes are as they were.
var takenApart = map[Probe]bool{
	ProbeSkDataReady: true, ProbeRead: true, ProbeUDPFail: true, ProbeRcvqueueFull: true, ProbeUDPEnqueue: true,
	ProbeUDPConsume: true, ProbeTCPBadCsum: true, ProbeKfreeSkb: true, ProbeConsumeSkb: true, ProbeICMPSend: true,
}

// hold takes in a capture, and adds what it lacks of the payload.
func (t *sumTracker) hold(e *Event) {
	t.of, t.held, t.guessed = e, e.Captured, 0
	if isEarly(e) && e.Tunnel == nil {
		t.held = withLength(e)
	}
	has := len(e.Captured) - int(e.DNSOffset)
	if e.Fragment || e.Quote != nil || has < 0 || has >= min(int(e.DNSLen), len(t.payload)) {
		return
	}
	t.guessed = len(e.Captured)
	t.held = append(slices.Clip(t.held), t.payload[has:min(int(e.DNSLen), len(t.payload))]...)
}

// withLength returns the packet that e captured, with the length that the kernel
// fills in after that.
func withLength(e *Event) []byte {
	p, n := slices.Clone(e.Captured), int(e.DNSOffset)+int(e.DNSLen)
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		binary.BigEndian.PutUint16(p[2:], uint16(n))
	case len(p) >= 40 && p[0]>>4 == 6:
		binary.BigEndian.PutUint16(p[4:], uint16(n-40))
	}
	return p
}

// isHeld reports whether e has the headers that are held, as far as it tells:
// events that were lost, or came late, could have told of others.
func (t *sumTracker) isHeld(e *Event) bool {
	o := t.of
	return e.Src == o.Src && e.Dst == o.Dst && e.IPID == o.IPID && e.DNSLen == o.DNSLen &&
		e.Fragment == o.Fragment && e.FragOffset == o.FragOffset &&
		e.Checksum.Field == o.Checksum.Field && e.Checksum.Outer == o.Checksum.Outer && sameTunnel(e.Tunnel, o.Tunnel)
}

func sameTunnel(a, b *Tunnel) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Kind == b.Kind && a.VNI == b.VNI && a.Src == b.Src && a.Dst == b.Dst && sameTunnel(a.In, b.In)
}

// facts returns what e says besides the bytes.
func (t *sumTracker) facts(e *Event) *sumFacts {
	f := &sumFacts{
		kernel: e.Checksum, header: "udp", payload: int(t.of.DNSOffset), guessed: t.guessed,
		apart: takenApart[e.Probe], early: isEarly(e),
	}
	if layer := rows[e.Probe].Layer; layer == "device" || layer == "netfilter" {
		f.len = int(e.Len) // elsewhere the IP header may be off already
	}
	switch {
	case e.Quote != nil:
		f.header = ""
	case e.TCP != nil:
		f.header = "tcp"
	}
	for tun := e.Tunnel; tun != nil; tun = tun.In {
		f.tunnels = append([]string{tun.Kind}, f.tunnels...)
	}
	return f
}

// doubt returns the verdicts taken back.
func (t *sumTracker) doubt(why string) []HeaderSum {
	out := make([]HeaderSum, len(t.last)) // hops have the others
	for i, s := range t.last {
		out[i] = s.unknown(why)
	}
	t.last, t.lastOf = out, nil
	return out
}

func sameHopLimits(a, b *Event) bool {
	return a.TTL == b.TTL && (a.Tunnel == nil || b.Tunnel == nil || a.Tunnel.TTL == b.Tunnel.TTL)
}

// SumBreak is a checksum that is wrong at a hop, and was not at those before, or
// was not seen there.
type SumBreak struct {
	HeaderSum
	Was   SumVerdict // what it was last; "" not known
	WasAt *Hop       // where; nil if Was is ""

	// The address that was rewritten between there and here, of the header's packet.
	From, To netip.AddrPort
}

// sumKey finds a header on a packet's way.
type sumKey struct {
	header string
	depth  int
}

// markBreaks finds the hops where checksums became wrong.
func markBreaks(hops []Hop) {
	if !anyWrong(hops) {
		return
	}
	was := map[sumKey]*Hop{}   // where it was right last; nil nowhere
	wrong := map[sumKey]bool{} // since then
	for i := range hops {
		h := &hops[i]
		if len(h.Sums) == 0 {
			continue
		}
		for key := range wrong {
			if h.sum(key) == nil { // of a tunnel that has ended
				delete(was, key)
				delete(wrong, key)
			}
		}
		for _, s := range h.Sums {
			key := sumKey{s.Header, s.Depth}
			switch {
			case s.Verdict.right():
				was[key], wrong[key] = h, false
			case s.Verdict.Wrong() && !wrong[key]:
				b := SumBreak{HeaderSum: s}
				b.WasAt = was[key]
				if b.WasAt != nil {
					b.Was = b.WasAt.sum(key).Verdict
					b.From, b.To = rewritten(b.WasAt.flowAt(s.Depth), h.flowAt(s.Depth))
				}
				h.Breaks = append(h.Breaks, b)
				wrong[key] = true
			}
		}
	}
}

// anyWrong reports whether a checksum is wrong at any hop.
func anyWrong(hops []Hop) bool {
	for i := range hops {
		if slices.ContainsFunc(hops[i].Sums, func(s HeaderSum) bool { return s.Verdict.Wrong() }) {
			return true
		}
	}
	return false
}

// flowAt returns the addresses of the packet within which so many tunnels are.
func (h *Hop) flowAt(depth int) Flow {
	f := Flow{h.Src, h.Dst}
	for t := h.Tunnel; t != nil && depth > 0; t, depth = t.In, depth-1 {
		f = Flow{t.Src, t.Dst}
	}
	return f
}

// rewritten returns the address that differs between two flows, the source if
// both do, and what it became.
func rewritten(was, is Flow) (from, to netip.AddrPort) {
	switch {
	case was.Src != is.Src:
		return was.Src, is.Src
	case was.Dst != is.Dst:
		return was.Dst, is.Dst
	}
	return from, to
}

// sum returns what is known of a header's checksum, or nil.
func (h *Hop) sum(key sumKey) *HeaderSum {
	for i := range h.Sums {
		if s := &h.Sums[i]; s.Header == key.header && s.Depth == key.depth {
			return s
		}
	}
	return nil
}
