//go:build e2e

package main

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// tunnels writes the headers around a packet, the innermost first, each with
// where it goes from and to.
func tunnels(h *render.Hop) string {
	text := ""
	for t := h.Tunnel; t != nil; t = t.In {
		if text != "" {
			text += " in "
		}
		text += t.Kind
		if t.VNI != 0 {
			text += " " + strconv.Itoa(int(t.VNI))
		}
		text += " " + host(t.Src) + ">" + host(t.Dst)
	}
	return text
}

// host leaves out the port of a tunnel's end.
func host(end string) string {
	if h, _, err := net.SplitHostPort(end); err == nil {
		return h
	}
	return end
}

// swap makes of the headers around a query those around its reply.
func swap(query string) string { return fromTo.ReplaceAllString(query, "$2>$1") }

var fromTo = regexp.MustCompile(`(\S+)>(\S+)`)

// onWire returns what is around a leg's packet where it leaves a node.
func onWire(r *render.Record, leg int, node string) string {
	hops := r.Legs[leg].Hops
	i := slices.IndexFunc(hops, func(h render.Hop) bool { return h.NetNSName == node && h.Dev == lab.WireDev && h.Hop == "tx" })
	if i < 0 {
		return ""
	}
	return tunnels(&hops[i])
}

// Lookups of a service, of both families and over TCP, through VXLAN: over IPv6, in
// another tunnel, to a port that a flag tells.
func TestTunnels(t *testing.T) {
	sameEverywhere(t, "TestTunnelKinds has more of them")
	const (
		wire  = " 192.0.2.1>192.0.2.2"
		wire6 = " 2001:db8:0:2::1>2001:db8:0:2::2"
		under = " 198.51.100.1>198.51.100.2"
	)
	for _, c := range []struct {
		name  string
		cfg   lab.Config
		flags []string
		want  string // around a query from node-a
	}{
		{name: "vxlan over IPv6", cfg: lab.Config{Underlay6: true}, want: "vxlan 4096" + wire6},
		{name: "vxlan in vxlan", cfg: lab.Config{Under: lab.OverlayVXLAN}, want: "vxlan 4096" + under + " in vxlan 7" + wire},
		{name: "another port", cfg: lab.Config{VXLAN: lab.VXLAN{Port: 4790}}, flags: []string{"--vxlan-port", "4790"}, want: "vxlan 4096" + wire},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Service, c.cfg.Endpoints, c.cfg.BridgeNF = lab.ServiceIPTables, []string{lab.DNSB}, true
			l := raise(t, c.cfg)
			ask(t, l.Client, lab.Service(), "warm.example.test.", nil)
			o := observe(t, append(labOnly(l), c.flags...)...)
			results := map[string]lab.Result{}
			for name, opts := range map[string]lab.LookupOptions{
				"four.example.test.":    {Server: lab.Service()},
				"six.example.test.":     {Server: lab.Service6(), Type: dns.TypeAAAA},
				"fourtcp.example.test.": {Server: lab.Service(), TCP: true},
				"sixtcp.example.test.":  {Server: lab.Service6(), Type: dns.TypeAAAA, TCP: true},
			} {
				opts.Name = name
				res, err := l.Client.Lookup(t.Context(), opts)
				if err != nil {
					t.Fatal(err)
				}
				results[name] = res
			}
			x := end(t, o)
			for name, res := range results {
				r := x.only(t, name)
				checkAnswered(t, r, res)
				checkTunnels(t, r, c.want)
			}
			// Without the flag what goes to another port is no tunnel that is known.
			if c.flags != nil {
				o := observe(t, labOnly(l)...)
				ask(t, l.Client, lab.Service(), "unknown.example.test.", nil)
				r := end(t, o).only(t, "unknown.example.test.")
				if diff := cmp.Diff("", onWire(r, 0, lab.NodeA)); diff != "" {
					t.Errorf("tunnel (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// tunnelKind is a tunnel between the nodes, by what ip makes it with. In each
// command L and R are the node's own address on the wire and the other's, 6L and 6R
// those of IPv6, I and J the number of the node and of the other.
type tunnelKind struct {
	name     string
	commands []string // make the device named tun
	ethernet bool     // it carries frames: its ends have addresses
	want     string   // around a query from node-a
}

var tunnelKinds = []tunnelKind{
	{"vxlan over IPv6", []string{"link add tun type vxlan id 20 local 6L remote 6R dstport 4789 dev eth0"}, true, "vxlan 20 A6>B6"},
	{"geneve over IPv6", []string{"link add tun type geneve id 21 remote 6R"}, true, "geneve 21 A6>B6"},
	{"gre", []string{"link add tun type gre local L remote R key 22 ttl 64"}, false, "gre 22 A>B"},
	{"ip in IPv6", []string{"link add tun type ip6tnl local 6L remote 6R mode any encaplimit none"}, false, "ip6tnl A6>B6"},
	{"vxlan in ipip", []string{
		"link add under type ipip local L remote R ttl 64", "link set under up mtu 1450", "addr add 198.51.100.I/24 dev under",
		"link add tun type vxlan id 23 local 198.51.100.I remote 198.51.100.J dstport 4789 dev under",
	}, true, "vxlan 23 198.51.100.1>198.51.100.2 in ipip A>B"},
	{"vxlan in gre", []string{
		"link add under type gre local L remote R key 24 ttl 64", "link set under up mtu 1450", "addr add 198.51.101.I/24 dev under",
		"link add tun type vxlan id 25 local 198.51.101.I remote 198.51.101.J dstport 4789 dev under",
	}, true, "vxlan 25 198.51.101.1>198.51.101.2 in gre 24 A>B"},
	{"gre in vxlan", []string{
		"link add under type vxlan id 26 local L remote R dstport 8472 dev eth0", "link set under up mtu 1450", "addr add 198.51.102.I/24 dev under",
		"link add tun type gre local 198.51.102.I remote 198.51.102.J key 27 ttl 64",
	}, false, "gre 27 198.51.102.1>198.51.102.2 in vxlan 26 A>B"},
}

// notKnown is what ip says of a kind of device that the kernel does not have.
var notKnown = regexp.MustCompile("Unknown device type|Operation not supported")

// addresses returns those of dns-b that are reached through tunnel number k.
func addresses(k int) (v4, v6 string) {
	return fmt.Sprintf("10.244.2.%d", 60+k), fmt.Sprintf("fd00:10:244:2::%d", 60+k)
}

// make makes tunnel number k at one node. What is not known of the kernel is why
// not, or "".
func (kind *tunnelKind) make(t *testing.T, l *lab.Lab, node, k int) (missing string) {
	t.Helper()
	ns, n := []*lab.NS{l.NodeA, l.NodeB}[node], strconv.Itoa
	words := map[string]string{
		"L": "192.0.2." + n(node+1), "R": "192.0.2." + n(2-node), "6L": "2001:db8:0:2::" + n(node+1), "6R": "2001:db8:0:2::" + n(2-node),
		"tun": "tun" + n(k), "under": "under" + n(k),
	}
	commands := slices.Concat(kind.commands, []string{"link set tun up mtu 1350"})
	gateway4, gateway6 := "", ""
	if kind.ethernet {
		commands = append(commands, fmt.Sprintf("addr add 10.245.%d.%d/24 dev tun", k, node+1), fmt.Sprintf("addr add fd00:245:%d::%d/64 dev tun nodad", k, node+1))
		gateway4, gateway6 = fmt.Sprintf(" via 10.245.%d.%d", k, 2-node), fmt.Sprintf(" via fd00:245:%d::%d", k, 2-node)
	}
	v4, v6 := addresses(k)
	if node == 0 {
		commands = append(commands, "route add "+v4+gateway4+" dev tun", "-6 route add "+v6+gateway6+" dev tun")
	} else {
		commands = append(commands,
			"rule add from "+v4+" lookup "+n(100+k), "route add 10.244.1.0/24"+gateway4+" dev tun table "+n(100+k),
			"-6 rule add from "+v6+" lookup "+n(100+k), "-6 route add fd00:10:244:1::/64"+gateway6+" dev tun table "+n(100+k))
	}
	for _, command := range commands {
		args := strings.Fields(strings.NewReplacer(".I", "."+n(node+1), ".J", "."+n(2-node)).Replace(command))
		for i, arg := range args {
			if word, ok := words[arg]; ok {
				args[i] = word
			}
		}
		err := ns.IP(t.Context(), args...)
		if err != nil && args[0] == "link" && args[1] == "add" && notKnown.MatchString(err.Error()) {
			return err.Error()
		}
		if err != nil {
			t.Fatalf("%s: %v", kind.name, err)
		}
	}
	return ""
}

// Pods of two nodes meet through each kind of tunnel that the kernel has, over
// IPv4 and IPv6, one in another: all in one lab, each for an address of its own.
func TestTunnelKinds(t *testing.T) {
	l := raise(t, lab.Config{Underlay6: true})
	missing := make([]string, len(tunnelKinds))
	for k, kind := range tunnelKinds {
		if missing[k] = kind.make(t, l, 0, k); missing[k] != "" {
			continue
		}
		kind.make(t, l, 1, k)
		var listen []netip.AddrPort
		v4, v6 := addresses(k)
		for _, addr := range []string{v4, v6} {
			if err := l.DNSB.IP(t.Context(), "addr", "add", addr, "dev", lab.WireDev, "nodad"); err != nil {
				t.Fatal(err)
			}
			listen = append(listen, netip.AddrPortFrom(netip.MustParseAddr(addr), 53))
		}
		if _, err := lab.StartDNS(l.DNSB, lab.DNSOptions{Addrs: listen}); err != nil {
			t.Fatal(err)
		}
	}
	name := func(k int, what string) string { return fmt.Sprintf("%s.kind%d.example.test.", what, k) }
	each := func(k int, prefix string) {
		t.Helper()
		v4, v6 := addresses(k)
		for what, addr := range map[string]string{"four": v4, "six": v6} {
			for _, tcp := range []bool{false, true} {
				opts := lab.LookupOptions{
					Server: netip.AddrPortFrom(netip.MustParseAddr(addr), 53), Name: name(k, fmt.Sprintf("%s%s-tcp-%v", prefix, what, tcp)),
					TCP: tcp, Timeout: lab.Patience(time.Second), Attempts: 2,
				}
				if _, err := l.Client.Lookup(t.Context(), opts); err != nil {
					t.Fatalf("%s: %v", tunnelKinds[k].name, err)
				}
			}
		}
	}
	for k := range tunnelKinds {
		if missing[k] == "" {
			each(k, "warm") // a tunnel's ends ask for addresses first
		}
	}
	o := observe(t, labOnly(l)...)
	for k := range tunnelKinds {
		if missing[k] == "" {
			each(k, "")
		}
	}
	x := end(t, o)
	ends := strings.NewReplacer("A6", "2001:db8:0:2::1", "B6", "2001:db8:0:2::2", "A", "192.0.2.1", "B", "192.0.2.2")
	for k, kind := range tunnelKinds {
		t.Run(kind.name, func(t *testing.T) {
			if missing[k] != "" {
				t.Skip(missing[k])
			}
			for _, what := range []string{"four-tcp-false", "four-tcp-true", "six-tcp-false", "six-tcp-true"} {
				r := x.only(t, name(k, what))
				checkVerdict(t, r, "answered")
				checkTunnels(t, r, ends.Replace(kind.want))
			}
		})
	}
}

// checkTunnels checks what is around each packet of a lookup on the wire between
// the nodes, and that a reply ends without.
func checkTunnels(t *testing.T, r *render.Record, query string) {
	t.Helper()
	for leg := range r.Legs {
		node, want := lab.NodeA, query
		if r.Legs[leg].Direction == "reply" {
			node, want = lab.NodeB, swap(query)
		}
		if got := onWire(r, leg, node); got != want {
			t.Errorf("%s: %s %s leaves %s in %q, want %q\n%q", r.Name, r.Legs[leg].Direction, r.Legs[leg].Segment, node, got, want, way(r, leg))
		}
	}
	if h := lastHop(t, r, "reply"); h.NetNSName != lab.Client || h.Tunnel != nil {
		t.Errorf("%s: the reply ends in %s, in tunnel %q", r.Name, h.NetNSName, tunnels(&h))
	}
}
