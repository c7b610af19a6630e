package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Topology is a lab in which lookups can be answered.
type Topology struct {
	Config
	NodeLocal bool // all ask a node-local cache, which asks the service
	Forward   bool // all ask dns-a or the service, which forwards to dns-b
}

// String names it, as in "ipvs > dns-b, bridge-nf; vxlan in ipip".
func (t Topology) String() string {
	s := "pods"
	if t.Service != ServiceNone {
		s = string(t.Service) + " > " + strings.Join(t.Endpoints, "+")
	}
	if t.NodeLocal {
		s = "node-local cache > " + s
	}
	if t.BridgeNF {
		s += ", bridge-nf"
	}
	s += "; " + string(t.Overlay)
	if t.VXLAN.ZeroChecksum {
		s += " without checksum"
	}
	if t.Underlay6 {
		s += " over IPv6"
	}
	if t.Under != "" {
		s += " in " + string(t.Under)
	}
	if t.Forward {
		s += ", by a forwarder"
	}
	return s
}

// Topologies returns all labs that this kernel can raise: each overlay, alone and
// in each tunnel that it may go through, with each way to the DNS pods that does
// not lose replies. Each of both is in as few of the first as can be. The last
// has a node-local cache. It also returns what the kernel lacks.
func Topologies(ctx context.Context) (list []Topology, lacks []string, err error) {
	overlays, lacks, err := supported(ctx, overlayShapes())
	if err != nil {
		return nil, nil, err
	}
	services, more, err := supported(ctx, serviceShapes())
	if err != nil {
		return nil, nil, err
	}
	list = combine(overlays, services)
	cached := Topology{Config: Config{Overlay: OverlayVXLAN, Service: ServiceIPTables, Endpoints: []string{DNSA, DNSB}, BridgeNF: true}, NodeLocal: true}
	return append(list, cached), append(lacks, more...), nil
}

// Forwarding is a topology in which one DNS pod asks the other: what most names
// that are not the cluster's go through.
func Forwarding() Topology {
	return Topology{Config: Config{Overlay: OverlayVXLAN, Service: ServiceIPTables, Endpoints: []string{DNSA}, BridgeNF: true}, Forward: true}
}

// caches reports whether who is asked has to ask others.
func (t Topology) caches() bool { return t.NodeLocal || t.Forward }

// prepare makes a lab of the topology fit for mixed lookups that are answered.
func (t Topology) prepare(ctx context.Context, l *Lab) error {
	if t.Forward {
		opts := DaemonOptions{Upstream: netip.AddrPortFrom(l.DNSB.Addr, dnsPort), NoCache: true}
		if _, err := StartCoreDNS(ctx, l.DNSA, opts); err != nil {
			return err
		}
		return l.prepareMixed(ctx)
	}
	if err := PrepareMixed(ctx, l); err != nil || !t.NodeLocal {
		return err
	}
	_, err := StartNodeLocal(ctx, l.NodeA, DaemonOptions{})
	return err
}

// combine pairs each overlay with each service, each as soon as possible: step
// by step through both lists, and one further where they begin together again.
func combine(overlays, services []Topology) (list []Topology) {
	together := len(overlays) * len(services)
	for a, b := len(overlays), len(services); ; a, b = b, a%b {
		if b == 0 {
			together /= a // the least common multiple
			break
		}
	}
	for i := range len(overlays) * len(services) {
		t, s := overlays[i%len(overlays)], services[(i+i/together)%len(services)]
		t.Service, t.Endpoints, t.BridgeNF = s.Service, s.Endpoints, s.BridgeNF
		list = append(list, t)
	}
	return list
}

// supported returns the topologies that this kernel can raise, and names the others.
func supported(ctx context.Context, all []Topology) (list []Topology, lacks []string, err error) {
	for _, t := range all {
		l, err := New(ctx, t.Config)
		switch {
		case errors.Is(err, ErrNotSupported):
			lacks = append(lacks, fmt.Sprintf("%s: %v", t, err))
			continue
		case err != nil:
			return nil, nil, fmt.Errorf("%s: %w", t, err)
		}
		if err := l.Close(); err != nil {
			return nil, nil, err
		}
		list = append(list, t)
	}
	return list, lacks, nil
}

// overlayShapes returns all overlays.
func overlayShapes() []Topology {
	var shapes []Topology
	add := func(c Config) {
		c.Service = ServiceNone
		shapes = append(shapes, Topology{Config: c})
	}
	add(Config{Overlay: OverlayVXLAN})
	add(Config{Overlay: OverlayVXLAN, VXLAN: VXLAN{ZeroChecksum: true}})
	add(Config{Overlay: OverlayIPIP})
	add(Config{Overlay: OverlayIP6Tnl, Underlay6: true})
	for _, o := range []Overlay{OverlayVXLAN, OverlayGeneve, OverlayGRE} {
		if o != OverlayVXLAN {
			add(Config{Overlay: o})
		}
		if o != OverlayGRE {
			add(Config{Overlay: o, Underlay6: true})
		}
		for _, under := range []Overlay{OverlayVXLAN, OverlayIPIP, OverlayGRE} {
			add(Config{Overlay: o, Under: under})
		}
	}
	return shapes
}

// serviceShapes returns all ways to the DNS pods, over one overlay. Without
// bridge-nf, replies of a pod on the client's own node are not translated back:
// that is a fault, and there is a finding for it.
func serviceShapes() []Topology {
	var shapes []Topology
	for _, bridgeNF := range []bool{true, false} {
		for _, s := range []ServiceMode{ServiceIPTables, ServiceNFTables, ServiceIPVS} {
			for _, endpoints := range [][]string{{DNSB}, {DNSA}, {DNSA, DNSB}} {
				if bridgeNF || !slices.Contains(endpoints, DNSA) {
					shapes = append(shapes, Topology{Config: Config{Overlay: OverlayVXLAN, Service: s, Endpoints: endpoints, BridgeNF: bridgeNF}})
				}
			}
		}
		shapes = append(shapes, Topology{Config: Config{Overlay: OverlayVXLAN, Service: ServiceNone, BridgeNF: bridgeNF}})
	}
	return shapes
}

// servers returns whom to ask.
func (t Topology) servers() []netip.AddrPort {
	if t.NodeLocal {
		return []netip.AddrPort{netip.AddrPortFrom(NodeLocal(), dnsPort)}
	}
	if t.Forward {
		return []netip.AddrPort{Service(), netip.AddrPortFrom(ipv4.host(0, 53), dnsPort)}
	}
	var list []netip.AddrPort
	for _, f := range families() {
		far := f.bits == ipv4.bits || t.Overlay != OverlayIPIP // does the overlay carry it?
		if service := netip.AddrPortFrom(f.service, dnsPort); t.Service != ServiceNone && (far || !slices.Contains(t.Endpoints, DNSB)) {
			list = append(list, service, service)
		}
		if far {
			list = append(list, netip.AddrPortFrom(f.host(1, 53), dnsPort))
		}
		list = append(list, netip.AddrPortFrom(f.host(0, 53), dnsPort))
	}
	return list
}
