//go:build e2e

package nodestate

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

var (
	clientAddr = netip.MustParseAddr("10.244.1.10")
	dnsA       = netip.MustParseAddrPort("10.244.1.53:53")
	dnsB       = netip.MustParseAddrPort("10.244.2.53:53")
)

func linkOfName(t *testing.T, ns diagnose.NetNS, name string) diagnose.Link {
	t.Helper()
	links := must(t, ns.Links)
	i := slices.IndexFunc(links, func(l diagnose.Link) bool { return l.Name == name })
	if i < 0 {
		t.Fatalf("%s has no %s", ns.Name(), name)
	}
	return links[i]
}

func TestLinks(t *testing.T) {
	s := raise(t, lab.Config{})
	node, pod := s.of(s.NodeA), s.of(s.Client)
	eth := linkOfName(t, pod, "eth0")
	if eth.Kind != "veth" || eth.PeerNetNS != uint32(s.NodeA.Inode()) || !eth.Up || len(eth.Addrs) == 0 {
		t.Errorf("the pod's device is %+v", eth)
	}
	port := linkOfName(t, node, "veth-client")
	if port.Index != eth.Peer || port.Peer != eth.Index || port.PeerNetNS != uint32(s.Client.Inode()) {
		t.Errorf("%+v and %+v are no pair", eth, port)
	}
	bridge := linkOfName(t, node, lab.BridgeDev)
	if bridge.NFCall == nil || *bridge.NFCall || bridge.Index != port.Master {
		t.Errorf("the bridge is %+v, the port's master %d", bridge, port.Master)
	}
	if err := s.NodeA.IP(t.Context(), "link", "set", lab.BridgeDev, "type", "bridge", "nf_call_iptables", "1"); err != nil {
		t.Fatal(err)
	}
	s.forget()
	if bridge := linkOfName(t, node, lab.BridgeDev); bridge.NFCall == nil || !*bridge.NFCall {
		t.Errorf("the bridge is %+v, and should call iptables", bridge)
	}
	tunnel := linkOfName(t, node, lab.VXLANDev)
	if tunnel.Tunnel == nil || tunnel.Tunnel.VNI != 4096 || tunnel.Tunnel.Port != 4789 || len(tunnel.Tunnel.FDB) != 1 {
		t.Errorf("the tunnel is %+v of %+v", tunnel, tunnel.Tunnel)
	}
	for on := range 2 {
		if err := s.NodeA.SetTXChecksum(lab.VXLANDev, on == 1); err != nil {
			t.Fatal(err)
		}
		s.forget()
		checkFeatures(t, s.NodeA, linkOfName(t, node, lab.VXLANDev))
	}
}

// checkFeatures compares with what the ioctl says.
func checkFeatures(t *testing.T, ns *lab.NS, l diagnose.Link) {
	t.Helper()
	err := ns.Do(func() error {
		tool, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer tool.Close()
		want, err := tool.Features(l.Name)
		if diff := cmp.Diff(want, l.Features); diff != "" {
			t.Errorf("features of %s (-want +got):\n%s", l.Name, diff)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// forget has everything read anew.
func (s *state) forget() {
	s.reader.mu.Lock()
	defer s.reader.mu.Unlock()
	for _, space := range s.reader.spaces {
		space.mu.Lock()
		clear(space.parts)
		space.mu.Unlock()
	}
}

func TestQdiscs(t *testing.T) {
	s := raise(t, lab.Config{})
	if err := s.runTC("qdisc add dev eth0 root tbf rate 1kbit burst 100 limit 100"); err != nil {
		t.Skip(err) // this kernel has no tbf
	}
	server := netip.AddrPortFrom(dnsA.Addr(), 5300)
	for range 20 { // each larger than the limit
		conn, err := s.Client.DialUDP(0, server)
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Write(make([]byte, 500))
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			t.Fatal(err)
		}
		conn.Close()
	}
	qdiscs := linkOfName(t, s.of(s.Client), "eth0").Qdiscs
	if len(qdiscs) != 1 || qdiscs[0].Kind != "tbf" || qdiscs[0].Drops < 20 || qdiscs[0].Parent != 0xffffffff {
		t.Errorf("qdiscs are %+v", qdiscs)
	}
}

func (s *state) runTC(args string) error {
	return s.Client.Command(context.Background(), "tc", strings.Fields(args)...).Run()
}

func TestNeighbours(t *testing.T) {
	s := raise(t, lab.Config{})
	if err := s.NodeA.IP(t.Context(), strings.Fields("neigh replace 10.244.1.77 lladdr 02:00:00:00:00:77 dev cni0 nud permanent")...); err != nil {
		t.Fatal(err)
	}
	want := diagnose.Neighbour{Addr: netip.MustParseAddr("10.244.1.77"), Dev: "cni0", MAC: "02:00:00:00:00:77", State: "PERMANENT"}
	if got := must(t, s.of(s.NodeA).Neighbours); !slices.Contains(got, want) {
		t.Errorf("neighbours are %+v, without %+v", got, want)
	}
}

func TestRoutes(t *testing.T) {
	s := raise(t, lab.Config{})
	for _, line := range []string{
		"route add blackhole 198.51.100.1", "route add unreachable 198.51.100.2", "route add prohibit 198.51.100.3",
		"route add 198.51.100.4 via 192.0.2.2 dev eth0 mtu 1300",
		"rule add fwmark 7 lookup 77", "route add 198.51.100.5 via 192.0.2.2 dev eth0 table 77",
		"-6 route add unreachable 2001:db8:5::1",
		"route replace default via 192.0.2.254 dev eth0",
	} {
		if err := s.NodeA.IP(t.Context(), strings.Fields(line)...); err != nil {
			t.Fatal(err)
		}
	}
	ip := netip.MustParseAddr
	for _, c := range []struct {
		name string
		ask  diagnose.RouteQuery
		want diagnose.Route
	}{
		{"a pod here", diagnose.RouteQuery{Dst: dnsA.Addr()}, diagnose.Route{Dev: lab.BridgeDev, Src: ip("10.244.1.1"), Table: 254}},
		{"forwarded", diagnose.RouteQuery{Dst: dnsA.Addr(), Src: clientAddr, Iif: lab.BridgeDev}, diagnose.Route{Dev: lab.BridgeDev, Table: 254}},
		{"this node", diagnose.RouteQuery{Dst: ip("192.0.2.1")}, diagnose.Route{Dev: "lo", Src: ip("192.0.2.1"), Local: true, Table: 255}},
		{"anywhere", diagnose.RouteQuery{Dst: ip("8.8.8.8")}, diagnose.Route{Dev: "eth0", Gateway: ip("192.0.2.254"), Src: ip("192.0.2.1"), Default: true, Table: 254}},
		{"blackhole", diagnose.RouteQuery{Dst: ip("198.51.100.1")}, diagnose.Route{Errno: int(unix.EINVAL)}},
		{"unreachable", diagnose.RouteQuery{Dst: ip("198.51.100.2")}, diagnose.Route{Errno: int(unix.EHOSTUNREACH)}},
		{"prohibit", diagnose.RouteQuery{Dst: ip("198.51.100.3")}, diagnose.Route{Errno: int(unix.EACCES)}},
		{"small", diagnose.RouteQuery{Dst: ip("198.51.100.4")}, diagnose.Route{Dev: "eth0", Gateway: ip("192.0.2.2"), Src: ip("192.0.2.1"), MTU: 1300, Table: 254}},
		{"by a mark", diagnose.RouteQuery{Dst: ip("198.51.100.5"), Mark: 7}, diagnose.Route{Dev: "eth0", Gateway: ip("192.0.2.2"), Src: ip("192.0.2.1"), Table: 77}},
		{"no such source", diagnose.RouteQuery{Dst: dnsA.Addr(), Src: ip("127.0.0.1"), Iif: lab.BridgeDev}, diagnose.Route{Errno: int(unix.EINVAL)}},
		{"IPv6", diagnose.RouteQuery{Dst: ip("2001:db8:5::1")}, diagnose.Route{Errno: int(unix.EHOSTUNREACH)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := must(t, func() (*diagnose.Route, error) { return s.of(s.NodeA).Route(c.ask) })
			if diff := cmp.Diff(c.want, *got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("route (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConntrack(t *testing.T) {
	s := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	if _, err := lab.StartDNS(s.DNSB, lab.DNSOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := lab.AskService(t.Context(), s.Lab, "a.example.test."); err != nil {
		t.Fatal(err)
	}
	node := s.of(s.NodeA)
	stats := must(t, node.Conntrack)
	if stats.Count == 0 || stats.Max == 0 || len(stats.Stats) < 6 {
		t.Errorf("conntrack is %+v", stats)
	}
	for _, addr := range []netip.Addr{clientAddr, lab.Service().Addr()} {
		entries := must(t, func() ([]diagnose.ConntrackEntry, error) { return node.ConntrackEntries(addr) })
		if len(entries) != 1 {
			t.Fatalf("%v has entries %+v, want one", addr, entries)
		}
		e := entries[0]
		if e.Transport != tracer.TransportUDP || e.Orig.Src.Addr() != clientAddr || e.Orig.Dst != lab.Service() || e.Reply.Src != dnsB || e.Unreplied || e.Timeout <= 0 {
			t.Errorf("the entry is %+v", e)
		}
	}
	checkSelected(t, s.NodeA)
	none := must(t, func() ([]diagnose.ConntrackEntry, error) {
		return node.ConntrackEntries(netip.MustParseAddr("203.0.113.99"))
	})
	if len(none) != 0 {
		t.Errorf("a stranger has entries %+v", none)
	}
}

// checkSelected has the kernel select the client's entries.
func checkSelected(t *testing.T, node *lab.NS) {
	t.Helper()
	err := node.Do(func() error {
		for which, want := range map[uint16]int{ctIPSource: 1, ctIPDestination: 0} {
			if got, err := readEntries(clientAddr, which); len(got) != want || err != nil {
				t.Errorf("entries by attribute %d are %+v (%v), want %d", which, got, err, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestConntrackIPv6(t *testing.T) {
	s := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	if _, err := lab.StartDNS(s.DNSB, lab.DNSOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := lab.AskServer(t.Context(), s.Client, lab.Service6(), "a.example.test."); err != nil {
		t.Fatal(err)
	}
	entries := must(t, func() ([]diagnose.ConntrackEntry, error) { return s.of(s.NodeA).ConntrackEntries(s.Client.Addr6) })
	if len(entries) != 1 || entries[0].Orig.Dst != lab.Service6() {
		t.Errorf("entries are %+v, want one", entries)
	}
}

func TestServices(t *testing.T) {
	for _, mode := range []lab.ServiceMode{lab.ServiceIPTables, lab.ServiceNFTables, lab.ServiceIPVS} {
		t.Run(string(mode), func(t *testing.T) {
			by := string(mode)
			if mode == lab.ServiceIPVS {
				by = "IPVS"
			}
			both := &diagnose.Service{By: by, Endpoints: []netip.AddrPort{dnsA, dnsB}, Known: true}
			s := raise(t, lab.Config{Service: mode, Endpoints: []string{lab.DNSA, lab.DNSB}})
			s.checkService(t, s.NodeA, lab.Service(), both)
			s.checkService(t, s.NodeA, dnsA, nil)
			if mode != lab.ServiceIPVS { // there, all other ports are rejected
				s.checkService(t, s.NodeA, netip.AddrPortFrom(lab.Service().Addr(), 54), nil)
			}
			s.checkService(t, s.Client, lab.Service(), nil)
		})
		t.Run(string(mode)+" without endpoints", func(t *testing.T) {
			by := string(mode)
			if mode == lab.ServiceIPVS {
				by = "IPVS"
			}
			s := raise(t, lab.Config{Service: mode})
			none := &diagnose.Service{By: by, Rejects: mode != lab.ServiceIPVS, Known: true}
			s.checkService(t, s.NodeA, lab.Service(), none)
			s.checkService(t, s.NodeA, lab.Service6(), none)
			s.checkService(t, s.NodeA, dnsA, nil)
		})
	}
}

func (s *state) checkService(t *testing.T, node *lab.NS, addr netip.AddrPort, want *diagnose.Service) {
	t.Helper()
	ns := s.of(node)
	for _, transport := range []tracer.Transport{tracer.TransportUDP, tracer.TransportTCP} {
		got, err := ns.Service(transport, addr)
		for tries := 0; err != nil && tries < 100*lab.Slowness(); tries++ {
			if !errors.Is(err, errSlow) { // even the programs that print rules took too long
				t.Log(err)
				s.reader.opts.Rules = s.newRules()
				s.forget()
			}
			time.Sleep(20 * time.Millisecond)
			got, err = ns.Service(transport, addr)
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s %v in %s (-want +got):\n%s", transport, addr, ns.Name(), diff)
		}
	}
}

func TestNoTrack(t *testing.T) {
	s := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	for _, rule := range []string{
		"-t raw -A PREROUTING -d 10.96.0.10 -p udp --dport 53 -j CT --notrack",
		"-t raw -A PREROUTING -d 10.96.0.10 -p tcp --dport 53 -j NOTRACK",
		"-A FORWARD -d 10.244.9.9 -j REJECT", // not of the service
		"-A INPUT -p udp --dport 53 -j REJECT",
		"-A FORWARD -j REJECT",
	} {
		if err := s.NodeA.IPTables(t.Context(), strings.Fields(rule)...); err != nil {
			t.Skip(err)
		}
	}
	s.checkService(t, s.NodeA, lab.Service(), &diagnose.Service{By: "iptables", Endpoints: []netip.AddrPort{dnsB}, NoTrack: true, Known: true})
}

func TestSockets(t *testing.T) {
	s := raise(t, lab.Config{})
	d, err := lab.StartDnsmasq(t.Context(), s.DNSB, lab.DaemonOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sockets := must(t, s.of(s.DNSB).Sockets)
	for _, transport := range []tracer.Transport{tracer.TransportUDP, tracer.TransportTCP} {
		i := slices.IndexFunc(sockets, func(s diagnose.Socket) bool { return s.Transport == transport && s.PID == d.PID() })
		if i < 0 || sockets[i].Process != "dnsmasq" || sockets[i].Addr.Port() != 53 || sockets[i].Buffer == 0 {
			t.Errorf("sockets are %+v, want one of dnsmasq over %s", sockets, transport)
		}
	}
	if sockets := must(t, s.of(s.Client).Sockets); len(sockets) != 0 {
		t.Errorf("the client has %+v", sockets)
	}
}

// TestUnobserved connects to a server at a port that is not observed, and to one that is.
func TestUnobserved(t *testing.T) {
	s := raise(t, lab.Config{})
	for _, port := range []uint16{53, 5353} {
		err := s.DNSB.Do(func() error {
			conn, err := net.Dial("udp", netip.AddrPortFrom(dnsA.Addr(), port).String())
			if err == nil {
				t.Cleanup(func() { conn.Close() })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	sockets := must(t, s.of(s.DNSB).Unobserved)
	if len(sockets) != 1 || sockets[0].Peer != netip.AddrPortFrom(dnsA.Addr(), 5353) || sockets[0].Transport != tracer.TransportUDP {
		t.Errorf("sockets are %+v, want the one to port 5353", sockets)
	}
}

// TestSocketQueue fills the buffer of a server that does not read.
func TestSocketQueue(t *testing.T) {
	s := raise(t, lab.Config{})
	conn, err := s.DNSA.ListenUDP(dnsA)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	out, err := s.Client.DialUDP(0, dnsA)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	until := time.Now().Add(lab.Patience(5 * time.Second))
	for {
		if _, err := out.Write(make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
		s.forget()
		sockets := must(t, s.of(s.DNSA).Sockets)
		if len(sockets) != 1 {
			t.Fatalf("sockets are %+v, want one", sockets)
		}
		if k := sockets[0]; k.Drops > 0 && k.Queue > 0 && k.Buffer >= 4096 && k.Addr == dnsA {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("the socket is %+v, and should have dropped something", sockets[0])
		}
	}
}

func TestResolvers(t *testing.T) {
	s := raise(t, lab.Config{})
	dir := filepath.Join("/etc/netns", "client")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	text := "nameserver 10.96.0.10\nnameserver fe80::1%eth0\nsearch a.test b.test\noptions ndots:5\n"
	if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	want := &diagnose.Resolver{
		Path: "/etc/netns/client/resolv.conf", Nameservers: []netip.Addr{lab.Service().Addr(), netip.MustParseAddr("fe80::1%eth0")},
		Search: []string{"a.test", "b.test"}, NDots: 5,
	}
	if diff := cmp.Diff(want, must(t, s.of(s.Client).Resolver), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("resolver (-want +got):\n%s", diff)
	}
	if _, err := s.of(s.DNSA).Resolver(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a namespace without a process gave %v, want that there is none", err)
	}
}

func TestGone(t *testing.T) {
	s := raise(t, lab.Config{})
	ns := s.of(s.Client)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.forget()
	_, links := ns.Links()
	_, neighbours := ns.Neighbours()
	_, route := ns.Route(diagnose.RouteQuery{Dst: dnsA.Addr()})
	_, sysctl := ns.Sysctl("net/ipv4/ip_forward")
	_, conntrack := ns.Conntrack()
	_, entries := ns.ConntrackEntries(clientAddr)
	_, service := ns.Service(tracer.TransportUDP, lab.Service())
	_, sockets := ns.Sockets()
	_, resolver := ns.Resolver()
	for what, err := range map[string]error{
		"links": links, "neighbours": neighbours, "route": route, "sysctl": sysctl, "conntrack": conntrack, "entries": entries,
		"service": service, "sockets": sockets, "resolver": resolver,
	} {
		if !errors.Is(err, errGone) {
			t.Errorf("%s of a namespace that has gone gave %v", what, err)
		}
	}
}

// TestLinksOut has a pod's resolv.conf be a pipe, and a link out of the container.
func TestLinksOut(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(root, "etc", "resolv.conf")
	if err := syscall.Mkfifo(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := readResolver(root, "etc/resolv.conf"); err == nil {
		t.Errorf("a pipe gave %+v", r)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", name); err != nil {
		t.Fatal(err)
	}
	if _, err := readResolver(root, "etc/resolv.conf"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link out of the root gave %v, want that there is no file", err)
	}
}
