package diagnose

import (
	"fmt"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// serviceNoEndpoints finds a query for a service behind which there is nobody:
// kube-proxy has a rule that rejects it, and IPVS, which finds no real server,
// answers port unreachable (ip_vs_leave in net/netfilter/ipvs/ip_vs_core.c).
func serviceNoEndpoints(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, h := range c.Drops() {
		e := c.withoutEndpoints(leg, h)
		if e == nil {
			continue
		}
		ns := c.NetNS(h.NetNS)
		f := &tracer.Finding{
			Confidence: e.confidence,
			Summary:    fmt.Sprintf("the DNS service %s has no endpoints (%s): %s refuses the query", c.Server, upper(c.Transport), ns.Name()),
			Evidence:   append(c.ruleEvidence(leg, h), e.evidence),
			Mend: []string{
				"kubectl -n kube-system get pods,endpointslices -l k8s-app=kube-dns: bring up the DNS pods, or mend their readiness probe",
			},
		}
		if told := c.rejected(leg, h); told != "" && told != byItsRule {
			f.Evidence = append(f.Evidence, ns.Name()+" answered with "+told)
		}
		return f
	}
	return nil
}

// basis is what a conclusion rests on.
type basis struct {
	confidence tracer.Confidence
	evidence   string
}

// withoutEndpoints returns what tells that a query was refused since its service
// has no endpoints; nil if nothing does.
func (c *Case) withoutEndpoints(leg *tracer.Leg, h *tracer.Hop) *basis {
	if leg.Response || !refused(h) || h.Dst != c.Server || h.Tunnel != nil {
		return nil
	}
	if by := h.Drop.By; by != nil && namesRule(by) && c.refusedByRule(h) {
		if !rejectsService(by) {
			return nil
		}
		return &basis{tracer.ConfidenceConfirmed, "the rule is kube-proxy's for a service without endpoints"}
	}
	for i := range leg.Hops {
		if o := &leg.Hops[i]; o.Probe == tracer.ProbeIPVSSchedule && o.Verdict == tracer.VerdictFailed && o.NetNS == h.NetNS {
			return &basis{tracer.ConfidenceSeen, "IPVS found no real server for it"}
		}
	}
	ns := c.NetNS(h.NetNS)
	s, ok := read(c, ns, "services", func() (*Service, error) { return ns.Service(c.Transport, c.Server) })
	if !ok || s == nil || len(s.Endpoints) > 0 || c.rejected(leg, h) == "" {
		return nil
	}
	switch {
	case s.By == "IPVS" && s.Known:
		return &basis{tracer.ConfidenceConfirmed, "its service in IPVS has no real server"}
	case s.Rejects:
		return &basis{tracer.ConfidenceConfirmed, "a rule of " + s.By + " rejects the service"}
	}
	return nil
}

// rejectsService reports whether a rule is the one by which kube-proxy rejects
// what is for a service without endpoints.
func rejectsService(by *tracer.By) bool {
	iptables := strings.Contains(by.Name, "→ KUBE-SERVICES") && strings.Contains(by.Rule, "has no endpoints")
	return iptables || strings.Contains(by.Name, "→ service-endpoints-check → reject-chain")
}
