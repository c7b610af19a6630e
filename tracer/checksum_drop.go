package tracer

import "slices"

// sumReasons are the reasons of kernels that name them for drops in a socket's
// functions, by the header whose checksum is wrong.
var sumReasons = map[string]string{"udp": "UDP_CSUM", "tcp": "TCP_CSUM"}

// blame has the packet's checksums tell why it was dropped, if the kernel does
// not (before 5.17; of datagrams that a process was about to read, 6.12 still),
// and the function is one that drops what has a wrong checksum. It looks at the
// outermost header, whose packet the tunnel's or the server's socket was given,
// and only if the kernel does not take the checksum for right anyway
// (skb_csum_unnecessary() in include/linux/skbuff.h).
func (d *Drop) blame(h *Hop) {
	at := dropLocationOf[d.Function]
	if at == nil || len(h.Sums) == 0 {
		return
	}
	if h.Checksum.Summed == summedPartial || h.Checksum.Summed == summedUnnecessary {
		return
	}
	for _, s := range h.Sums {
		reason := sumReasons[s.Header]
		if s.Depth == h.Sums[0].Depth && s.Verdict == SumBad && slices.Contains(at.reasons, reason) {
			d.accuse(reason)
		}
	}
}

// accuse says for which reason the packet was dropped, if the kernel does not.
func (d *Drop) accuse(reason string) {
	if d.Reason == "" || d.Reason == unspecified {
		d.Inferred, d.Meaning = reason, dropReasons[reason]
	}
}

// dropAt returns what is known of a drop, by the hop that it is.
func (l *Lookup) dropAt(e *Event) *Drop {
	for i := range l.Legs {
		for _, h := range slices.Backward(l.Legs[i].Hops) {
			if h.Drop != nil && h.Probe == e.Probe && h.Time == e.Time {
				return h.Drop
			}
		}
	}
	return dropOf(e)
}
