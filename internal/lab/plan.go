package lab

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

const dnsPort = 53

// family is one IP version's address plan.
type family struct {
	af      int
	bits    int          // of a host address
	service netip.Addr   // the cluster DNS service
	cluster netip.Prefix // all pods
	any     netip.Prefix // the default route
	bridge  byte         // last byte of cni0's address
	tunnel  byte         // last byte of the VXLAN device's address
	nodes   [2]netip.Prefix
}

var (
	ipv4 = family{
		af: unix.AF_INET, bits: 32,
		service: netip.AddrFrom4([4]byte{10, 96, 0, 10}),
		cluster: netip.MustParsePrefix("10.244.0.0/16"),
		any:     netip.MustParsePrefix("0.0.0.0/0"),
		bridge:  1, tunnel: 0, // .0 on the tunnel device, as flannel and Calico do
		nodes: [2]netip.Prefix{
			netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("10.244.2.0/24"),
		},
	}
	ipv6 = family{
		af: unix.AF_INET6, bits: 128,
		service: netip.MustParseAddr("fd00:10:96::10"),
		cluster: netip.MustParsePrefix("fd00:10:244::/48"),
		any:     netip.MustParsePrefix("::/0"),
		bridge:  1, tunnel: 0xff, // ::0 is the subnet-router anycast address
		nodes: [2]netip.Prefix{
			netip.MustParsePrefix("fd00:10:244:1::/64"), netip.MustParsePrefix("fd00:10:244:2::/64"),
		},
	}
)

// families lists both, for loops.
func families() []family { return []family{ipv4, ipv6} }

// host returns the address in the pod network of node i with the given last
// part, written alike in both families: 10.244.1.53 and fd00:10:244:1::53.
func (f family) host(i int, last byte) netip.Addr {
	raw := f.nodes[i].Addr().AsSlice()
	if f.af == unix.AF_INET6 {
		raw[14], raw[15] = last/100, (last/10%10)<<4|last%10
	} else {
		raw[3] = last
	}
	addr, _ := netip.AddrFromSlice(raw)
	return addr
}

// wireAddr returns the address of node i on the wire between the nodes.
func wireAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}) }

// wireAddr6 is the node's IPv6 address there, with Config.Underlay6.
func wireAddr6(i int) netip.Addr {
	addr := netip.MustParseAddr("2001:db8:0:2::").As16()
	addr[15] = byte(i + 1)
	return netip.AddrFrom16(addr)
}

// wireGateway is the nodes' default gateway. Nobody answers there: the route is
// for traffic that NAT redirects, such as a node's own lookups of the service.
func wireGateway() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 254}) }

// pod says where a pod lives.
type pod struct {
	name string
	dev  string // the host's end of its veth pair
	node int
	last byte // of its addresses
}

func pods() []pod {
	return []pod{
		{name: Client, dev: "veth-client", node: 0, last: 10},
		{name: DNSA, dev: "veth-dns", node: 0, last: 53},
		{name: DNSB, dev: "veth-dns", node: 1, last: 53},
	}
}
