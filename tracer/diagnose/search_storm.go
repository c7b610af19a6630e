package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// stormSteps is how many search domains must have been tried in vain: as many as
// Kubernetes gives each pod.
const stormSteps = 3

// searchStorm finds a client that asks for a name with each search domain first,
// none of which has it. It is said of the first lookup, and once of each client.
func searchStorm(c *Case) *tracer.Finding {
	if c.Story == nil || c.Story.First != c.Ref() || c.Story.NXDomain+c.Story.NoData < stormSteps || c.toldOfStorm() {
		return nil
	}
	base := strings.TrimSuffix(c.Story.Name, ".")
	steps, lookups, last := c.walk(base)
	if len(steps) < stormSteps || last == nil {
		return nil
	}
	ns := c.NetNS(c.Lookup.NetNS)
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("%s asks %d times in vain for %s with search domains, before it asks for the name itself", c.who(), lookups, base),
		Evidence: []string{
			fmt.Sprintf("none of these exist: %s", strings.Join(steps, " ")),
			fmt.Sprintf("the name itself was asked for %v after the first", time.Duration(last.Start-c.Start).Round(10*time.Microsecond)),
		},
		Mend: []string{
			fmt.Sprintf("have the program ask for %s. with a dot at its end", base),
			"or a lower ndots: in the pod's dnsConfig, options: [{name: ndots, value: \"1\"}]",
			"or autopath in CoreDNS, or a cache on the node",
		},
	}
	if r, ok := read(c, ns, "resolv.conf", ns.Resolver); ok && r.NDots > strings.Count(base, ".") {
		f.Confidence = tracer.ConfidenceConfirmed
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s has ndots:%d, more dots than the name has, and search %s", r.Path, r.NDots, strings.Join(r.Search, " ")))
	}
	return f
}

// walk returns the names with search domains that do not exist, how many lookups
// were made for them, and the one for the name itself; nil if that was not made.
func (c *Case) walk(base string) (steps []string, lookups int, last *tracer.Lookup) {
	for _, l := range c.story {
		name := strings.ToLower(l.Question.Name)
		rest, within := strings.CutPrefix(name, strings.ToLower(base)+".")
		switch {
		case !within || l.Client.Addr() != c.Client.Addr() || l.Outcome != tracer.OutcomeAnswered:
		case rest == "":
			if last == nil {
				last = l
			}
		default:
			lookups++
			if !slices.Contains(steps, name) {
				steps = append(steps, name)
			}
		}
	}
	return steps, lookups, last
}

// toldOfStorm reports whether the client has been told of: all of a pod's lookups
// are as many.
func (c *Case) toldOfStorm() bool {
	for p := range c.history.all() {
		if p.client.Addr() != c.Client.Addr() {
			continue
		}
		if slices.ContainsFunc(p.findings, func(f tracer.Finding) bool { return f.ID == "search-storm" }) {
			return true
		}
	}
	return false
}

// who names the client: its pod or namespace, and its process.
func (c *Case) who() string {
	name := c.Client.Addr().String()
	if c.Lookup.NetNS != 0 {
		name = c.NetNS(c.Lookup.NetNS).Name()
	}
	if c.PID != 0 {
		name = fmt.Sprintf("%s[%d] in %s", c.Comm, c.PID, name)
	}
	return name
}
