package lab

import (
	"fmt"
	"time"
)

// fdbOfB is node-a's forwarding entry for node-b.
const fdbOfB = "02:00:00:00:20:02 dev vxlan.calico dst 192.0.2.2"

// impatient has a namespace ask for neighbours on a device once, and fast: else it
// takes three seconds until one counts as silent.
func impatient(name, dev string) deed {
	var commands []string
	for _, family := range []string{"ipv4", "ipv6"} {
		path := "sysctl net/" + family + "/neigh/" + dev + "/"
		wait := fmt.Sprint("retrans_time_ms=", Patience(50*time.Millisecond).Milliseconds())
		commands = append(commands, path+"mcast_solicit=1", path+"ucast_solicit=1", path+wait)
	}
	return within(name, commands)
}

// tunnelFaults are those of tunnels whose ends don't fit.
func tunnelFaults() []Fault {
	const accept = "iptables -I INPUT -p udp --dport 4789 -s 192.0.2.1 -j ACCEPT"
	return []Fault{
		{
			ID:    "tunnel-wrong-device",
			Title: "node-a's tunnel is bound to another of its addresses, which node-b's firewall does not know.",
			Lab:   remote,
			Break: inTurn(
				inNodeA(append([]string{"ip addr add 192.0.2.101/24 dev eth0"}, anotherTunnel(NodeA, 4096, 4789, "192.0.2.101")...)...),
				inNodeB("bridge fdb append 02:00:00:00:20:01 dev vxlan.calico dst 192.0.2.1", "iptables -A INPUT -p udp --dport 4789 -j DROP", accept),
			),
			Mend: inNodeA(anotherTunnel(NodeA, 4096, 4789, "192.0.2.1")...),
		},
		{
			ID:    "tunnel-mismatch",
			Title: "The tunnel of node-b has another VNI.",
			Lab:   remote,
			Break: inNodeB(anotherTunnel(NodeB, 4097, 4789, "192.0.2.2")...),
			Mend:  inNodeB(anotherTunnel(NodeB, 4096, 4789, "192.0.2.2")...),
		},
		{
			ID:    "tunnel-mismatch/port",
			Title: "The tunnel of node-b is on another UDP port.",
			Lab:   remote,
			Break: inNodeB(anotherTunnel(NodeB, 4096, 8472, "192.0.2.2")...),
			Mend:  inNodeB(anotherTunnel(NodeB, 4096, 4789, "192.0.2.2")...),
		},
		{
			ID:    "tunnel-mismatch/none",
			Title: "node-b has no tunnel.",
			Lab:   remote,
			Break: inNodeB("ip link del vxlan.calico"),
			Mend:  inNodeB(anotherTunnel(NodeB, 4096, 4789, "192.0.2.2")[1:]...),
		},
		{
			ID:    "tunnel-mismatch/down",
			Title: "The tunnel's device of node-b is down.",
			Lab:   remote,
			Break: inNodeB("ip link set vxlan.calico down"),
			Mend:  inNodeB("ip link set vxlan.calico up", "ip neigh replace 10.244.1.0 lladdr 02:00:00:00:20:01 dev vxlan.calico nud permanent", "ip route add 10.244.1.0/24 via 10.244.1.0 dev vxlan.calico onlink"),
		},
		{
			ID:    "tunnel-mismatch/ipip",
			Title: "The IPIP tunnel's device of node-b is down.",
			Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}, BridgeNF: true, Overlay: OverlayIPIP},
			Break: inNodeB("ip link set tunl0 down"),
			Mend:  inNodeB("ip link set tunl0 up", "ip route add 10.244.1.0/24 via 192.0.2.1 dev tunl0 onlink"),
		},
		{
			ID:    "tunnel-peer-unknown",
			Title: "node-a's tunnel does not know which node has the other end.",
			Lab:   remote,
			Break: inNodeA("bridge fdb del " + fdbOfB),
			Mend:  inNodeA("bridge fdb append " + fdbOfB),
		},
	}
}

// anotherTunnel makes the tunnel's device of a node anew.
func anotherTunnel(node string, vni, port int, local string) []string {
	own, other := 1, 2
	if node == NodeB {
		own, other = 2, 1
	}
	return []string{
		"ip link del vxlan.calico",
		fmt.Sprintf("ip link add vxlan.calico address 02:00:00:00:20:%02d mtu 1450 type vxlan id %d local %s dstport %d dev eth0 nolearning", own, vni, local, port),
		fmt.Sprintf("ip addr add 10.244.%d.0/32 dev vxlan.calico", own),
		"ip link set vxlan.calico up",
		fmt.Sprintf("ip neigh replace 10.244.%d.0 lladdr 02:00:00:00:20:%02d dev vxlan.calico nud permanent", other, other),
		fmt.Sprintf("bridge fdb append 02:00:00:00:20:%02d dev vxlan.calico dst 192.0.2.%d", other, other),
		fmt.Sprintf("ip route add 10.244.%d.0/24 via 10.244.%d.0 dev vxlan.calico onlink", other, other),
	}
}

// neighbourFaults are those of next hops that don't answer.
var neighbourFaults = []Fault{
	{
		ID:    "neighbour-failed",
		Title: "node-a has no neighbour entry for the other end of its tunnel.",
		Lab:   remote,
		Break: inTurn(impatient(NodeA, VXLANDev), inNodeA("ip neigh del 10.244.2.0 dev vxlan.calico")),
		Mend:  inNodeA("ip neigh replace 10.244.2.0 lladdr 02:00:00:00:20:02 dev vxlan.calico nud permanent"),
	},
	{
		ID:    "neighbour-failed/pod",
		Title: "The server's pod is gone: nobody has its address.",
		Lab:   remote,
		Break: inTurn(impatient(NodeB, BridgeDev), within(DNSB, []string{"ip addr del 10.244.2.53/24 dev eth0"})),
		Mend:  within(DNSB, []string{"ip addr add 10.244.2.53/24 dev eth0", "ip route add default via 10.244.2.1"}),
	},
	{
		ID:    "device-down",
		Title: "The node's end of the server's veth pair is down.",
		Lab:   remote,
		Break: inTurn(impatient(NodeB, BridgeDev), inNodeB("ip link set veth-dns down")),
		Mend:  inNodeB("ip link set veth-dns up"),
	},
	{
		ID:    "device-down/pod",
		Title: "The server's own device is down.",
		Lab:   remote,
		Break: inTurn(impatient(NodeB, BridgeDev), within(DNSB, []string{"ip link set eth0 down"})),
		Mend:  within(DNSB, []string{"ip link set eth0 up", "ip route add default via 10.244.2.1"}),
	},
	{
		ID:    "device-down/known",
		Title: "The node's end of the server's veth pair goes down, and its address is known still.",
		Lab:   remote,
		Break: inTurn(warm, inNodeB("ip link set veth-dns down")),
		Mend:  inNodeB("ip link set veth-dns up"),
	},
	{
		ID:    "wrong-mac",
		Title: "node-b has a wrong hardware address for the server's pod.",
		Lab:   remote,
		Break: inNodeB("ip neigh replace 10.244.2.53 lladdr 02:00:00:00:99:99 dev cni0 nud permanent"),
		Mend:  inNodeB("ip neigh del 10.244.2.53 dev cni0"),
	},
	{
		ID:    "wrong-mac/tunnel",
		Title: "node-a has a wrong hardware address for the other end of its tunnel.",
		Lab:   remote,
		Break: inNodeA("ip neigh replace 10.244.2.0 lladdr 02:00:00:00:99:99 dev vxlan.calico nud permanent", "bridge fdb append 02:00:00:00:99:99 dev vxlan.calico dst 192.0.2.2"),
		Mend:  inNodeA("ip neigh replace 10.244.2.0 lladdr 02:00:00:00:20:02 dev vxlan.calico nud permanent"),
	},
	{
		ID:    "ipv6-off",
		Title: "IPv6 is off on the tunnel's device of node-b.",
		Lab:   remote,
		Break: inNodeB("sysctl net/ipv6/conf/vxlan.calico/disable_ipv6=1"),
		Ask:   askService6,
		Mend: inNodeB("sysctl net/ipv6/conf/vxlan.calico/disable_ipv6=0", "ip -6 neigh replace fd00:10:244:1::255 lladdr 02:00:00:00:20:01 dev vxlan.calico nud permanent",
			"ip addr add fd00:10:244:2::255/128 dev vxlan.calico nodad", "ip -6 route add fd00:10:244:1::/64 via fd00:10:244:1::255 dev vxlan.calico onlink"),
	},
	{
		ID:    "ipv6-off/pod",
		Title: "IPv6 is off in the server's pod.",
		Lab:   remote,
		Break: inTurn(impatient(NodeB, BridgeDev), within(DNSB, []string{"sysctl net.ipv6.conf.eth0.disable_ipv6=1"})),
		Ask:   askService6,
		Mend:  within(DNSB, []string{"sysctl net.ipv6.conf.eth0.disable_ipv6=0", "ip addr add fd00:10:244:2::53/64 dev eth0 nodad", "ip -6 route replace default via fd00:10:244:2::1"}),
	},
}
