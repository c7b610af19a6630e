package lab

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// sizeFaults are those of answers that are too big for their way.
func sizeFaults() []Fault {
	return []Fault{
		{
			ID:    "mtu-too-big",
			Title: "The tunnel of the server's node takes smaller packets than its pods send.",
			Lab:   remote,
			Break: inNodeB("ip link set vxlan.calico mtu 1280"),
			Ask:   askLarge,
			Mend:  inTurn(inNodeB("ip link set vxlan.calico mtu 1450"), inDNSB("ip route flush cache")),
		},
		{
			ID:    "mtu-too-big/icmp-lost",
			Title: "The tunnel takes smaller packets than pods send, and a firewall drops what tells them so.",
			Lab:   remote,
			Break: inTurn(inNodeB("ip link set vxlan.calico mtu 1280"), func(ctx context.Context, l *Lab) error {
				return l.NodeB.IPTables(ctx, "-A", "OUTPUT", "-p", "icmp", "--icmp-type", "fragmentation-needed", "-j", "DROP")
			}),
			Ask:  askLarge,
			Mend: inDNSB("ip link set eth0 mtu 1280"),
		},
		{
			ID:    "mtu-too-big/ipv6",
			Title: "The tunnel takes smaller packets of IPv6 than pods send.",
			Lab:   remote,
			Break: inNodeB("ip link set vxlan.calico mtu 1280"),
			Ask:   askBig6,
			Mend:  inTurn(inNodeB("ip link set vxlan.calico mtu 1450"), inDNSB("ip -6 route flush cache")),
		},
		{
			ID:    "mtu-too-big/tunnel",
			Title: "The wire takes smaller packets than the tunnel makes, which must not be fragmented.",
			Lab:   remote,
			Break: inTurn(inNodeA("ip link set eth0 mtu 1400"), inNodeB("ip link set eth0 mtu 1400", "ip link set vxlan.calico type vxlan df set")),
			Ask:   askLarge,
			Mend:  inTurn(inNodeB("ip link set vxlan.calico mtu 1350", "ip route flush cache"), inDNSB("ip link set eth0 mtu 1350", "ip route flush cache")),
		},
		{
			ID:    "mtu-too-big/peer",
			Title: "The wire takes smaller packets at the other end.",
			Lab:   remote,
			Break: inNodeA("ip link set eth0 mtu 1300"),
			Ask:   askLarge,
			Mend:  inNodeA("ip link set eth0 mtu 1500"),
		},
		silentLoss("mtu-too-big/silent", "What is between the nodes takes smaller packets than they think, and tells nobody.", false),
		silentLoss("mtu-too-big/silent-tcp", "What is between the nodes takes smaller packets than they think, and tells nobody; the server is asked over TCP.", true),
		{
			ID:    "fragment-lost",
			Title: "A firewall on another node drops fragments that have no ports.",
			Watch: []string{Client, NodeA},
			Break: func(ctx context.Context, l *Lab) error { // before conntrack, if any, puts them together
				return l.NodeB.NFT(ctx, "table inet fence { chain fence { type filter hook prerouting priority -450; ip frag-off & 0x1fff == 178 drop; }\n}")
			},
			Ask: func(ctx context.Context, l *Lab, name string) error {
				_, err := l.Client.Lookup(ctx, LookupOptions{
					Server: netip.AddrPortFrom(l.DNSB.Addr, dnsPort), Name: "big3000." + name, Type: dns.TypeTXT, EDNSSize: 4096, Timeout: Patience(500 * time.Millisecond),
				})
				return err
			},
			Mend: func(ctx context.Context, l *Lab) error { return l.NodeB.NFT(ctx, "delete table inet fence") },
		},
	}
}

func inDNSB(commands ...string) deed { return within(DNSB, commands) }

// askLarge asks the service for an answer of more than 1300 bytes over UDP. What is
// asked for lies within the name that is given.
func askLarge(ctx context.Context, l *Lab, name string) error {
	return askOnce(ctx, l.Client, LookupOptions{Server: Service(), Name: "big1300." + name, Type: dns.TypeTXT, EDNSSize: 4096})
}

// silentLoss is a wire that loses what is too big for it.
func silentLoss(id, title string, tcp bool) Fault {
	return Fault{
		ID: id, Title: title, Lab: far,
		Break: func(_ context.Context, l *Lab) error {
			l.Relay.LoseFrom(1, 1350)
			return nil
		},
		Ask:  askSizes(tcp),
		Mend: inTurn(inNodeA(smallTunnel), inNodeB(smallTunnel), inDNSB("ip link set eth0 mtu 1280")),
	}
}

// smallTunnel leaves the tunnel's packets so small that they pass everywhere here.
const smallTunnel = "ip link set vxlan.calico mtu 1280"

// askSizes asks for small answers and large ones by turns, and at last for one of
// more than 1300 bytes within the name.
func askSizes(tcp bool) func(context.Context, *Lab, string) error {
	return func(ctx context.Context, l *Lab, name string) error {
		opts := LookupOptions{Server: Service(), Type: dns.TypeTXT, EDNSSize: 4096, TCP: tcp}
		for i := range 4 {
			for _, label := range []string{"big1000", "big1300"} {
				opts.Name = fmt.Sprintf("%s.before%d.%s", label, i, Zone)
				_ = askOnce(ctx, l.Client, opts) // some fail
			}
		}
		opts.Name = "big1300." + name
		return askOnce(ctx, l.Client, opts)
	}
}

func askBig6(ctx context.Context, l *Lab, name string) error {
	return askOnce(ctx, l.Client, LookupOptions{Server: Service6(), Name: "big1300." + name, Type: dns.TypeTXT, EDNSSize: 4096})
}
