package lab

import "context"

// hairpin is a lab whose service has one endpoint, which asks it.
var hairpin = Config{Service: ServiceIPTables, Endpoints: []string{DNSA}, BridgeNF: true}

// natFaults are those of translated sources.
var natFaults = []Fault{
	{
		ID:    "hairpin-failed",
		Title: "A DNS pod asks its own service, and the node does not masquerade what comes back to it.",
		Lab:   hairpin,
		Break: iptables(NodeA, "-t nat -I KUBE-POSTROUTING -j RETURN"),
		Ask:   askFromDNSA,
		Mend:  iptables(NodeA, "-t nat -D KUBE-POSTROUTING -j RETURN"),
	},
	{
		ID:    "hairpin-failed/port",
		Title: "A DNS pod asks its own service, and its bridge port does not send back by where a packet came.",
		Lab:   hairpin,
		Break: inNodeA("bridge link set dev veth-dns hairpin off"),
		Ask:   askFromDNSA,
		Mend:  inNodeA("bridge link set dev veth-dns hairpin on"),
	},
}

func askFromDNSA(ctx context.Context, l *Lab, name string) error {
	return AskServer(ctx, l.DNSA, Service(), name)
}
