//go:build e2e

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// ask sends one lookup and fails the test if the error is not the one wanted.
func ask(t *testing.T, ns *lab.NS, server netip.AddrPort, name string, wantErr error) lab.Result {
	t.Helper()
	res, err := ns.Lookup(t.Context(), lab.LookupOptions{Server: server, Name: name})
	if !errors.Is(err, wantErr) {
		t.Fatalf("lookup of %s: error %v, want %v", name, err, wantErr)
	}
	return res
}

// checkWays compares both legs of a lookup with what the tool sees by default.
func checkWays(t *testing.T, r *render.Record, query, reply []string) {
	t.Helper()
	checkWaysBy(t, probes(t), r, query, reply)
}

// checkWaysBy compares both legs of a lookup with what these probes see.
func checkWaysBy(t *testing.T, by map[string]render.ProbeRecord, r *render.Record, query, reply []string) {
	t.Helper()
	if len(r.Legs) != 2 || r.Legs[0].Direction != "query" || r.Legs[1].Direction != "reply" {
		t.Errorf("%d legs, want a query and a reply", len(r.Legs))
	}
	if diff := cmp.Diff(visibleBy(by, query), way(r, 0)); diff != "" {
		t.Errorf("query leg (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(visibleBy(by, reply), way(r, 1)); diff != "" {
		t.Errorf("reply leg (-want +got):\n%s", diff)
	}
	last := uint64(0)
	for _, leg := range r.Legs[:1] {
		for _, h := range leg.Hops {
			if h.TNS < last {
				t.Errorf("hop %s at %d ns comes after one at %d ns", h.Hop, h.TNS, last)
			}
			last = h.TNS
		}
	}
}

// visible makes of a whole way what the tool sees of it by default.
func visible(t *testing.T, whole []string) []string {
	t.Helper()
	return visibleBy(probes(t), whole)
}

// visibleBy makes of a whole way what these probes see of it. What a hook has
// changed that is not seen shows at the next hop, inferred. Function probes see
// what netfilter has changed, not that it was asked.
func visibleBy(by map[string]render.ProbeRecord, whole []string) []string {
	attached := func(probe string) bool { return by[probe].Attached }
	var way []string
	changed, dev := "", ""
	for _, line := range whole {
		ns, what, _ := strings.Cut(line, " ")
		fields := strings.Fields(what)
		place, rest := fields[0], strings.Join(fields[min(2, len(fields)):], " ")
		isHook := slices.Contains(hooks, place)
		switch {
		case place == "socket" && !attached("sk_data_ready") && !attached("__udp_enqueue_schedule_skb"):
		case strings.HasSuffix(line, " icmp") && !attached("icmp_send"):
		case attached("nf_hook_slow") && isHook && fields[1] == "nat":
			way = append(way, line)
		case attached("nf_hook_slow") && isHook && rest != "": // into a tunnel
			way = append(way, fmt.Sprintf("%s %s tunnel-out %s", ns, dev, rest))
		case attached("nf_hook_slow") && rest == "decap":
			way = append(way, fmt.Sprintf("%s %s tunnel-in decap", ns, dev), fmt.Sprintf("%s %s rx", ns, place))
		case attached("nf_hook_slow") && isHook:
		case !isHook || attached("nf_enter"):
			way = append(way, line+changed)
			changed = ""
		case fields[1] == "nat":
			changed += " " + rest + " at " + place + "?"
		case rest != "": // in or out of a tunnel
			changed += " " + rest
		}
		if !isHook {
			dev = place
		}
	}
	return way
}

var hooks = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// probes returns the tool's probes, as it could attach them here.
func probes(t *testing.T) map[string]render.ProbeRecord {
	t.Helper()
	probesOnce.Do(func() { probesHere = probesBy(t, "--tc") })
	return probesHere
}

var (
	probesOnce sync.Once
	probesHere map[string]render.ProbeRecord
)

// probesBy returns the tool's probes with these flags.
func probesBy(t *testing.T, flags ...string) map[string]render.ProbeRecord {
	t.Helper()
	out, err := exec.Command(bin, append([]string{"probes", "-o", "json"}, flags...)...).Output()
	if err != nil {
		t.Fatalf("probes: %v", err)
	}
	return probesIn(t, out)
}

// probesIn reads what the tool's verb probes writes.
func probesIn(t *testing.T, out []byte) map[string]render.ProbeRecord {
	t.Helper()
	var rec struct{ Probes []render.ProbeRecord }
	unmarshal(t, out, &rec)
	return byName(rec.Probes)
}

func byName(list []render.ProbeRecord) map[string]render.ProbeRecord {
	found := map[string]render.ProbeRecord{}
	for _, p := range list {
		found[p.Probe] = p
	}
	return found
}

// seesHooks says whether the tool sees which hook of netfilter a packet is in.
func seesHooks(t *testing.T) bool {
	t.Helper()
	return attached(t, "nf_enter") || attached(t, "nf_hook_slow")
}

// attached says whether the tool can attach a probe here.
func attached(t *testing.T, probe string) bool {
	t.Helper()
	return probes(t)[probe].Attached
}

// needs skips a test of what a probe shows where the tool can't attach it.
func needs(t *testing.T, probe string) {
	t.Helper()
	if !attached(t, probe) {
		t.Skipf("%s: %s", probe, probes(t)[probe].Note)
	}
}

// checkAnswered checks what a healthy lookup says of itself.
func checkAnswered(t *testing.T, r *render.Record, res lab.Result) {
	t.Helper()
	if r.Outcome != "answered" || r.Rcode != "NOERROR" || r.Incomplete {
		t.Errorf("outcome %s %s, incomplete %v %v; want answered NOERROR", r.Outcome, r.Rcode, r.Incomplete, r.Why)
	}
	if diff := cmp.Diff(res.Answers, r.Answers); diff != "" {
		t.Errorf("answers (-client +trace):\n%s", diff)
	}
	if r.DNSID != res.ID || r.Client.String() != res.Local.String() || r.Attempts != 1 {
		t.Errorf("ID %d, client %s, %d attempts; the client says %d, %s, 1", r.DNSID, r.Client, r.Attempts, res.ID, res.Local)
	}
	if r.LatencyNS == 0 || r.LatencyNS > uint64(res.Latency) {
		t.Errorf("latency %d ns, the client measured %d", r.LatencyNS, res.Latency)
	}
}

// The way through the lab from the client's pod to dns-b by the service, and back.
var (
	remoteQuery = []string{
		"client OUTPUT hook", "client POSTROUTING hook", "client eth0 tx",
		"node-a veth-client rx", "node-a PREROUTING nat dnat 10.96.0.10:53>10.244.2.53:53", "node-a cni0 rx",
		"node-a FORWARD hook", "node-a POSTROUTING hook", "node-a vxlan.calico tx",
		"node-a OUTPUT hook encap(vni 4096)", "node-a POSTROUTING hook", "node-a eth0 tx",
		"node-b eth0 rx", "node-b PREROUTING hook", "node-b INPUT hook",
		"node-b vxlan.calico rx decap", "node-b PREROUTING hook", "node-b FORWARD hook", "node-b POSTROUTING hook",
		"node-b cni0 tx", "node-b veth-dns tx",
		"dns-b eth0 rx", "dns-b PREROUTING hook", "dns-b INPUT hook", "dns-b socket",
	}
	remoteReply = []string{
		"dns-b OUTPUT hook", "dns-b POSTROUTING hook", "dns-b eth0 tx",
		"node-b veth-dns rx", "node-b PREROUTING hook", "node-b cni0 rx", "node-b FORWARD hook", "node-b POSTROUTING hook",
		"node-b vxlan.calico tx", "node-b OUTPUT hook encap(vni 4096)", "node-b POSTROUTING hook", "node-b eth0 tx",
		"node-a eth0 rx", "node-a PREROUTING hook", "node-a INPUT hook",
		"node-a vxlan.calico rx decap", "node-a PREROUTING hook", "node-a FORWARD hook",
		"node-a POSTROUTING nat un-dnat 10.244.2.53:53>10.96.0.10:53",
		"node-a cni0 tx", "node-a veth-client tx",
		"client eth0 rx", "client PREROUTING hook", "client INPUT hook", "client socket",
	}
)

func TestServiceRemote(t *testing.T) {
	for _, mode := range []lab.ServiceMode{lab.ServiceIPTables, lab.ServiceNFTables} {
		t.Run(string(mode), func(t *testing.T) {
			if mode == lab.ServiceNFTables {
				sameEverywhere(t, "TestBackend goes the same way")
			}
			l := raise(t, lab.Config{Service: mode, Endpoints: []string{lab.DNSB}, BridgeNF: true})
			o := observe(t)
			res := ask(t, l.Client, lab.Service(), "a.example.test.", nil)
			r := end(t, o).only(t, "a.example.test.")
			checkAnswered(t, r, res)
			checkWays(t, r, remoteQuery, remoteReply)
			if r.Backend == nil || r.Backend.String() != "10.244.2.53:53" || r.Server.String() != "10.96.0.10:53" {
				t.Errorf("server %v, backend %v", r.Server, r.Backend)
			}
			if r.Client.NetNSName != "client" {
				t.Errorf("client's namespace %q", r.Client.NetNSName)
			}
		})
	}
}

func TestServiceLocal(t *testing.T) {
	onGuests(t, lab.SomeGuests)
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSA}, BridgeNF: true})
	// Until the pod's address is resolved, and when that grows old, packets go by the bridge's own device.
	if err := l.NodeA.SetSysctl("net.ipv4.neigh.cni0.base_reachable_time_ms", "3600000"); err != nil {
		t.Fatal(err)
	}
	ask(t, l.Client, lab.Service(), "warm.example.test.", nil)
	o := observe(t)
	res := ask(t, l.Client, lab.Service(), "local.example.test.", nil)
	r := end(t, o).only(t, "local.example.test.")
	checkAnswered(t, r, res)
	checkWays(t, r, []string{
		"client OUTPUT hook", "client POSTROUTING hook", "client eth0 tx",
		// br_netfilter puts what it has translated back on the bridge: no routing
		"node-a veth-client rx", "node-a PREROUTING nat dnat 10.96.0.10:53>10.244.1.53:53",
		"node-a FORWARD hook", "node-a POSTROUTING hook", "node-a veth-dns tx",
		"dns-a eth0 rx", "dns-a PREROUTING hook", "dns-a INPUT hook", "dns-a socket",
	}, []string{
		"dns-a OUTPUT hook", "dns-a POSTROUTING hook", "dns-a eth0 tx",
		// from bridge port to bridge port, and through netfilter all the same: br_netfilter
		"node-a veth-dns rx", "node-a PREROUTING hook", "node-a FORWARD hook",
		"node-a POSTROUTING nat un-dnat 10.244.1.53:53>10.96.0.10:53", "node-a veth-client tx",
		"client eth0 rx", "client PREROUTING hook", "client INPUT hook", "client socket",
	})
}

// Without br_netfilter the reply crosses the bridge untranslated (CASES: "reply from unexpected source").
func TestServiceLocalWithoutBridgeNF(t *testing.T) {
	sameEverywhere(t, "TestBridgeWithoutIPTables goes the same way")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSA}})
	o := observe(t)
	ask(t, l.Client, lab.Service(), "local.example.test.", os.ErrDeadlineExceeded)
	r := end(t, o).only(t, "local.example.test.")
	if want := "the reply came from 10.244.1.53:53, the client had asked 10.96.0.10:53"; r.Outcome != "unexpected-source" || r.Detail != want {
		t.Errorf("outcome %q, %q; want unexpected-source, %q", r.Outcome, r.Detail, want)
	}
	if diff := cmp.Diff(visible(t, []string{
		"dns-a OUTPUT hook", "dns-a POSTROUTING hook", "dns-a eth0 tx", "node-a veth-dns rx", "node-a veth-client tx",
		"client eth0 rx", "client PREROUTING hook", "client INPUT hook", "client eth0 icmp", "client eth0 drop",
	}), way(r, 1)); diff != "" {
		t.Errorf("reply leg (-want +got):\n%s", diff)
	}
}

func TestPodToPod(t *testing.T) {
	sameEverywhere(t, "TestServiceRemote goes the same way")
	l := raise(t, lab.Config{})
	for _, c := range []struct {
		name   string
		server netip.Addr
	}{
		{"same-node.example.test.", l.DNSA.Addr},
		{"same-node6.example.test.", l.DNSA.Addr6},
		{"other-node.example.test.", l.DNSB.Addr},
		{"other-node6.example.test.", l.DNSB.Addr6},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := observe(t)
			res := ask(t, l.Client, netip.AddrPortFrom(c.server, 53), c.name, nil)
			r := end(t, o).only(t, c.name)
			checkAnswered(t, r, res)
			if r.Backend != nil {
				t.Errorf("backend %v, but nothing was translated", r.Backend)
			}
			if c.server == l.DNSB.Addr || c.server == l.DNSB.Addr6 {
				query := slices.Clone(remoteQuery)
				query[4] = "node-a PREROUTING hook"
				reply := slices.Clone(remoteReply)
				reply[18] = "node-a POSTROUTING hook"
				withoutBridgeNF(t, r, query, reply)
				return
			}
			checkWays(t, r, []string{
				"client OUTPUT hook", "client POSTROUTING hook", "client eth0 tx", "node-a veth-client rx", "node-a veth-dns tx",
				"dns-a eth0 rx", "dns-a PREROUTING hook", "dns-a INPUT hook", "dns-a socket",
			}, []string{
				"dns-a OUTPUT hook", "dns-a POSTROUTING hook", "dns-a eth0 tx", "node-a veth-dns rx", "node-a veth-client tx",
				"client eth0 rx", "client PREROUTING hook", "client INPUT hook", "client socket",
			})
		})
	}
}

// withoutBridgeNF checks ways that were written down for a bridge that hands
// its packets to netfilter: without it, PREROUTING comes behind the bridge.
func withoutBridgeNF(t *testing.T, r *render.Record, query, reply []string) {
	t.Helper()
	query[4], query[5] = query[5], query[4]
	reply[4], reply[5] = reply[5], reply[4]
	checkWays(t, r, query, reply)
}

func TestHostNetworkClient(t *testing.T) {
	onGuests(t, lab.OneGuest)
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	o := observe(t)
	res := ask(t, l.NodeA, lab.Service(), "host.example.test.", nil)
	r := end(t, o).only(t, "host.example.test.")
	checkAnswered(t, r, res)
	// kube-proxy masquerades what comes from outside the pods' network
	const snat = "10.244.1.0:masq"
	masquerade := regexp.MustCompile(`10\.244\.1\.0:\d+`)
	for leg := range r.Legs {
		for h := range r.Legs[leg].Hops {
			hop := &r.Legs[leg].Hops[h]
			changes := []*render.Change{hop.Change}
			for i := range hop.Changes {
				changes = append(changes, &hop.Changes[i])
			}
			for _, c := range changes {
				if c != nil {
					c.From, c.To = masquerade.ReplaceAllString(c.From, snat), masquerade.ReplaceAllString(c.To, snat)
				}
			}
		}
	}
	checkWays(t, r, append([]string{
		"node-a OUTPUT nat dnat 10.96.0.10:53>10.244.2.53:53",
		"node-a POSTROUTING nat snat 192.0.2.1:client>10.244.1.0:masq",
	}, remoteQuery[8:]...), append(slices.Concat(remoteReply[:4], []string{
		"node-b cni0 rx", "node-b PREROUTING hook", // no br_netfilter
	}, remoteReply[6:16]), []string{
		"node-a PREROUTING nat un-snat 10.244.1.0:masq>192.0.2.1:client",
		"node-a INPUT nat un-dnat 10.244.2.53:53>10.96.0.10:53", "node-a socket",
	}...))
}

func TestIPv6Service(t *testing.T) {
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	o := observe(t)
	res := ask(t, l.Client, lab.Service6(), "six.example.test.", nil)
	r := end(t, o).only(t, "six.example.test.")
	checkAnswered(t, r, res)
	query := slices.Clone(remoteQuery)
	query[4] = "node-a PREROUTING nat dnat [fd00:10:96::10]:53>[fd00:10:244:2::53]:53"
	reply := slices.Clone(remoteReply)
	reply[18] = "node-a POSTROUTING nat un-dnat [fd00:10:244:2::53]:53>[fd00:10:96::10]:53"
	checkWays(t, r, query, reply)
}

func TestIPv6ExtensionHeaders(t *testing.T) {
	onGuests(t, lab.OneGuest)
	l := raise(t, lab.Config{})
	o := observe(t)
	query := new(dns.Msg)
	query.SetQuestion("ext.example.test.", dns.TypeA)
	wire, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	server := netip.AddrPortFrom(l.DNSB.Addr6, 53)
	if _, err := l.Client.SendUDP6(server, wire, lab.ExtHeaders{HopByHop: 8, Destination: 16}); err != nil {
		t.Fatal(err)
	}
	ask(t, l.Client, server, "after.example.test.", nil)
	r := end(t, o).only(t, "ext.example.test.")
	want := visible(t, []string{"dns-b eth0 rx", "dns-b socket"})
	if got := way(r, 0); !slices.Contains(got, want[len(want)-1]) {
		t.Errorf("query leg: %q, want it to reach %s", got, want[len(want)-1])
	}
}
