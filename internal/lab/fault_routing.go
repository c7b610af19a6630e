package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// remote is a lab whose service has one endpoint, behind the tunnel.
var remote = Config{Service: ServiceIPTables, Endpoints: []string{DNSB}, BridgeNF: true}

// routingFaults are those of routes, neighbours and devices.
func routingFaults() []Fault {
	return slices.Concat(routeFaults)
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

func inNodeA(commands ...string) deed { return within(NodeA, commands) }
func inNodeB(commands ...string) deed { return within(NodeB, commands) }

// within runs commands in a namespace, of ip and sysctl: "ip link set eth0 down",
// "sysctl net.ipv4.ip_forward=0".
func within(name string, commands []string) deed {
	return func(ctx context.Context, l *Lab) error {
		ns := l.NS(name)
		for _, command := range commands {
			var err error
			switch words := strings.Fields(command); words[0] {
			case "ip":
				err = ns.IP(ctx, words[1:]...)
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
