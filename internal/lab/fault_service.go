package lab

import "context"

// serviceFaults are those of how a service's address is translated.
var serviceFaults = []Fault{
	{
		ID:    "service-no-endpoints",
		Title: "No DNS pod is ready: kube-proxy rejects what is for their service.",
		Lab:   Config{Service: ServiceIPTables},
		Mend:  endpoints(DNSB),
	},
	{
		ID:    "service-no-endpoints/nftables",
		Title: "No DNS pod is ready: kube-proxy, in its nftables mode, rejects what is for their service.",
		Lab:   Config{Service: ServiceNFTables},
		Mend:  endpoints(DNSB),
	},
	{
		ID:    "service-no-endpoints/ipvs",
		Title: "No DNS pod is ready: their service in IPVS has no real server.",
		Lab:   Config{Service: ServiceIPVS},
		Mend:  endpoints(DNSB),
	},
	{
		ID:    "reply-not-untranslated",
		Title: "The DNS pod is on the client's own node, whose bridge does not show its packets to netfilter.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSA}},
		Mend:  callIPTables,
	},
	{
		ID:    "reply-not-untranslated/nftables",
		Title: "The same with kube-proxy in its nftables mode, over TCP.",
		Lab:   Config{Service: ServiceNFTables, Endpoints: []string{DNSA}},
		Ask:   AskServiceTCP,
		Mend:  callIPTables,
	},
	{
		ID:    "reply-not-untranslated/ipvs",
		Title: "The same with kube-proxy in its IPVS mode.",
		Lab:   Config{Service: ServiceIPVS, Endpoints: []string{DNSA}},
		Mend:  callIPTables,
	},
}

// callIPTables has the bridges of the client's node show their packets to netfilter.
func callIPTables(_ context.Context, l *Lab) error {
	return l.NodeA.SetSysctl("net.bridge.bridge-nf-call-iptables", "1")
}

// endpoints returns what changes the service's endpoints.
func endpoints(names ...string) func(context.Context, *Lab) error {
	return func(ctx context.Context, l *Lab) error { return l.SetEndpoints(ctx, names...) }
}
