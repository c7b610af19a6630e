//go:build e2e

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/internal/kernel"
	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// needBackend skips where the kernel does not have a way to probe functions. The
// tool says why in the one line with which it ends, and what else there is.
func needBackend(t *testing.T, b kernel.Backend) {
	t.Helper()
	if b.Unavailable() == "" {
		return
	}
	out, err := exec.Command(bin, "--backend", string(b)).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || strings.Contains(text, "\n") ||
		!strings.Contains(text, "not supported by this kernel") || !strings.Contains(text, "possible here: ") {
		t.Fatalf("--backend %s: %v: %s; want status 1, and one line that says what is possible", b, err, text)
	}
	t.Skip(text)
}

// functions lists the calls of kernel functions on a leg, each with its
// namespace and what it told: "node-a ip_forward > vxlan.calico".
func functions(r *render.Record, leg int) []string {
	var lines []string
	for _, h := range r.Legs[leg].Hops {
		if !isFunction(h.Probe) {
			continue
		}
		line := h.NetNSName + " " + h.Probe
		if h.Layer == "netfilter" || h.Layer == "ipvs" {
			line += " " + h.Hook
		}
		if h.Verdict != "" && h.Verdict != "accept" && h.Verdict != "ok" {
			line += " " + h.Verdict
		}
		if h.CTState != "" {
			line += " " + h.CTState
		}
		if h.Route != nil && h.Hop != "send" {
			line += " > " + h.Route.Dev
		}
		for _, c := range append([]render.Change{{}}, h.Changes...) {
			if h.Change != nil && c.Kind == "" {
				c = *h.Change
			}
			switch {
			case c.Kind == "encap":
				line += " encap " + h.Tunnel.Kind
			case c.From != "":
				line += fmt.Sprintf(" %s %s>%s", c.Kind, port(c.From, r), port(c.To, r))
			case c.Kind != "":
				line += " " + c.Kind
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// checkFunctions checks that the wanted calls are there, in this order. Others
// may be between them: which of a host's tables are there is its own affair.
func checkFunctions(t *testing.T, r *render.Record, leg int, want []string) {
	t.Helper()
	got := functions(r, leg)
	var found []string
	at := 0
	for _, line := range want {
		if i := slices.Index(got[at:], line); i >= 0 {
			found = append(found, line)
			at += i + 1
		}
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("%s leg: calls in this order (-want +found):\n%sseen:\n  %s", r.Legs[leg].Direction, diff, strings.Join(got, "\n  "))
	}
}

// seenBy leaves out the calls that a backend can't see: by fentry, those of
// modules without BTF and, up to 6.5, of functions with more than six arguments.
// The encapsulation then shows at the tunnel's function before, if that is seen.
func seenBy(x export, calls []string) []string {
	probes := byName(x.start.Probes)
	var seen []string
	for _, line := range calls {
		function, told, _ := strings.Cut(strings.SplitN(line, " ", 2)[1], " ")
		switch n := len(seen); {
		case probes[function].Attached:
			seen = append(seen, line)
		case strings.HasPrefix(told, "encap ") && n > 0 && strings.HasSuffix(seen[n-1], "_xmit"):
			seen[n-1] += " " + told
		}
	}
	return seen
}

// The calls of a lookup from a pod by a service over a VXLAN tunnel.
var (
	vxlanQueryCalls = []string{
		"client ip_send_skb", "client ip_output > eth0",
		"node-a br_handle_frame", "node-a br_nf_pre_routing stolen",
		"node-a nf_hook_slow PREROUTING", "node-a nf_conntrack_in PREROUTING new",
		"node-a nf_nat_manip_pkt PREROUTING dnat 10.96.0.10:53>10.244.2.53:53", "node-a br_pass_frame_up",
		"node-a ip_rcv_core", "node-a ip_forward > vxlan.calico", "node-a nf_hook_slow FORWARD",
		"node-a ip_output > vxlan.calico", "node-a nf_hook_slow POSTROUTING", "node-a __nf_conntrack_confirm POSTROUTING",
		"node-a vxlan_xmit", "node-a iptunnel_xmit encap vxlan", "node-a ip_output > eth0",
		"node-b ip_rcv_core", "node-b ip_local_deliver", "node-b vxlan_rcv decap",
		"node-b ip_rcv_core", "node-b ip_forward > cni0", "node-b ip_output > cni0", "node-b __br_forward > veth-dns",
		"dns-b ip_rcv_core", "dns-b ip_local_deliver", "dns-b __udp_enqueue_schedule_skb", "dns-b skb_consume_udp",
	}
	vxlanReplyCalls = []string{
		"dns-b ip_send_skb", "dns-b ip_output > eth0",
		"node-b br_handle_frame", "node-b br_pass_frame_up", "node-b ip_rcv_core", "node-b ip_forward > vxlan.calico",
		"node-b vxlan_xmit", "node-b iptunnel_xmit encap vxlan", "node-b ip_output > eth0",
		"node-a ip_rcv_core", "node-a ip_local_deliver", "node-a vxlan_rcv decap",
		"node-a ip_rcv_core", "node-a nf_conntrack_in PREROUTING reply", "node-a ip_forward > cni0",
		"node-a ip_output > cni0", "node-a nf_nat_manip_pkt POSTROUTING un-dnat 10.244.2.53:53>10.96.0.10:53",
		"node-a __br_forward > veth-client",
		"client ip_rcv_core", "client ip_local_deliver", "client __udp_enqueue_schedule_skb", "client skb_consume_udp",
	}
)

// TestBackend sees a lookup that is answered, and one that is dropped, by each way
// to probe functions.
func TestBackend(t *testing.T) {
	for _, b := range kernel.Backends {
		t.Run(string(b), func(t *testing.T) {
			needBackend(t, b)
			x, r := answeredAndDropped(t, "--backend", string(b), "--rules", "off")
			dropped := x.only(t, "dropped.example.test.")
			if last := lastHop(t, dropped, "query"); dropped.Outcome != "dropped" || last.Drop == nil || last.NetNSName != "node-b" {
				t.Errorf("outcome %s, last hop %+v; want a drop in node-b", dropped.Outcome, last)
			}
			if b == kernel.BackendTracepoint {
				if calls := functions(r, 0); len(calls) > 0 {
					t.Errorf("functions were probed: %v", calls)
				}
				return
			}
			checkFunctions(t, r, 0, seenBy(x, vxlanQueryCalls))
			checkFunctions(t, r, 1, seenBy(x, vxlanReplyCalls))
			checkRefused(t, x, dropped)
			t.Logf("%d returns missed", x.stats.Lost["return"])
		})
	}
}

// A service by IPVS, and a tunnel of IP in IP: each rewrite and each function, both ways.
func TestIPVSOverIPIP(t *testing.T) {
	l := raise(t, lab.Config{Service: lab.ServiceIPVS, Endpoints: []string{lab.DNSB}, Overlay: lab.OverlayIPIP, BridgeNF: true})
	o := observe(t)
	res := ask(t, l.Client, lab.Service(), "a.example.test.", nil)
	r := end(t, o).only(t, "a.example.test.")
	checkAnswered(t, r, res)
	if r.Backend == nil || r.Backend.String() != "10.244.2.53:53" {
		t.Errorf("backend %v, want 10.244.2.53:53", r.Backend)
	}
	needs(t, "ip_rcv_core")
	taken := "ip_vs_in_hook"
	if !attached(t, taken) {
		taken = "ip_vs_remote_request4"
	}
	checkFunctions(t, r, 0, []string{
		"client ip_send_skb", "client ip_output > eth0",
		"node-a br_handle_frame", "node-a br_pass_frame_up", "node-a ip_rcv_core", "node-a ip_local_deliver",
		"node-a " + taken + " INPUT stolen", "node-a ip_vs_schedule INPUT",
		"node-a ip_vs_nat_xmit INPUT dnat 10.96.0.10:53>10.244.2.53:53",
		"node-a ip_output > tunl0", "node-a ip_tunnel_xmit", "node-a iptunnel_xmit encap ipip", "node-a ip_output > eth0",
		"node-b ip_rcv_core", "node-b ip_local_deliver", "node-b ipip_rcv decap",
		"node-b ip_rcv_core", "node-b ip_forward > cni0", "node-b ip_output > cni0", "node-b __br_forward > veth-dns",
		"dns-b ip_rcv_core", "dns-b ip_local_deliver", "dns-b __udp_enqueue_schedule_skb", "dns-b skb_consume_udp",
	})
	checkFunctions(t, r, 1, []string{
		"dns-b ip_send_skb", "dns-b ip_output > eth0",
		"node-b br_handle_frame", "node-b br_pass_frame_up", "node-b ip_rcv_core", "node-b ip_forward > tunl0",
		"node-b ip_tunnel_xmit", "node-b iptunnel_xmit encap ipip", "node-b ip_output > eth0",
		"node-a ip_rcv_core", "node-a ip_local_deliver", "node-a ipip_rcv decap",
		"node-a ip_rcv_core", "node-a ip_forward > cni0", "node-a handle_response FORWARD un-dnat 10.244.2.53:53>10.96.0.10:53",
		"node-a ip_output > cni0", "node-a __br_forward > veth-client",
		"client ip_rcv_core", "client ip_local_deliver", "client __udp_enqueue_schedule_skb", "client skb_consume_udp",
	})
	for leg, kind := range []string{"dnat", "un-dnat"} {
		for _, h := range r.Legs[leg].Hops {
			if h.Change != nil && h.Change.Kind == kind && (!strings.HasPrefix(h.Change.Name, "IPVS") || h.Change.From == "") {
				t.Errorf("%s by %q, want IPVS", kind, h.Change.Name)
			}
		}
	}
}

func TestGeneve(t *testing.T) {
	onGuests(t, lab.SomeGuests)
	l := raise(t, lab.Config{Service: lab.ServiceNFTables, Endpoints: []string{lab.DNSB}, Overlay: lab.OverlayGeneve, BridgeNF: true})
	o := observe(t)
	res := ask(t, l.Client, lab.Service(), "a.example.test.", nil)
	res6 := ask(t, l.Client, lab.Service6(), "six.example.test.", nil)
	x := end(t, o)
	r, r6 := x.only(t, "a.example.test."), x.only(t, "six.example.test.")
	checkAnswered(t, r, res)
	checkAnswered(t, r6, res6)
	needs(t, "ip_rcv_core")
	checkFunctions(t, r, 0, []string{
		"node-a geneve_xmit", "node-a iptunnel_xmit encap geneve", "node-b geneve_udp_encap_recv decap", "dns-b skb_consume_udp",
	})
	checkFunctions(t, r, 1, []string{
		"node-b geneve_xmit", "node-b iptunnel_xmit encap geneve", "node-a geneve_udp_encap_recv decap", "client skb_consume_udp",
	})
	checkFunctions(t, r6, 0, []string{
		"client ip6_send_skb", "client ip6_output > eth0", "node-a ip6_rcv_core",
		"node-a ip6_forward > " + lab.GeneveDev, "node-a geneve_xmit", "node-a iptunnel_xmit encap geneve",
		"node-b geneve_udp_encap_recv decap", "node-b ip6_rcv_core", "node-b ip6_forward > cni0",
		"dns-b ip6_input", "dns-b skb_consume_udp",
	})
}

// Without bridge-nf-call-iptables the bridge tells that it hands nothing to iptables.
func TestBridgeWithoutIPTables(t *testing.T) {
	onGuests(t, lab.SomeGuests)
	needs(t, "ip_rcv_core")
	needs(t, "br_nf_pre_routing")
	l := raise(t, lab.Config{Service: lab.ServiceNFTables, Endpoints: []string{lab.DNSA}})
	o := observe(t)
	askShort(t, l.Client, lab.Service(), "local.example.test.", os.ErrDeadlineExceeded)
	r := end(t, o).only(t, "local.example.test.")
	if r.Outcome != "unexpected-source" || len(r.Legs) < 2 {
		t.Fatalf("outcome %s, %d legs", r.Outcome, len(r.Legs))
	}
	checkFunctions(t, r, 1, []string{"node-a br_handle_frame", "node-a br_nf_pre_routing", "node-a __br_forward > veth-client"})
	for _, call := range functions(r, 1) {
		if strings.HasPrefix(call, "node-a nf_") || strings.Contains(call, "br_nf_pre_routing stolen") {
			t.Errorf("the reply met %s", call)
		}
	}
}

// checkRefused checks that it was seen which chain refused a query, even where its
// rule can only be inferred.
func checkRefused(t *testing.T, x export, r *render.Record) {
	t.Helper()
	if !byName(x.start.Probes)["nft_do_chain"].Attached {
		return // a module without BTF
	}
	h := lastHop(t, r, "query")
	if h.Drop == nil || h.Drop.Hook != "FORWARD" || h.Drop.How != "seen" || !strings.HasPrefix(h.Drop.Name, "nftables") {
		t.Fatalf("drop %+v, want one by nftables in FORWARD, seen", h.Drop)
	}
	if want := "nftables inet fence fence"; h.Drop.Name != want && h.Drop.Name != "nftables FORWARD" { // without types of modules
		t.Errorf("dropped by %q, want %q", h.Drop.Name, want)
	}
	checkFunctions(t, r, 0, seenBy(x, []string{"node-b ip_forward > cni0", "node-b nf_hook_slow FORWARD drop", "node-b nft_do_chain FORWARD drop"}))
}

// An address that nobody answers for: the neighbour is named, then the drop.
func TestNeighbourFailed(t *testing.T) {
	onGuests(t, lab.SomeGuests)
	needs(t, "ip_rcv_core")
	l := raise(t, lab.Config{})
	for _, p := range [][2]string{{"retrans_time_ms", "50"}, {"mcast_solicit", "1"}} {
		if err := l.NodeB.SetSysctl("net.ipv4.neigh."+lab.BridgeDev+"."+p[0], p[1]); err != nil {
			t.Fatal(err)
		}
	}
	o := observe(t)
	nobody := netip.MustParseAddrPort("10.244.2.99:53")
	_, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: nobody, Name: "a.example.test.", Timeout: lab.Patience(500 * time.Millisecond)})
	if err == nil {
		t.Fatal("somebody answered")
	}
	r := end(t, o).only(t, "a.example.test.")
	var waited *render.Hop
	for i, h := range r.Legs[0].Hops {
		if h.NetNSName == lab.NodeB && h.Waits != nil {
			waited = &r.Legs[0].Hops[i]
		}
	}
	if waited == nil || waited.Waits.Addr != "10.244.2.99" || waited.Waits.Dev != lab.BridgeDev {
		t.Errorf("no hop waits for 10.244.2.99 on %s:\n%s", lab.BridgeDev, strings.Join(functions(r, 0), "\n"))
	}
	if h := lastHop(t, r, "query"); h.Drop == nil || h.NetNSName != lab.NodeB {
		t.Errorf("last hop %+v, want a drop in node-b", h)
	}
}
