//go:build e2e

package main

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

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
var swap = strings.NewReplacer(
	"192.0.2.1>192.0.2.2", "192.0.2.2>192.0.2.1", "198.51.100.1>198.51.100.2", "198.51.100.2>198.51.100.1",
	"2001:db8:0:2::1>2001:db8:0:2::2", "2001:db8:0:2::2>2001:db8:0:2::1",
)

// onWire returns what is around a leg's packet where it leaves a node.
func onWire(r *render.Record, leg int, node string) string {
	hops := r.Legs[leg].Hops
	i := slices.IndexFunc(hops, func(h render.Hop) bool { return h.NetNSName == node && h.Dev == lab.WireDev && h.Hop == "tx" })
	if i < 0 {
		return ""
	}
	return tunnels(&hops[i])
}

// Lookups of both families and over TCP through each kind of tunnel: over IPv4
// and IPv6, one in another, to a port that a flag tells.
func TestTunnels(t *testing.T) {
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
		{name: "gre", cfg: lab.Config{Overlay: lab.OverlayGRE}, want: "gre 4096" + wire},
		{name: "vxlan over IPv6", cfg: lab.Config{Underlay6: true}, want: "vxlan 4096" + wire6},
		{name: "geneve over IPv6", cfg: lab.Config{Overlay: lab.OverlayGeneve, Underlay6: true}, want: "geneve 4096" + wire6},
		{name: "ip in IPv6", cfg: lab.Config{Overlay: lab.OverlayIP6Tnl, Underlay6: true}, want: "ip6tnl" + wire6},
		{name: "vxlan in vxlan", cfg: lab.Config{Under: lab.OverlayVXLAN}, want: "vxlan 4096" + under + " in vxlan 7" + wire},
		{name: "vxlan in ipip", cfg: lab.Config{Under: lab.OverlayIPIP}, want: "vxlan 4096" + under + " in ipip" + wire},
		{name: "vxlan in gre", cfg: lab.Config{Under: lab.OverlayGRE}, want: "vxlan 4096" + under + " in gre 4096" + wire},
		{name: "gre in vxlan", cfg: lab.Config{Overlay: lab.OverlayGRE, Under: lab.OverlayVXLAN}, want: "gre 4096" + under + " in vxlan 7" + wire},
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
			back := swap.Replace(c.want)
			for name, res := range results {
				r := x.only(t, name)
				checkAnswered(t, r, res)
				for leg := range r.Legs {
					node, want := lab.NodeA, c.want
					if r.Legs[leg].Direction == "reply" {
						node, want = lab.NodeB, back
					}
					if got := onWire(r, leg, node); got != want {
						t.Errorf("%s: %s %s leaves %s in %q, want %q\n%q", name, r.Legs[leg].Direction, r.Legs[leg].Segment, node, got, want, way(r, leg))
					}
				}
				if h := lastHop(t, r, "reply"); h.NetNSName != lab.Client || h.Tunnel != nil {
					t.Errorf("%s: the reply ends in %s, in tunnel %q", name, h.NetNSName, tunnels(&h))
				}
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
