package lab

import (
	"slices"
	"strings"
	"time"
)

// The kinds of lookups in a noisy run, by what their client knows.
const (
	kindAnswered = "answered"
	kindSlow     = "answered late"
	kindNX       = "NXDOMAIN"
	kindRefused  = "SERVFAIL, REFUSED"
	kindUpstream = "the same of an upstream"
	kindGone     = "client gave up"
	kindNone     = "no answer"
	kindOthers   = "a cache's own"
)

// NoiseKinds are the kinds of lookups, in the order of reports.
func NoiseKinds() []string {
	return []string{kindAnswered, kindSlow, kindNX, kindRefused, kindUpstream, kindGone, kindNone, kindOthers}
}

// Findings that may be true in a noisy run, and what else must hold of them.
const (
	findingUnexplained = "unexplained"      // says where the packet was seen last
	findingQdisc       = "qdisc-drop"       // of netem
	findingNeighbour   = "neighbour-failed" // that was late: asked again after a second, as the question was lost
)

// noiseTruth is what is known of the lookups of a noisy run beside their log.
type noiseTruth struct {
	NoiseRun
	caches bool                                   // those who are asked ask others
	lost   func(name string) bool                 // on the wire; nil: not known of each
	asks   bool                                   // so were packets by which neighbours find each other, or may have been
	still  func(from, to time.Time) time.Duration // servers and clients in that time
}

// judge compares what dnspath found with what is true.
func (n noiseTruth) judge(log []*MixedLookup, x *MixedExport) *Blame {
	b := NewBlame()
	b.Losses = x.losses
	index, plans, told := indexMixed(log), map[string]*MixedLookup{}, map[*MixedLookup]bool{}
	for _, l := range log {
		if !l.Sent.IsZero() {
			plans[l.Name] = l
			b.kind(n.kind(l)).Lookups++
			if n.stood(l) >= disturbs {
				b.Disturbed++
			}
		}
	}
	for _, r := range x.records {
		l := index[r.key()]
		switch plan := plans[r.Name]; {
		case l != nil:
			may := n.may(l, r)
			if told[l] { // sent again when the answer had come, and was not read yet
				b.Strangers++
				may = append(may, "client-gone")
			} else {
				b.kind(n.kind(l)).Told++
			}
			told[l] = true
			b.record(n.kind(l), l, r, may)
		case plan != nil:
			b.kind(kindOthers).Lookups++
			b.kind(kindOthers).Told++
			l = upstreamOf(plan, r)
			b.record(kindOthers, l, r, n.may(l, r))
		default: // of nobody's: a connection over which nothing was asked
			b.Strangers++
			l = upstreamOf(&MixedLookup{Transport: r.Transport, Sent: r.Time}, r)
			b.record(kindNone, l, r, n.may(l, r))
		}
	}
	for _, l := range log {
		if !l.Sent.IsZero() && !told[l] && !l.Doubtful {
			b.Missed++
		}
	}
	return b
}

// upstreamOf returns a cache's own lookup, as if a client had made it.
func upstreamOf(l *MixedLookup, r *mixedRecord) *MixedLookup {
	own := *l
	own.Client, own.Came = r.client, cameTimeout
	return &own
}

// kind returns what kind a lookup is of.
func (n noiseTruth) kind(l *MixedLookup) string {
	switch l.Came {
	case "NOERROR":
		if l.Plan == planSlow || l.Plan == planGone {
			return kindSlow
		}
		return kindAnswered
	case "NXDOMAIN":
		return kindNX
	case "SERVFAIL", "REFUSED":
		if n.caches {
			return kindUpstream
		}
		return kindRefused
	case cameGone:
		return kindGone
	}
	return kindNone
}

// may returns the findings that may be true of a lookup.
func (n noiseTruth) may(l *MixedLookup, r *mixedRecord) []string {
	came, lost := l.Came, n.mayLose(l)
	if n.caches && lost != nil { // so may be what a cache asked, which then tries again, or says so
		lost = append(lost, "upstream-timeout", "server-slow")
	}
	if r.Outcome == "answered" { // it came to the socket, whose owner may have lost interest
		came = r.Rcode
	}
	switch {
	case n.kind(l) == kindUpstream && came == l.Plan: // the cache refused nothing
		return nil
	case r.Outcome == "answered" && came == l.Plan && (came == "SERVFAIL" || came == "REFUSED"):
		return []string{"server-refused"}
	case r.Outcome == "answered" && came == "SERVFAIL" && n.caches:
		return lost
	case r.Outcome == "answered":
		return nil
	case n.stood(l) >= n.ToolTimeout/2: // nobody answered in dnspath's time
		return append(lost, findingUnexplained, "client-gone", "server-slow", "server-silent", "lost-beyond-node")
	case n.stood(l) >= disturbs:
		return append(lost, findingUnexplained, "client-gone", "server-slow")
	case came == cameGone:
		return append(lost, "client-gone", "server-slow")
	case n.caches && lost != nil: // when the client had its answer, dnspath had given up
		return lost
	case came == cameTimeout || came == cameReset || came == cameClosed:
		return lost
	}
	return nil // its client has an answer
}

// disturbs is for how long servers and clients must stand still during a lookup
// for it to be otherwise than planned.
const disturbs = 200 * time.Millisecond

// stood returns for how long servers and clients stood still during a lookup.
func (n noiseTruth) stood(l *MixedLookup) time.Duration {
	if n.still == nil {
		return 0
	}
	return n.still(l.Sent.Add(-disturbs), l.Sent.Add(2*n.ToolTimeout))
}

// mayLose returns the findings that may be true of a lookup as packets are lost.
func (n noiseTruth) mayLose(l *MixedLookup) (ids []string) {
	known := n.Loss == LossWire && l.Transport == "udp" && !n.caches && !strings.HasPrefix(l.Name, "big")
	switch {
	case n.Loss == LossNone:
		return nil
	case known && !n.asks && !n.lost(l.Name):
		return nil // each packet of it has its name, and would be known
	}
	ids = []string{findingUnexplained}
	if n.asks {
		ids = append(ids, findingNeighbour)
	}
	if n.Loss == LossNetem {
		ids = append(ids, findingQdisc)
	}
	if n.Loss == LossWire || n.OneNode { // netem of node-b, if nobody watches that
		ids = append(ids, "lost-beyond-node")
	}
	if strings.HasPrefix(l.Name, "big2000") { // an answer in fragments, one of which was lost
		ids = append(ids, "fragment-lost")
	}
	return ids
}

// wrongFinding says what is wrong with a finding, if anything.
func wrongFinding(f *mixedFinding, may []string) string {
	text := f.Summary + " " + strings.Join(f.Evidence, " ")
	switch {
	case !slices.Contains(may, f.ID):
		return "not the cause"
	case f.ID == findingUnexplained && !strings.Contains(text, "was seen last at"):
		return "does not say where it was seen last"
	case f.ID == findingNeighbour && !strings.Contains(text, " late "):
		return "says that the neighbour does not answer"
	case f.ID == findingQdisc && !strings.Contains(text, "netem"):
		return "does not name netem"
	}
	return ""
}
