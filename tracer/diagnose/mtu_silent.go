package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// crossing is how a packet of a reply left a namespace: by which device, for whom,
// and whether it was seen to come anywhere.
type crossing struct {
	netns uint32
	dev   string
	to    netip.Addr // of the outermost header
	size  uint32     // as the driver got it; see frameHeader
	came  bool
}

// crossingsOf returns those of the packets that carried a lookup's reply, the
// largest of each way.
func crossingsOf(l *tracer.Lookup) (all []crossing) {
	for i := range l.Legs {
		leg := &l.Legs[i]
		if !leg.Response || !leg.IsMessage() || isGSO(leg) { // how long its parts are is not known
			continue
		}
		for j := range leg.Hops {
			h := &leg.Hops[j]
			last := j == len(leg.Hops)-1
			if h.Name != "tx" || h.Queued || !last && leg.Hops[j+1].NetNS == h.NetNS {
				continue
			}
			all = addCrossing(all, crossingAt(h, !last))
		}
	}
	return all
}

func crossingAt(h *tracer.Hop, came bool) crossing {
	_, to := outerAddrs(h)
	return crossing{netns: h.NetNS, dev: h.Dev, to: to, size: h.Len, came: came}
}

// addCrossing adds a crossing, if none of its way and fate is as large.
func addCrossing(all []crossing, x crossing) []crossing {
	i := slices.IndexFunc(all, func(o crossing) bool { return o.sameWay(x) && o.came == x.came })
	if i < 0 {
		return append(all, x)
	}
	all[i].size = max(all[i].size, x.size)
	return all
}

func (x crossing) sameWay(o crossing) bool {
	return x.netns == o.netns && x.dev == o.dev && x.to == o.to
}

// passages are the packets of replies that went one way, by size.
type passages struct {
	header     uint32
	came, lost int
	most       uint32   // bytes, of the largest that came
	least      uint32   // of the smallest that was lost
	alive      bool     // some came between two that were lost
	lostOnes   []string // the newest of them
}

// enoughSizes is how many packets must have come, and how many not, for their size
// to be why.
const enoughSizes = 3

// The sizes that each way takes (RFC 791 section 3.1, RFC 8200 section 5), bytes:
// what is lost though it is smaller is not lost for its size.
const (
	everyWay4 = 576
	everyWay6 = 1280
)

// silentlyTooBig finds replies that are lost beyond the server's node if they are
// big, and not if they are small: something there takes less than the nodes know,
// and tells nobody.
func silentlyTooBig(c *Case) *tracer.Finding {
	if c.Outcome != tracer.OutcomeLost {
		return nil
	}
	leg, out := c.departed()
	if out == nil || !leg.Response || !leg.IsMessage() {
		return nil
	}
	x := crossingAt(out, false)
	mine := slices.DeleteFunc(crossingsOf(c.Lookup), func(o crossing) bool { return o.came || !o.sameWay(x) })
	if len(mine) == 0 {
		return nil
	}
	every := uint32(everyWay4)
	if x.to.Unmap().Is6() {
		every = everyWay6
	}
	p := c.passages(mine[0], frameHeader(c.device(c.NetNS(out.NetNS), out.Dev), out))
	if p.came < enoughSizes || p.lost < enoughSizes || p.least <= p.most || p.least <= every || !p.alive {
		return nil
	}
	return c.explainSilent(leg, out, p)
}

// passages returns how the packets of replies fared that went as one did that was
// lost: it, and those of lookups before. Their sizes are without the frame's header.
func (c *Case) passages(x crossing, header uint32) *passages {
	p := &passages{header: header}
	p.add(x, c.Question.Name)
	came := false // since an older one was lost
	for o := range c.history.all() {
		if o.end+backendMemory < c.End {
			continue
		}
		for _, y := range o.crossings {
			if !y.sameWay(x) {
				continue
			}
			p.add(y, o.name)
			p.alive = p.alive || came && !y.came
			came = came || y.came
		}
	}
	return p
}

func (p *passages) add(x crossing, name string) {
	x.size -= min(x.size, p.header)
	if x.came {
		p.came++
		p.most = max(p.most, x.size)
		return
	}
	p.lost++
	if p.lost == 1 || x.size < p.least {
		p.least = x.size
	}
	if len(p.lostOnes) < maxSizes {
		p.lostOnes = append(p.lostOnes, fmt.Sprintf("%d (%s)", x.size, name))
	}
}

// maxSizes bounds how many sizes the evidence lists.
const maxSizes = 4

func (c *Case) explainSilent(leg *tracer.Leg, out *tracer.Hop, p *passages) *tracer.Finding {
	ns := c.NetNS(out.NetNS)
	peer := crossingAt(out, false).to
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceLikely,
		Summary: fmt.Sprintf("between %s of %s and %v big packets get lost, and nobody is told: replies in packets of up to %d bytes arrive, of %d and more they do not",
			out.Dev, ns.Name(), peer, p.most, p.least),
		Evidence: []string{
			fmt.Sprintf("of the last %d minutes' replies there, %d in packets of up to %d bytes came, also after others were lost", backendMemory/60e9, p.came, p.most),
			fmt.Sprintf("%d did not, of %d bytes and more: %s", p.lost, p.least, strings.Join(p.lostOnes, ", ")),
			fmt.Sprintf("the %s left %s of %s: %s; no drop and no ICMP error was seen", legName(leg), out.Dev, ns.Name(), onTheWire(out)),
		},
	}
	if line := c.mtus(leg, out, &strait{}); line != "" {
		f.Evidence = append(f.Evidence, line)
	}
	if came := c.cameIn(out); came != nil {
		if query := c.legOf(came); query != nil {
			if line := c.mtus(query, came, &strait{}); line != "" {
				f.Evidence = append(f.Evidence, strings.Replace(line, "on its way", "on the query's way", 1))
			}
		}
	}
	f.Mend = c.silentMend(ns, out, peer, p)
	return f
}

// silentMend says how to find what the way takes, and what to do about it.
func (c *Case) silentMend(ns NetNS, out *tracer.Hop, peer netip.Addr, p *passages) (mend []string) {
	const pingHeaders4, pingHeaders6 = 28, 48 // of IP and ICMP
	headers := pingHeaders4
	if peer.Unmap().Is6() {
		headers = pingHeaders6
	}
	mend = append(mend, inNS(ns, fmt.Sprintf("ping -c 1 -M do -s %d %v, with sizes from %d to %d, to find what the way takes: the size and %d", int(p.least)-headers, peer, int(p.most)-headers, int(p.least)-headers, headers)))
	less, passes := "", ""
	if p.most > everyWay4 {
		passes = fmt.Sprintf(" (%d pass)", p.most)
	}
	if t := outermost(out.Tunnel); t != nil && out.Tunnel.In == nil {
		less = fmt.Sprintf(" less %d, which the tunnel adds", outerBytes(t))
	}
	mend = append(mend, fmt.Sprintf("give tunnel and pods an MTU of what it takes%s%s, on all nodes (the CNI's MTU)", passes, less))
	if c.Transport == tracer.TransportUDP {
		mend = append(mend, smallAnswers)
	}
	return mend
}

// legOf returns the leg that a hop is of.
func (c *Case) legOf(h *tracer.Hop) *tracer.Leg {
	for leg, other := range c.Hops() {
		if other == h {
			return leg
		}
	}
	return nil
}
