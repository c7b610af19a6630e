//go:build e2e

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// ask looks a name up and holds its answer.
func ask(t *testing.T, ns *NS, opts LookupOptions) Result {
	t.Helper()
	opts.Name = "a." + Zone
	want := Answer().String()
	if opts.Server.Addr().Is6() {
		opts.Type, want = dns.TypeAAAA, Answer6().String()
	}
	res, err := ns.Lookup(t.Context(), opts)
	if err != nil {
		t.Errorf("from %s: %v", ns.Name, err)
		return res
	}
	if diff := cmp.Diff([]string{want}, res.Answers); diff != "" {
		t.Errorf("from %s to %s, answers (-want +got):\n%s", ns.Name, opts.Server, diff)
	}
	return res
}

func TestService(t *testing.T) {
	for _, mode := range []ServiceMode{ServiceIPTables, ServiceNFTables, ServiceIPVS} {
		for _, endpoints := range [][]string{{DNSA}, {DNSB}, {DNSA, DNSB}} {
			t.Run(string(mode)+"/"+strings.Join(endpoints, "+"), func(t *testing.T) {
				l := raiseBare(t, Config{Service: mode, Endpoints: endpoints, BridgeNF: true})
				servers := make(map[string]*DNSServer)
				for _, ns := range []*NS{l.DNSA, l.DNSB} {
					s, err := StartDNS(ns, DNSOptions{})
					if err != nil {
						t.Fatal(err)
					}
					servers[ns.Name] = s
				}
				for _, from := range []*NS{l.Client, l.NodeA, l.NodeB, l.DNSB} {
					for _, server := range []netip.AddrPort{Service(), Service6()} {
						ask(t, from, LookupOptions{Server: server})
						ask(t, from, LookupOptions{Server: server, TCP: true})
					}
				}
				var queries uint64
				for _, name := range endpoints {
					queries += servers[name].Queries()
				}
				if queries != 16 {
					t.Errorf("endpoints %v got %d queries, want 16", endpoints, queries)
				}
			})
		}
	}
}

func TestServiceWithoutEndpoints(t *testing.T) {
	for _, mode := range []ServiceMode{ServiceIPTables, ServiceNFTables, ServiceIPVS} {
		t.Run(string(mode), func(t *testing.T) {
			l := raise(t, Config{Service: mode})
			for _, server := range []netip.AddrPort{Service(), Service6()} {
				_, err := l.Client.Lookup(t.Context(), LookupOptions{Server: server, Name: "a." + Zone})
				if !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("lookup at %s gave %v, want ECONNREFUSED", server, err)
				}
			}
		})
	}
}

func TestPodToPod(t *testing.T) {
	for name, cfg := range map[string]Config{
		"default":       {},
		"flannel":       {VXLAN: VXLAN{VNI: 1, Port: 8472}},
		"zero checksum": {VXLAN: VXLAN{ZeroChecksum: true}},
		"bridge nf":     {BridgeNF: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := raise(t, cfg)
			for _, to := range []*NS{l.DNSA, l.DNSB} {
				for _, addr := range []netip.Addr{to.Addr, to.Addr6} {
					ask(t, l.Client, LookupOptions{Server: netip.AddrPortFrom(addr, dnsPort)})
				}
			}
		})
	}
}

// TestOverlay asks through each kind of tunnel, and counts on the other node
// what came out of it.
func TestOverlay(t *testing.T) {
	for _, overlay := range []Overlay{OverlayVXLAN, OverlayIPIP, OverlayGeneve} {
		for _, mode := range []ServiceMode{ServiceIPTables, ServiceIPVS} {
			t.Run(string(overlay)+"/"+string(mode), func(t *testing.T) {
				l := raise(t, Config{Overlay: overlay, Service: mode, Endpoints: []string{DNSB}, BridgeNF: true})
				servers := []netip.AddrPort{netip.AddrPortFrom(l.DNSB.Addr, dnsPort), Service()}
				if overlay != OverlayIPIP {
					servers = append(servers, netip.AddrPortFrom(l.DNSB.Addr6, dnsPort), Service6())
				}
				err := l.NodeB.NFT(t.Context(), `table inet seen { chain pre { type filter hook prerouting priority -300
					iifname "`+overlay.Device()+`" udp dport 53 counter
				}
				}`)
				if err != nil {
					t.Fatal(err)
				}
				for _, server := range servers {
					ask(t, l.Client, LookupOptions{Server: server})
					ask(t, l.Client, LookupOptions{Server: server, TCP: true})
				}
				out, err := l.NodeB.Command(t.Context(), "nft", "list", "table", "inet", "seen").Output()
				if want := fmt.Sprintf("packets %d ", len(servers)); err != nil || !strings.Contains(string(out), want) {
					t.Errorf("want %s from %s (%v):\n%s", want, overlay.Device(), err, out)
				}
			})
		}
	}
}

// TestTunnels asks through tunnels over IPv6, in other tunnels and to other ports,
// and counts on the other node what came in by the outermost.
func TestTunnels(t *testing.T) {
	for _, c := range []struct {
		name  string
		cfg   Config
		outer string // what comes to node-b
	}{
		{"gre", Config{Overlay: OverlayGRE}, "ip protocol gre"},
		{"vxlan over IPv6", Config{Underlay6: true}, "ip6 nexthdr udp udp dport 4789"},
		{"geneve over IPv6", Config{Overlay: OverlayGeneve, Underlay6: true}, "ip6 nexthdr udp udp dport 6081"},
		{"ip in IPv6", Config{Overlay: OverlayIP6Tnl, Underlay6: true}, "ip6 saddr 2001:db8:0:2::1 meta l4proto { 4, 41 }"},
		{"vxlan in vxlan", Config{Under: OverlayVXLAN}, "ip protocol udp udp dport 8472"},
		{"vxlan in ipip", Config{Under: OverlayIPIP}, "ip protocol 4"},
		{"vxlan in gre", Config{Under: OverlayGRE}, "ip protocol gre"},
		{"gre in vxlan", Config{Overlay: OverlayGRE, Under: OverlayVXLAN}, "ip protocol udp udp dport 8472"},
		{"vxlan to another port", Config{VXLAN: VXLAN{Port: 4790}}, "udp dport 4790"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.cfg.Overlay == "" && (c.cfg.Under == "" || c.cfg.Under == OverlayVXLAN) {
				sameEverywhere(t, "all kernels have VXLAN")
			}
			c.cfg.Service, c.cfg.Endpoints, c.cfg.BridgeNF = ServiceIPTables, []string{DNSB}, true
			l := raise(t, c.cfg)
			ask(t, l.Client, LookupOptions{Server: Service()}) // a tunnel in the tunnel asks for addresses first
			counts := count(t, l.NodeB, `iifname "eth0" `+c.outer)
			ask(t, l.Client, LookupOptions{Server: Service()})
			ask(t, l.Client, LookupOptions{Server: Service6()})
			// More may come: a node asks now and then whether its neighbours are still there.
			if got, err := strconv.Atoi(counts()[0]); err != nil || got < 2 {
				t.Errorf("%d packets came by %s, want 2 at least (%v)", got, c.outer, err)
			}
		})
	}
	for _, cfg := range []Config{
		{Overlay: OverlayIPIP, Underlay6: true}, {Overlay: OverlayIP6Tnl}, {Under: OverlayGeneve}, {Under: OverlayGRE, Underlay6: true},
	} {
		if l, err := New(t.Context(), cfg); err == nil || errors.Is(err, ErrNotSupported) {
			t.Errorf("%+v: lab %v, error %v; want an error that says what is wrong", cfg, l, err)
		}
	}
}

// TestComputedChecksums sends with real checksums in both headers: the receiver
// verifies them.
func TestComputedChecksums(t *testing.T) {
	l := raise(t, Config{Service: ServiceIPTables, Endpoints: []string{DNSB}})
	for _, off := range []struct {
		ns  *NS
		dev string
	}{{l.Client, WireDev}, {l.NodeA, WireDev}, {l.NodeA, VXLANDev}, {l.NodeB, WireDev}} {
		if err := off.ns.SetTXChecksum(off.dev, false); err != nil {
			t.Fatal(err)
		}
		out, err := off.ns.Command(t.Context(), "ethtool", "-k", off.dev).Output()
		if err != nil || !strings.Contains(string(out), "tx-checksumming: off") {
			t.Errorf("%s %s still offloads (%v):\n%s", off.ns.Name, off.dev, err, out)
		}
	}
	ask(t, l.Client, LookupOptions{Server: Service()})
	ask(t, l.Client, LookupOptions{Server: Service6()})
	if err := l.NodeA.SetTXChecksum("nosuch0", false); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("unknown device gave %v, want ENODEV", err)
	}
}

func TestServerAnswers(t *testing.T) {
	l := raise(t, Config{})
	server := netip.AddrPortFrom(l.DNSA.Addr, dnsPort)
	for _, c := range []struct {
		name    string
		opts    LookupOptions
		rcode   int
		answers int
		err     error
		atLeast time.Duration
	}{
		{name: "nx.example.test", rcode: dns.RcodeNameError},
		{name: "servfail1.example.test", rcode: dns.RcodeServerFailure},
		{name: "refused.example.test", rcode: dns.RcodeRefused},
		{name: "elsewhere.test", rcode: dns.RcodeRefused},
		{name: "slow50.example.test", answers: 1, atLeast: 50 * time.Millisecond},
		{name: "silent.example.test", opts: LookupOptions{Timeout: 20 * time.Millisecond, Attempts: 2}, err: os.ErrDeadlineExceeded},
		{name: "big3000.example.test", opts: LookupOptions{Type: dns.TypeTXT, EDNSSize: 4096}, answers: 12},
		{name: "big3000.example.test", opts: LookupOptions{Type: dns.TypeTXT}},
		{name: "big3000.example.test", opts: LookupOptions{Type: dns.TypeTXT, TCP: true}, answers: 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opts.Server, c.opts.Name, c.opts.ID = server, c.name, 4711
			res, err := l.Client.Lookup(t.Context(), c.opts)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if res.Rcode != c.rcode || len(res.Answers) != c.answers || res.Latency < c.atLeast {
				t.Errorf("rcode %d, %d answers, %s; want %d, %d, at least %s",
					res.Rcode, len(res.Answers), res.Latency, c.rcode, c.answers, c.atLeast)
			}
			if res.ID != 4711 || res.Local.Addr() != l.Client.Addr || res.Attempts != max(c.opts.Attempts, 1) {
				t.Errorf("sent ID %d from %s in %d attempts", res.ID, res.Local, res.Attempts)
			}
		})
	}
}

func TestDnsmasq(t *testing.T) {
	l := raiseBare(t, Config{Service: ServiceNFTables, Endpoints: []string{DNSB}})
	d, err := StartDnsmasq(t.Context(), l.DNSB, DaemonOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, l.Client, LookupOptions{Server: Service()})
	out, err := l.Client.Command(t.Context(), "dig", "+short", "+time=1", "+tries=1", "@10.96.0.10", "b.example.test").Output()
	if got := strings.TrimSpace(string(out)); err != nil || got != Answer().String() {
		t.Errorf("dig printed %q (%v), want %s", got, err, Answer())
	}
	for range 2 {
		if err := d.Close(); err != nil {
			t.Errorf("close dnsmasq: %v", err)
		}
	}
}

// TestFaults holds each kind of injected fault by what the client sees.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		inject func(t *testing.T, l *Lab) error
		want   error
	}{
		{"iptables drop", func(t *testing.T, l *Lab) error {
			return l.NodeB.IPTables(t.Context(), "-A", "FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP")
		}, os.ErrDeadlineExceeded},
		{"iptables reject", func(t *testing.T, l *Lab) error {
			return l.NodeB.IPTables(t.Context(), "-A", "FORWARD", "-p", "udp", "--dport", "53", "-j", "REJECT")
		}, syscall.ECONNREFUSED},
		{"nftables drop of the tunnel", func(t *testing.T, l *Lab) error {
			return l.NodeB.NFT(t.Context(), `table inet fault {
				chain input { type filter hook input priority 0; udp dport 4789 drop; }
			}`)
		}, os.ErrDeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := raise(t, Config{Service: ServiceIPTables, Endpoints: []string{DNSB}})
			if err := c.inject(t, l); err != nil {
				t.Fatal(err)
			}
			_, err := l.Client.Lookup(t.Context(), LookupOptions{Server: Service(), Name: "a." + Zone, Timeout: Patience(100 * time.Millisecond)})
			if !errors.Is(err, c.want) {
				t.Errorf("lookup gave %v, want %v", err, c.want)
			}
		})
	}
}

// TestSendUDP sends queries by hand, with and without extension headers. The
// headers must be on the packet: node-a counts them.
func TestSendUDP(t *testing.T) {
	l := raiseBare(t, Config{})
	err := l.NodeA.NFT(t.Context(), `table ip6 seen { chain pre { type filter hook prerouting priority -300
		iifname "cni0" meta l4proto udp exthdr hbh exists counter comment "hbh"
		iifname "cni0" meta l4proto udp exthdr dst exists counter comment "dst"
		}
	}`)
	if err != nil {
		t.Fatal(err)
	}
	server := netip.AddrPortFrom(l.DNSB.Addr6, 5300)
	conn, err := l.DNSB.ListenUDP(server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(Patience(2 * time.Second))); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	for _, ext := range []ExtHeaders{{}, {HopByHop: 8}, {Destination: 24}, {HopByHop: 8, Destination: 8}} {
		want := []byte{0xff, 0, 1}
		from, err := l.Client.SendUDP6(server, want, ext)
		if err != nil {
			t.Fatalf("%+v: %v", ext, err)
		}
		n, seen, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("%+v: %v", ext, err)
		}
		if !slices.Equal(buf[:n], want) || seen != from {
			t.Errorf("%+v: got %x from %s, want %x from %s", ext, buf[:n], seen, want, from)
		}
	}
	out, err := l.NodeA.Command(t.Context(), "nft", "list", "table", "ip6", "seen").Output()
	if err != nil || strings.Count(string(out), "packets 2 ") != 2 {
		t.Errorf("extension headers not seen (%v):\n%s", err, out)
	}
}

func TestClose(t *testing.T) {
	l := raise(t, Config{})
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := l.Client.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("closed namespace gave %v, want ErrClosed", err)
	}
	left, err := os.ReadDir(netnsDir)
	if err != nil || len(left) != 0 {
		t.Errorf("left in %s: %v (%v)", netnsDir, left, err)
	}
	raise(t, Config{}) // the names are free again
}
