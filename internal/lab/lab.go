package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
)

// ServiceMode says what translates the service's address on the nodes.
type ServiceMode string

// The service modes. Rules are shaped like those of kube-proxy.
const (
	ServiceNone     ServiceMode = "none"     // no service; also the empty string
	ServiceIPTables ServiceMode = "iptables" // kube-proxy's iptables mode
	ServiceNFTables ServiceMode = "nftables" // kube-proxy's nftables mode
	ServiceIPVS     ServiceMode = "ipvs"     // kube-proxy's IPVS mode
)

// The names of the namespaces.
const (
	NodeA  = "node-a"
	NodeB  = "node-b"
	Client = "client" // a pod on node-a
	DNSA   = "dns-a"  // a DNS pod on node-a
	DNSB   = "dns-b"  // a DNS pod on node-b
)

// The devices of a node. Pods hang on veth-client and veth-dns; inside a pod
// the device is eth0 too. Of the tunnels a lab has the one of its overlay.
const (
	WireDev   = "eth0"
	BridgeDev = "cni0"
	VXLANDev  = "vxlan.calico"
	IPIPDev   = "tunl0"
	GeneveDev = "geneve0"
	GREDev    = "gre1"
	IP6TnlDev = "ip6tnl1"
	// IPVSDev holds the service's address where IPVS translates it.
	IPVSDev = "kube-ipvs0"
)

// Config says what lab to make. Its zero value is a good lab without a service.
// A kernel may lack what other values ask for: ErrNotSupported.
type Config struct {
	// Service is how the service address is translated, on both nodes.
	Service ServiceMode
	// Endpoints names the DNS pods behind the service; several are chosen from
	// at random. A service with none rejects, as kube-proxy does.
	Endpoints []string
	// BridgeNF turns net.bridge.bridge-nf-call-iptables and -ip6tables on in
	// the nodes; otherwise they are off.
	BridgeNF bool
	// Overlay is the tunnel between the nodes.
	Overlay Overlay
	// VXLAN is the shape of OverlayVXLAN.
	VXLAN VXLAN
	// Underlay6 has the overlay's packets go between the nodes' IPv6 addresses.
	// It is for OverlayVXLAN, OverlayGeneve and OverlayIP6Tnl.
	Underlay6 bool
	// Under is a tunnel that the overlay's packets go through in their turn:
	// OverlayVXLAN (VNI 7, UDP port 8472), OverlayIPIP or OverlayGRE. None, the
	// empty string, sends them over the wire. It is not for OverlayIPIP.
	Under Overlay
	// Relay has this process carry what goes over the wire between the nodes: Lab.Relay.
	Relay bool
}

// VXLAN is the shape of a VXLAN overlay.
type VXLAN struct {
	VNI  int // 0 means 4096, as Calico has it
	Port int // UDP port; 0 means 4789
	// ZeroChecksum sends an outer UDP checksum of 0, and takes it over IPv6 too.
	// Otherwise the outer header has a checksum, which is the kernel's default and
	// what CNIs have.
	ZeroChecksum bool
}

// Lab is a running lab. Close it.
type Lab struct {
	NodeA, NodeB, Client, DNSA, DNSB *NS
	Relay                            *Relay // with Config.Relay; else nil

	cfg    Config
	fabric *NS // of addFabric

	mu      sync.Mutex
	closers []func() error // in order of creation
}

// New raises a lab. When it returns, the first packet finds its way: links are
// up and addresses usable. No DNS server runs yet.
func New(ctx context.Context, cfg Config) (*Lab, error) {
	if _, err := os.Stat(sealFile); err != nil {
		return nil, fmt.Errorf("raise lab: %w", ErrNotIsolated)
	}
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("raise lab: %w", err)
	}
	l := &Lab{cfg: cfg}
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("raise lab: %w", err), l.Close())
	}
	return l, nil
}

// complete fills in defaults and checks what was asked for.
func (c Config) complete() (Config, error) {
	switch c.Service {
	case "":
		c.Service = ServiceNone
	case ServiceNone, ServiceIPTables, ServiceNFTables, ServiceIPVS:
	default:
		return c, fmt.Errorf("unknown service mode %q", c.Service)
	}
	switch c.Overlay {
	case "":
		c.Overlay = OverlayVXLAN
	case OverlayVXLAN, OverlayIPIP, OverlayGeneve, OverlayGRE, OverlayIP6Tnl:
	default:
		return c, fmt.Errorf("unknown overlay %q", c.Overlay)
	}
	if err := c.checkUnderlay(); err != nil {
		return c, err
	}
	for _, e := range c.Endpoints {
		if e != DNSA && e != DNSB {
			return c, fmt.Errorf("unknown endpoint %q (want %s or %s)", e, DNSA, DNSB)
		}
	}
	if c.VXLAN.VNI == 0 {
		c.VXLAN.VNI = 4096
	}
	if c.VXLAN.Port == 0 {
		c.VXLAN.Port = 4789
	}
	return c, nil
}

// checkUnderlay checks what the overlay is to go over.
func (c Config) checkUnderlay() error {
	over6 := c.Overlay == OverlayVXLAN || c.Overlay == OverlayGeneve || c.Overlay == OverlayIP6Tnl
	switch c.Under {
	case "", OverlayVXLAN, OverlayIPIP, OverlayGRE:
	default:
		return fmt.Errorf("no overlay goes over %q", c.Under)
	}
	if c.Underlay6 && (!over6 || c.Under != "") || c.Overlay == OverlayIP6Tnl && !c.Underlay6 || c.Overlay == OverlayIPIP && c.Under != "" {
		return fmt.Errorf("overlay %s over %q, IPv6 %v: no such lab", c.Overlay, c.Under, c.Underlay6)
	}
	return nil
}

func (l *Lab) build(ctx context.Context) error {
	if err := l.makeNamespaces(); err != nil {
		return err
	}
	if err := l.wire(ctx); err != nil {
		return err
	}
	return l.installService(ctx)
}

// Namespaces returns all namespaces of the lab, nodes first.
func (l *Lab) Namespaces() []*NS {
	return []*NS{l.NodeA, l.NodeB, l.Client, l.DNSA, l.DNSB}
}

// NS returns the namespace of the given name, or nil.
func (l *Lab) NS(name string) *NS {
	for _, ns := range l.Namespaces() {
		if ns.Name == name {
			return ns
		}
	}
	return nil
}

// Service returns the address of the cluster DNS service, 10.96.0.10:53.
func Service() netip.AddrPort { return netip.AddrPortFrom(ipv4.service, dnsPort) }

// Service6 returns its IPv6 address, [fd00:10:96::10]:53.
func Service6() netip.AddrPort { return netip.AddrPortFrom(ipv6.service, dnsPort) }

// Close ends what was started in the lab (DNS servers, dnsmasq) and takes the
// lab down. Closing twice is no error.
func (l *Lab) Close() error {
	l.mu.Lock()
	closers := l.closers
	l.closers = nil
	l.mu.Unlock()
	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	return errors.Join(errs...)
}

// onClose has Close call fn; last in, first out. fn must bear being called
// after its thing was closed already.
func (l *Lab) onClose(fn func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers = append(l.closers, fn)
}
