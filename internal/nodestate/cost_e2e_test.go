//go:build e2e

package nodestate

import (
	"slices"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

// TestCost prints how long each part takes to read anew. A verdict asks for a few
// of them, and should be there within 200 ms.
func TestCost(t *testing.T) {
	s := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSA, lab.DNSB}})
	node := s.of(s.NodeA)
	t.Logf("of %d namespaces", len(s.names.All()))
	for _, part := range []struct {
		name string
		read func() error
	}{
		{"devices", func() error { _, err := node.Links(); return err }},
		{"neighbours", func() error { _, err := node.Neighbours(); return err }},
		{"a route", func() error { _, err := node.Route(diagnose.RouteQuery{Dst: dnsB.Addr()}); return err }},
		{"a sysctl", func() error { _, err := node.Sysctl("net/ipv4/ip_forward"); return err }},
		{"conntrack", func() error { _, err := node.Conntrack(); return err }},
		{"entries", func() error { _, err := node.ConntrackEntries(clientAddr); return err }},
		{"a service", func() error { _, err := node.Service(tracer.TransportUDP, lab.Service()); return err }},
		{"sockets", func() error { _, err := node.Sockets(); return err }},
		{"counters", func() error { return node.(*space).enter(func() error { _, err := readCounters(); return err }) }},
	} {
		var took []time.Duration
		for range 20 {
			s.forget()
			start := time.Now()
			if err := part.read(); err != nil {
				t.Logf("%s: %v", part.name, err)
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		t.Logf("%-10s median %6.2f ms, slowest %6.2f ms", part.name, took[10].Seconds()*1000, took[19].Seconds()*1000)
	}
}
