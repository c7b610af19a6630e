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
	{
		ID:    "masquerade-wrong-source",
		Title: "A rule of node-a gives queries a source that node-b has no route to.",
		Lab:   remote,
		Break: inTurn(inNodeB("ip route del default"), iptables(NodeA, "-t nat -I POSTROUTING -d 10.244.2.53 -p udp --dport 53 -j SNAT --to-source 198.51.100.7")),
		Mend:  iptables(NodeA, "-t nat -D POSTROUTING -d 10.244.2.53 -p udp --dport 53 -j SNAT --to-source 198.51.100.7"),
	},
	{
		ID:    "masquerade-wrong-source/route-changed",
		Title: "node-a's route to a resolver leads by another device than it did when the client's port was masqueraded.",
		Watch: []string{Client, NodeA},
		Break: inTurn(addUplinks, iptables(NodeA, "-t nat -A POSTROUTING -s 10.244.1.10 -d 203.0.113.53 -j MASQUERADE")),
		With:  changeUplink,
		Ask:   askAnycast, // the next is let through
		Mend:  func(context.Context, *Lab) error { return nil },
	},
	{
		ID:    "masquerade-wrong-source/snat-kept",
		Title: "node-a's route to a resolver leads by another device than it did when the client's port was given a source.",
		Watch: []string{Client, NodeA},
		Break: inTurn(addUplinks,
			iptables(NodeA, "-t nat -A POSTROUTING -s 10.244.1.10 -o eth0 -j SNAT --to-source 192.0.2.1"),
			iptables(NodeA, "-t nat -A POSTROUTING -s 10.244.1.10 -o eth1 -j SNAT --to-source 198.51.100.1")),
		With: changeUplink,
		Ask:  askAnycast,
		Mend: forgetUplink,
	},
}

func askFromDNSA(ctx context.Context, l *Lab, name string) error {
	return AskServer(ctx, l.DNSA, Service(), name)
}
