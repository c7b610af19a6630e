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
}

// endpoints returns what changes the service's endpoints.
func endpoints(names ...string) func(context.Context, *Lab) error {
	return func(ctx context.Context, l *Lab) error { return l.SetEndpoints(ctx, names...) }
}
