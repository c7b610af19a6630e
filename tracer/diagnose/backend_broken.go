package diagnose

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// Lookups of so long ago, ns, tell of how a backend or a transport is now.
const (
	backendMemory   = uint64(600e9)
	transportMemory = uint64(60e9)
)

// When a backend is said to be broken: at least four in five of its lookups
// failed, at most one in five of those that went to others, and by chance so
// uneven a split comes less than once in a thousand times (Fisher's exact test).
// Seven of seven against none of seven do, five of five against none of five don't.
const (
	mostFail = 0.8
	fewFail  = 0.2
	chance   = 0.001
)

// tally is how many lookups failed, of how many.
type tally struct{ failed, of int }

func (t *tally) add(failed bool) {
	t.of++
	if failed {
		t.failed++
	}
}

func (t tally) String() string { return fmt.Sprintf("%d/%d", t.failed, t.of) }

// backendBroken finds a service one of whose backends fails, while others work.
func backendBroken(c *Case) *tracer.Finding {
	if !c.Failed() || !c.Backend.IsValid() || c.Backend == c.Server {
		return nil
	}
	here, others, each := c.backends()
	if here.of == 0 || others.of == 0 || float64(here.failed) < mostFail*float64(here.of) ||
		float64(others.failed) > fewFail*float64(others.of) || byChance(here, others) >= chance {
		return nil
	}
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceLikely,
		Summary:    fmt.Sprintf("one of the backends of %v fails: lookups at %v fail %v, at others %v", c.Server, c.Backend, here, others),
		Evidence:   []string{fmt.Sprintf("%s of the last %d minutes", strings.ToUpper(string(c.Transport)), backendMemory/60e9)},
		Mend: []string{
			fmt.Sprintf("kubectl get pods -A -o wide | grep -w %s, to see the pod and its node; delete the pod if others serve", c.Backend.Addr()),
			fmt.Sprintf("on the node of %s: dnspath, to see how far queries to it come", c.Backend.Addr()),
		},
	}
	for backend, t := range each {
		if backend != c.Backend {
			f.Evidence = append(f.Evidence, fmt.Sprintf("at %v fail %v", backend, t))
		}
	}
	slices.Sort(f.Evidence[1:])
	return f
}

// backends counts the lookups at the backends of the service that this lookup
// asked: at its own, itself included, at all others, and at each.
func (c *Case) backends() (here, others tally, each map[netip.AddrPort]tally) {
	here.add(true)
	each = map[netip.AddrPort]tally{}
	for p := range c.history.all() {
		if p.server != c.Server || p.transport != c.Transport || p.end+backendMemory < c.End || !p.counts() {
			continue
		}
		if p.backend == c.Backend {
			here.add(p.failed())
		} else {
			others.add(p.failed())
		}
		t := each[p.backend]
		t.add(p.failed())
		each[p.backend] = t
	}
	return here, others, each
}

// counts reports whether a lookup tells of its backend at all.
func (p *past) counts() bool {
	gone := func(f tracer.Finding) bool { return f.ID == "client-gone" }
	return p.outcome != tracer.OutcomeIncomplete && !slices.ContainsFunc(p.findings, gone)
}

// byChance returns how likely it is that, of all failures, as many or more hit one
// side as did, if they hit at random: the tail of the hypergeometric distribution.
func byChance(here, others tally) (p float64) {
	total, failed := here.of+others.of, here.failed+others.failed
	for k := here.failed; k <= min(failed, here.of); k++ {
		if failed-k <= others.of {
			p += math.Exp(choose(here.of, k) + choose(others.of, failed-k) - choose(total, failed))
		}
	}
	return p
}

// choose returns the logarithm of the binomial coefficient.
func choose(n, k int) float64 {
	lg := func(n int) float64 {
		v, _ := math.Lgamma(float64(n) + 1)
		return v
	}
	return lg(n) - lg(k) - lg(n-k)
}
