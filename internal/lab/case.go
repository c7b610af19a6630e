package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Cases returns what went wrong at real people's, told in docs/cases.md: several
// things at once, or nothing.
func Cases() []Fault {
	return []Fault{
		{
			ID:    "case-1/route",
			Title: "Pods of one node can't resolve: that node has no route to the other node's pods.",
			Lab:   remote,
			Finds: []string{"no-route-to-endpoint"},
			Break: inTurn(addFabric, inNodeA("ip route del 10.244.2.0/24", "ip route replace default via 198.51.100.254")),
			Mend:  inNodeA("ip route add 10.244.2.0/24 via 10.244.2.0 dev vxlan.calico onlink"),
		},
		{
			ID:    "case-1/ipvs",
			Title: "Pods of one node can't resolve: the other node is reached by IP in IP, and IPVS has no entry for the service.",
			Lab:   Config{Service: ServiceIPVS, Endpoints: []string{DNSB}, BridgeNF: true, Overlay: OverlayIPIP},
			Finds: []string{"service-not-translated"},
			Break: func(_ context.Context, l *Lab) error { return l.NodeA.clearIPVS() },
			Mend:  endpoints(DNSB),
		},
		{
			ID:    "case-2",
			Title: "Two faults at once: CoreDNS has nobody to ask, and one of two replicas is on the client's own bridge, past netfilter.",
			Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSA, DNSB}},
			NoDNS: true, Answered: true,
			Finds: []string{"server-refused", "reply-not-untranslated"},
			May:   []string{"backend-broken", "search-storm"},
			Break: func(ctx context.Context, l *Lab) error {
				for _, ns := range []*NS{l.DNSA, l.DNSB} {
					if _, err := StartCoreDNS(ctx, ns, DaemonOptions{Alone: true}); err != nil {
						return err
					}
				}
				return nil
			},
			Ask: askTwelveTimes,
		},
		{
			ID:    "case-3",
			Title: "A node-local cache asks CoreDNS on the other node over TCP and VXLAN, and the tunnel's packets are masqueraded.",
			Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}, BridgeNF: true},
			NoDNS: true,
			Finds: []string{"server-silent", "tunnel-checksum"},
			Break: func(ctx context.Context, l *Lab) error {
				if _, err := StartCoreDNS(ctx, l.DNSB, DaemonOptions{}); err != nil {
					return err
				}
				if _, err := StartNodeLocal(ctx, l.NodeA, DaemonOptions{UpstreamTCP: true, NoCache: true}); err != nil {
					return err
				}
				return BreakTunnelChecksum(ctx, l)
			},
			Ask: func(ctx context.Context, l *Lab, name string) error {
				return AskServer(ctx, l.Client, netip.AddrPortFrom(NodeLocal(), dnsPort), name)
			},
			Mend: func(_ context.Context, l *Lab) error { return l.NodeA.SetTXChecksum(VXLANDev, false) },
		},
		{
			ID:    "case-4",
			Title: "The walk: pod, veth, bridge, kube-proxy, tunnel, CoreDNS, and back. Nothing is wrong.",
			Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}, BridgeNF: true},
			Finds: []string{}, Answered: true,
		},
	}
}

// askTwelveTimes asks so often that both of two endpoints are chosen, but for one
// time in two thousand. Some of the lookups fail.
func askTwelveTimes(ctx context.Context, l *Lab, name string) error {
	label, zone, _ := strings.Cut(name, ".")
	for i := range 12 {
		opts := LookupOptions{Server: Service(), Name: fmt.Sprintf("%s.%d.%s", label, i, zone), Timeout: Patience(300 * time.Millisecond)}
		if _, err := l.Client.Lookup(ctx, opts); err != nil && errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}
