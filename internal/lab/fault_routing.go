package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// remote is a lab whose service has one endpoint, behind the tunnel.
var remote = Config{Service: ServiceIPTables, Endpoints: []string{DNSB}, BridgeNF: true}

// routingFaults are those of routes, neighbours and devices.
func routingFaults() []Fault {
	return slices.Concat(routeFaults, sourceFaults, tunnelFaults(), neighbourFaults, forwardFaults, beyondFaults)
}

// routeFaults are those of missing and wrong routes.
var routeFaults = []Fault{
	{
		ID:    "no-route-to-endpoint",
		Title: "node-a has no route to the pods of node-b, and no default route.",
		Lab:   remote,
		Break: inNodeA("ip route del 10.244.2.0/24", "ip route del default"),
		Mend:  inNodeA("ip route add 10.244.2.53 via 10.244.2.0 dev vxlan.calico onlink"),
	},
	{
		ID:    "no-route-to-endpoint/back",
		Title: "node-b has no route back to the client's pod.",
		Lab:   remote,
		Break: inNodeB("ip route del 10.244.1.0/24", "ip route del default"),
		Mend:  inNodeB("ip route add 10.244.1.10 via 10.244.1.0 dev vxlan.calico onlink"),
	},
	forbidden("blackhole"),
	forbidden("unreachable"),
	forbidden("prohibit"),
	{
		ID:    "no-route-to-endpoint/ipv6",
		Title: "A route of node-a says that the server's IPv6 address can't be reached.",
		Lab:   remote,
		Break: inNodeA("ip -6 route add unreachable fd00:10:244:2::53"),
		Ask:   askService6,
		Mend:  inNodeA("ip -6 route del unreachable fd00:10:244:2::53"),
	},
	{
		ID:    "no-route-to-endpoint/default",
		Title: "node-a has no route to the pods of node-b: the default route takes their packets out of the tunnel.",
		Lab:   remote,
		Break: inTurn(addFabric, inNodeA("ip route del 10.244.2.0/24", "ip route replace default via 198.51.100.254")),
		Mend:  inNodeA("ip route add 10.244.2.0/24 via 10.244.2.0 dev vxlan.calico onlink"),
	},
}

// sourceFaults are those of packets whose source is refused.
var sourceFaults = []Fault{
	{
		ID:    "rp-filter-drop",
		Title: "node-b lost its route back into the tunnel, and its rp_filter is strict.",
		Lab:   remote,
		Break: inNodeB("ip route del 10.244.1.0/24", "sysctl net/ipv4/conf/vxlan.calico/rp_filter=1"),
		Mend:  inNodeB("ip route add 10.244.1.10 via 10.244.1.0 dev vxlan.calico onlink"),
	},
	{
		ID:    "rp-filter-drop/underlay",
		Title: "The tunnel's packets come to node-b by a device that its route to node-a does not lead by, and rp_filter is strict.",
		Lab:   remote,
		Break: inTurn(warm, inNodeB("ip link add away type bridge", "ip link set away up", "ip route add 192.0.2.1 dev away", "sysctl net/ipv4/conf/eth0/rp_filter=1")),
		Mend:  inNodeB("ip route del 192.0.2.1 dev away"),
	},
	{
		ID:    "martian-source",
		Title: "The client uses an address of its own node.",
		Lab:   remote,
		Break: inTurn(warm, inClient("ip addr add 192.0.2.1/32 dev eth0", "ip route replace default via 10.244.1.1 src 192.0.2.1")),
		Mend:  inClient("ip addr del 192.0.2.1/32 dev eth0", "ip route replace default via 10.244.1.1"),
	},
	{
		ID:    "martian-source/routed",
		Title: "The client uses an address of its own node, whose bridge does not ask netfilter.",
		Lab:   Config{Service: ServiceIPTables, Endpoints: []string{DNSB}},
		Break: inTurn(warm, inClient("ip addr add 192.0.2.1/32 dev eth0", "ip route replace default via 10.244.1.1 src 192.0.2.1")),
		Mend:  inClient("ip addr del 192.0.2.1/32 dev eth0", "ip route replace default via 10.244.1.1"),
	},
}

// forwardFaults are those of packets that a node should pass on.
var forwardFaults = []Fault{
	{
		ID:    "forwarding-off",
		Title: "node-a does not forward packets.",
		Lab:   remote,
		Break: inNodeA("sysctl net.ipv4.ip_forward=0"),
		Mend:  inNodeA("sysctl net.ipv4.ip_forward=1"),
	},
	{
		ID:    "forwarding-off/ipv6",
		Title: "node-b does not forward packets of IPv6.",
		Lab:   remote,
		Break: inNodeB("sysctl net.ipv6.conf.all.forwarding=0"),
		Ask:   askService6,
		Mend:  inNodeB("sysctl net.ipv6.conf.all.forwarding=1"),
	},
	{
		ID:    "ttl-expired",
		Title: "The nodes send packets for the server to each other.",
		Lab:   remote,
		Break: inTurn(inNodeA("ip route add 10.244.2.53 via 192.0.2.2 dev eth0"), inNodeB("ip route add 10.244.2.53 via 192.0.2.1 dev eth0")),
		Mend:  inNodeB("ip route del 10.244.2.53"),
	},
}

// beyondFaults are those that no node of the lab is to blame for.
var beyondFaults = []Fault{
	{
		ID:    "lost-beyond-node",
		Title: "A resolver outside of the cluster does not answer.",
		Break: addOutside,
		Ask: func(ctx context.Context, l *Lab, name string) error {
			return AskServer(ctx, l.Client, Outside(), name)
		},
	},
	{
		ID:    "lost-beyond-node/tunnel",
		Title: "What is between the nodes does not let the tunnel through.",
		Lab:   far,
		Break: loseFrom(0), Mend: loseNothing,
	},
	{
		ID:    "lost-beyond-node/reply",
		Title: "What is between the nodes does not let the tunnel through on the way back.",
		Lab:   far,
		Break: loseFrom(1), Mend: loseNothing,
	},
	{
		ID:    "lost-beyond-node/reply-tcp",
		Title: "What is between the nodes does not let the tunnel through on the way back, and the server is asked over TCP.",
		Lab:   far, Ask: AskServiceTCP,
		Break: loseFrom(1), Mend: loseNothing,
	},
	{
		ID:    "lost-beyond-node/unwatched",
		Title: "A reply does not come back from the server's node, and nobody watches the client's.",
		Lab:   far, Watch: []string{Client, NodeB, DNSB},
		Ask: func(ctx context.Context, l *Lab, name string) error { // by the address of the server: nobody sees a service's translated
			return AskServer(ctx, l.Client, netip.AddrPortFrom(l.DNSB.Addr, dnsPort), name)
		},
		Break: loseFrom(1), Mend: loseNothing,
	},
}

// far is a lab whose service has one endpoint, on another machine.
var far = Config{Service: ServiceIPTables, Endpoints: []string{DNSB}, BridgeNF: true, Relay: true}

// loseFrom has the nodes learn their neighbours, and then the wire lose all that
// one of them sends.
func loseFrom(node int) deed {
	return inTurn(warm, func(_ context.Context, l *Lab) error {
		l.Relay.LoseFrom(node, 1)
		return nil
	})
}

func loseNothing(_ context.Context, l *Lab) error {
	l.Relay.LoseNothing()
	return nil
}

// forbidden is a route of a kind that ends packets.
func forbidden(kind string) Fault {
	return Fault{
		ID:    "no-route-to-endpoint/" + kind,
		Title: "A route of node-a forbids the server's address: " + kind + ".",
		Lab:   remote,
		Break: inNodeA("ip route add " + kind + " 10.244.2.53"),
		Mend:  inNodeA("ip route del " + kind + " 10.244.2.53"),
	}
}

func askService6(ctx context.Context, l *Lab, name string) error {
	return AskServer(ctx, l.Client, Service6(), name)
}

// deed is something that is done to a lab.
type deed = func(context.Context, *Lab) error

func inClient(commands ...string) deed { return within(Client, commands) }
func inNodeA(commands ...string) deed  { return within(NodeA, commands) }
func inNodeB(commands ...string) deed  { return within(NodeB, commands) }

// within runs commands in a namespace, of ip, bridge, tc, iptables and sysctl: "ip link
// set eth0 down", "sysctl net.ipv4.ip_forward=0".
func within(name string, commands []string) deed {
	return func(ctx context.Context, l *Lab) error {
		ns := l.NS(name)
		for _, command := range commands {
			var err error
			switch words := strings.Fields(command); words[0] {
			case "ip":
				err = ns.IP(ctx, words[1:]...)
			case "bridge", "tc":
				err = ns.feed(ctx, "", words[0], words[1:]...)
			case "iptables":
				err = ns.IPTables(ctx, words[1:]...)
			case "sysctl":
				key, value, _ := strings.Cut(words[1], "=")
				err = ns.SetSysctl(key, value)
			default:
				err = fmt.Errorf("no such command: %q", command)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// warm has the nodes learn their neighbours: a node that refuses a source does not
// answer its ARP either.
func warm(ctx context.Context, l *Lab) error { return AskService(ctx, l, "warm.example.test.") }

// inTurn does one thing after the other.
func inTurn(deeds ...deed) deed {
	return func(ctx context.Context, l *Lab) error {
		for _, do := range deeds {
			if err := do(ctx, l); err != nil {
				return err
			}
		}
		return nil
	}
}
