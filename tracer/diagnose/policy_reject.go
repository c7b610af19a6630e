package diagnose

import "github.com/dnspath/dnspath/tracer"

// policyReject finds a rule of a firewall that refused a packet, and told its
// sender so. A service without endpoints is refused alike, and is another cause.
func policyReject(c *Case) *tracer.Finding {
	for leg, h := range c.Drops() {
		if !c.policyRefused(h) || c.droppedInvalid(leg, h) || c.withoutEndpoints(leg, h) != nil {
			continue
		}
		told := c.rejected(leg, h)
		if told == "" {
			continue
		}
		f := c.policy(leg, h, "rejects")
		if told != byItsRule {
			f.Evidence = append(f.Evidence, c.NetNS(h.NetNS).Name()+" answered with "+told)
		}
		return f
	}
	return nil
}
