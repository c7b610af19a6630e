package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// installIPVS puts the service into a node's IPVS, as kube-proxy's IPVS mode
// does (Kubernetes 1.31, pkg/proxy/ipvs/proxier.go): its address on a device of
// its own, so that packets for it come to the INPUT hook, where IPVS finds them.
func (l *Lab) installIPVS(node *NS) error {
	// Asked for first: it loads the module, and package ipvs would log what is missing.
	if _, err := netlink.GenlFamilyGet("IPVS"); errors.Is(err, unix.ENOENT) {
		return notSupported("IPVS", "CONFIG_IP_VS")
	} else if err != nil {
		return fmt.Errorf("find IPVS: %w", err)
	}
	err := node.setSysctls([][2]string{
		// With it conntrack knows the addresses that IPVS has put in, and the
		// rules below can masquerade.
		{"net.ipv4.vs.conntrack", "1"},
		{"net.ipv4.vs.expire_nodest_conn", "1"},
		{"net.ipv4.vs.expire_quiescent_template", "1"},
	})
	if err != nil {
		return err
	}
	dev := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: IPVSDev}}
	if err := node.addDevice(dev, "CONFIG_DUMMY"); err != nil {
		return err
	}
	if err := node.link.LinkSetUp(dev); err != nil { // while it is down, IPv6 has no route to its addresses
		return fmt.Errorf("raise %s in %s: %w", IPVSDev, node.Name, err)
	}
	handle, err := ipvs.New(node.Path())
	if err != nil {
		return fmt.Errorf("open IPVS in %s: %w", node.Name, err)
	}
	defer handle.Close()
	for _, f := range families() {
		if err := node.addAddr(IPVSDev, netip.PrefixFrom(f.service, f.bits)); err != nil {
			return err
		}
		for _, proto := range []uint16{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			if err := addVirtual(handle, f, proto, l.endpoints(f)); err != nil {
				return fmt.Errorf("add service to IPVS in %s: %w", node.Name, err)
			}
		}
	}
	return nil
}

// removeIPVS takes the service out of a node's IPVS, and its address with it.
func (ns *NS) removeIPVS() error {
	if err := ns.clearIPVS(); err != nil {
		return err
	}
	dev, err := ns.device(IPVSDev)
	if err != nil {
		return err
	}
	return ns.link.LinkDel(dev)
}

// clearIPVS takes all services out of a node's IPVS. Their connections stay.
func (ns *NS) clearIPVS() error {
	handle, err := ipvs.New(ns.Path())
	if err != nil {
		return fmt.Errorf("open IPVS in %s: %w", ns.Name, err)
	}
	defer handle.Close()
	services, err := handle.GetServices()
	if err != nil {
		return fmt.Errorf("list IPVS in %s: %w", ns.Name, err)
	}
	for _, s := range services {
		if err := handle.DelService(s); err != nil {
			return fmt.Errorf("remove service from IPVS in %s: %w", ns.Name, err)
		}
	}
	return nil
}

// addVirtual adds a virtual service with its real servers, which are reached by
// rewriting the destination ("masquerading", the default of kube-proxy).
func addVirtual(handle *ipvs.Handle, f family, proto uint16, endpoints []netip.AddrPort) error {
	service := &ipvs.Service{
		AddressFamily: uint16(f.af), Protocol: proto,
		Address: f.service.AsSlice(), Port: dnsPort,
		SchedName: ipvs.RoundRobin, Netmask: 0xffffffff,
	}
	if f.bits == ipv6.bits {
		service.Netmask = uint32(f.bits) // a prefix length there
	}
	if err := handle.NewService(service); err != nil {
		return err
	}
	for _, e := range endpoints {
		err := handle.NewDestination(service, &ipvs.Destination{
			AddressFamily: uint16(f.af), Address: e.Addr().AsSlice(), Port: e.Port(),
			Weight: 1, ConnectionFlags: ipvs.ConnectionFlagMasq,
		})
		if err != nil {
			return fmt.Errorf("endpoint %s: %w", e, err)
		}
	}
	return nil
}

// ipvsRules returns what kube-proxy's IPVS mode feeds to iptables-restore
// --noflush. Where it asks sets of addresses (ipset), the one service and its
// endpoints are named here.
func ipvsRules(f family, endpoints []netip.AddrPort) string {
	var t ruleText
	t.add("*filter")
	t.add(":KUBE-FORWARD - [0:0]")
	t.add(":KUBE-IPVS-FILTER - [0:0]")
	t.add(`-A INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER`)
	iptablesForward(&t)
	for _, p := range servicePorts() {
		t.add("-A KUBE-IPVS-FILTER %s -j RETURN", clusterIP(f, p))
	}
	t.add("-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -d %s -j REJECT", f.service)
	t.add("COMMIT")
	t.add("*nat")
	for _, chain := range []string{"KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"} {
		t.add(":%s - [0:0]", chain)
	}
	iptablesPortals(&t)
	for _, p := range servicePorts() {
		for _, e := range endpoints {
			t.add(`-A KUBE-POSTROUTING -m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose" -m %s -p %[1]s -s %s -d %[2]s --dport %d -j MASQUERADE`,
				p.proto, e.Addr(), e.Port())
		}
	}
	iptablesMasquerade(&t)
	for _, p := range servicePorts() {
		match := clusterIP(f, p)
		t.add(`-A KUBE-SERVICES ! -s %s -m comment --comment "Kubernetes service cluster ip + port for masquerade purpose" %s -j KUBE-MARK-MASQ`, f.cluster, match)
		t.add(`-A KUBE-SERVICES %s -j ACCEPT`, match)
	}
	t.add("COMMIT")
	return t.String()
}

// clusterIP matches packets for a port of the service.
func clusterIP(f family, p servicePort) string {
	return fmt.Sprintf("-m %s -p %[1]s -d %s --dport %d", p.proto, f.service, dnsPort)
}
