//go:build e2e

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// names returns the names that an export's lookups ask for, sorted, each with its type.
func (x export) names() []string {
	var names []string
	for _, r := range x.lookups {
		names = append(names, r.Name+" "+r.QType)
	}
	slices.Sort(names)
	return names
}

// labOnly are flags that keep out what happens elsewhere on this machine.
func labOnly(l *lab.Lab) []string {
	var args []string
	for _, ns := range l.Namespaces() {
		args = append(args, "--netns", ns.Name)
	}
	return args
}

func TestFilters(t *testing.T) {
	sameEverywhere(t, "names, types and addresses are chosen in user space")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	cases := []struct {
		args []string
		want []string
	}{
		{[]string{"--name", "one.example.test"}, []string{"one.example.test. A", "one.example.test. AAAA", "sub.one.example.test. A"}},
		{[]string{"--name", "ONE.example.test."}, []string{"one.example.test. A", "one.example.test. AAAA", "sub.one.example.test. A"}},
		{[]string{"--name", "*.one.example.test"}, []string{"sub.one.example.test. A"}},
		{[]string{"--name", "t?o.example.test", "--name", "sub.*"}, []string{"sub.one.example.test. A", "two.example.test. A"}},
		{[]string{"--type", "AAAA"}, []string{"one.example.test. AAAA"}},
		{[]string{"--type", "aaaa,TYPE28,MX"}, []string{"one.example.test. AAAA"}},
		{[]string{"--client", "10.244.1.53"}, []string{"two.example.test. A"}},
		{[]string{"--client", "10.244.1.0/24", "--name", "two.example.test"}, []string{"two.example.test. A"}},
		{[]string{"--client", "192.0.2.0/24,fd00::/8"}, nil},
		{[]string{"--server", "10.96.0.10", "--type", "A"}, []string{"one.example.test. A", "sub.one.example.test. A"}},
		{[]string{"--server", "10.244.2.53", "--name", "sub.one.example.test"}, []string{"sub.one.example.test. A"}}, // what the service stood for
		{[]string{"--server", "10.244.2.53", "--client", "10.244.1.53"}, []string{"two.example.test. A"}},            // asked itself
		{[]string{"--name", "one.example.test", "--type", "A", "--server", "10.244.2.53"}, []string{"one.example.test. A", "sub.one.example.test. A"}},
	}
	var tools []*lab.Observer
	for _, c := range cases {
		tools = append(tools, observe(t, append(labOnly(l), c.args...)...))
	}
	ask(t, l.Client, lab.Service(), "one.example.test.", nil)
	if _, err := l.Client.Lookup(t.Context(), lab.LookupOptions{Server: lab.Service(), Name: "one.example.test.", Type: dns.TypeAAAA}); err != nil {
		t.Fatal(err)
	}
	ask(t, l.Client, lab.Service(), "sub.one.example.test.", nil)
	ask(t, l.DNSA, netip.AddrPortFrom(l.DNSB.Addr, 53), "two.example.test.", nil)
	for i, c := range cases {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			x := end(t, tools[i])
			if diff := cmp.Diff(c.want, x.names()); diff != "" {
				t.Errorf("lookups (-want +got):\n%s", diff)
			}
			if got := x.stats.Outcomes["answered"]; got != uint64(len(c.want)) {
				t.Errorf("stats count %d answered, %d were shown", got, len(c.want))
			}
		})
	}
}

// Who sees one namespace alone can't tell how a lookup began or ended elsewhere.
func TestOneNamespace(t *testing.T) {
	sameEverywhere(t, "a map that is looked up")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	for _, spec := range []string{lab.NodeA, l.NodeA.Path(), fmt.Sprint(l.NodeA.Inode())} {
		o := observe(t, "--netns", spec)
		ask(t, l.Client, lab.Service(), "node-a.example.test.", nil)
		r := end(t, o).only(t, "node-a.example.test.")
		for i, leg := range r.Legs {
			for _, h := range leg.Hops {
				if h.NetNSName != lab.NodeA {
					t.Errorf("--netns %s: hop %s in %q", spec, h.Hop, h.NetNSName)
				}
			}
			whole := remoteQuery[3:12] // node-a's part
			if leg.Direction == "reply" {
				whole = remoteReply[12:21]
			}
			if n, want := len(way(r, i)), len(visible(t, whole)); n < want {
				t.Errorf("--netns %s: %s leg of %d hops, want %d: %q", spec, leg.Direction, n, want, way(r, i))
			}
		}
		if r.Client.String() == "" || r.Server.String() != "10.96.0.10:53" || r.Backend == nil || r.Backend.String() != "10.244.2.53:53" {
			t.Errorf("--netns %s: client %v, server %v, backend %v", spec, r.Client, r.Server, r.Backend)
		}
		if r.Client.NetNSName != "" || r.Client.Process != "" {
			t.Errorf("--netns %s: it says that the client is in %q, process %q; the client's namespace was not looked at",
				spec, r.Client.NetNSName, r.Client.Process)
		}
		if r.Outcome != "answered" {
			t.Errorf("--netns %s: outcome %s, %s; the reply left node-a towards the client", spec, r.Outcome, r.Detail)
		}
	}
}

// What is lost beyond the only namespace observed was not seen to be dropped.
func TestOneNamespaceLost(t *testing.T) {
	sameEverywhere(t, "outcomes are judged in user space")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	remove := fence(t, l.Client, nil, "type filter hook input priority 7; udp sport 53 drop;")
	o := observe(t, "--netns", lab.NodeB, "--count", "1", "--name", "beyond.example.test")
	askShort(t, l.Client, lab.Service(), "beyond.example.test.", os.ErrDeadlineExceeded)
	r := wait(t, o).only(t, "beyond.example.test.")
	remove()
	if r.Outcome == "dropped" || r.Outcome == "unexpected-source" {
		t.Errorf("outcome %s, %s; node-b saw the query and the reply pass", r.Outcome, r.Detail)
	}
}

func TestPorts(t *testing.T) {
	sameEverywhere(t, "ports are selected by constants of the programs")
	l := raise(t, lab.Config{})
	other := netip.AddrPortFrom(l.DNSB.Addr, 1053)
	if _, err := lab.StartDNS(l.DNSB, lab.DNSOptions{Addrs: []netip.AddrPort{other}}); err != nil {
		t.Fatal(err)
	}
	both := observe(t, append(labOnly(l), "--port", "53", "--port", "1053")...)
	only := observe(t, append(labOnly(l), "--port", "1053")...)
	usual := observe(t, labOnly(l)...)
	ask(t, l.Client, other, "other-port.example.test.", nil)
	ask(t, l.Client, netip.AddrPortFrom(l.DNSB.Addr, 53), "port.example.test.", nil)
	for _, c := range []struct {
		name string
		o    *lab.Observer
		want []string
	}{
		{"both", both, []string{"other-port.example.test. A", "port.example.test. A"}},
		{"only the other", only, []string{"other-port.example.test. A"}},
		{"default", usual, []string{"port.example.test. A"}},
	} {
		x := end(t, c.o)
		if diff := cmp.Diff(c.want, x.names()); diff != "" {
			t.Errorf("%s: lookups (-want +got):\n%s", c.name, diff)
		}
		for _, r := range x.lookups {
			checkVerdict(t, r, "answered")
		}
	}
}

func TestCountAndDuration(t *testing.T) {
	sameEverywhere(t, "usage")
	l := raise(t, lab.Config{})
	o := observe(t, append(labOnly(l), "--count", "3")...)
	for i := range 5 {
		ask(t, l.Client, netip.AddrPortFrom(l.DNSB.Addr, 53), fmt.Sprintf("count%d.example.test.", i), nil)
	}
	x := wait(t, o)
	if want := []string{"count0.example.test. A", "count1.example.test. A", "count2.example.test. A"}; !slices.Equal(x.names(), want) {
		t.Errorf("--count 3: lookups %q, want %q", x.names(), want)
	}
	begin := time.Now()
	x = wait(t, observe(t, append(labOnly(l), "--duration", "300ms")...))
	if took := time.Since(begin); took < 300*time.Millisecond || len(x.lookups) > 0 {
		t.Errorf("--duration 300ms: %s, %d lookups; want no less, none", took, len(x.lookups))
	}
}

func TestEvents(t *testing.T) {
	sameEverywhere(t, "a form of output")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	o := observe(t, append(labOnly(l), "--events")...)
	res := ask(t, l.Client, lab.Service(), "events.example.test.", nil)
	x := end(t, o)
	r := x.only(t, "events.example.test.")
	checkAnswered(t, r, res)
	checkWays(t, r, remoteQuery, remoteReply)
	hops := len(visible(t, remoteQuery)) + len(visible(t, remoteReply))
	if x.events < hops || uint64(x.events) != x.stats.Events {
		t.Errorf("%d event records, stats count %d; want the same, one or more for each of %d hops", x.events, x.stats.Events, hops)
	}
}

// Tracepoints alone, nothing in the packets' way: NAT is inferred from what
// conntrack says.
func TestPassive(t *testing.T) {
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	o := observe(t, "--passive")
	res := ask(t, l.Client, lab.Service(), "passive.example.test.", nil)
	hostRes := ask(t, l.NodeA, lab.Service(), "passive-host.example.test.", nil)
	x := end(t, o)
	for _, p := range x.start.Probes {
		if p.Attached && p.Kind != "tracepoint" {
			t.Errorf("--passive: %s is attached to %s %s", p.Probe, p.Kind, p.Target)
		}
	}
	r := x.only(t, "passive.example.test.")
	checkAnswered(t, r, res)
	checkWaysBy(t, byName(x.start.Probes), r, []string{
		"client eth0 tx", "node-a veth-client rx",
		"node-a cni0 rx dnat 10.96.0.10:53>10.244.2.53:53 at PREROUTING?",
		"node-a vxlan.calico tx", "node-a eth0 tx encap(vni 4096)", "node-b eth0 rx", "node-b vxlan.calico rx decap",
		"node-b cni0 tx", "node-b veth-dns tx", "dns-b eth0 rx", "dns-b socket",
	}, []string{
		"dns-b eth0 tx", "node-b veth-dns rx", "node-b cni0 rx", "node-b vxlan.calico tx", "node-b eth0 tx encap(vni 4096)",
		"node-a eth0 rx", "node-a vxlan.calico rx decap",
		"node-a cni0 tx un-dnat 10.244.2.53:53>10.96.0.10:53 at POSTROUTING?", "node-a veth-client tx",
		"client eth0 rx", "client socket",
	})
	host := x.only(t, "passive-host.example.test.")
	if host.Outcome != "answered" || host.Incomplete || host.DNSID != hostRes.ID {
		t.Errorf("the node's own lookup: %s, %s, incomplete %v; want answered", host.Outcome, host.Detail, host.Incomplete)
	}
}

func TestTC(t *testing.T) {
	needs(t, "tc_ingress")
	l := raise(t, lab.Config{})
	all := observe(t, append(labOnly(l), "--tc")...)
	some := observe(t, append(labOnly(l), "--tc=cni*", "--tc=nothing")...)
	ask(t, l.Client, netip.AddrPortFrom(l.DNSB.Addr, 53), "tc.example.test.", nil)
	hops := func(o *lab.Observer) (query, reply []string) {
		r := end(t, o).only(t, "tc.example.test.")
		checkVerdict(t, r, "answered")
		is := func(line string) bool {
			return !strings.HasSuffix(line, "tc-ingress") && !strings.HasSuffix(line, "tc-egress")
		}
		return slices.DeleteFunc(way(r, 0), is), slices.DeleteFunc(way(r, 1), is)
	}
	for _, c := range []struct {
		name         string
		o            *lab.Observer
		query, reply []string
	}{
		{"all devices", all, []string{
			"client eth0 tc-egress", "node-a veth-client tc-ingress", "node-a cni0 tc-ingress",
			"node-a vxlan.calico tc-egress", "node-a eth0 tc-egress", "node-b eth0 tc-ingress", "node-b vxlan.calico tc-ingress",
			"node-b cni0 tc-egress", "node-b veth-dns tc-egress", "dns-b eth0 tc-ingress",
		}, []string{
			"dns-b eth0 tc-egress", "node-b veth-dns tc-ingress", "node-b cni0 tc-ingress",
			"node-b vxlan.calico tc-egress", "node-b eth0 tc-egress", "node-a eth0 tc-ingress", "node-a vxlan.calico tc-ingress",
			"node-a cni0 tc-egress", "node-a veth-client tc-egress", "client eth0 tc-ingress",
		}},
		{"bridges", some, []string{"node-a cni0 tc-ingress", "node-b cni0 tc-egress"}, []string{"node-b cni0 tc-ingress", "node-a cni0 tc-egress"}},
	} {
		query, reply := hops(c.o)
		if diff := cmp.Diff(append(c.query, c.reply...), append(query, reply...)); diff != "" {
			t.Errorf("%s: tc hops (-want +got):\n%s", c.name, diff)
		}
	}
}

// live is a tool whose records are read as they come.
type live struct {
	*lab.Observer
	records chan *render.Record
}

// observeLive starts the tool and reads its lookups from a pipe.
func observeLive(t *testing.T, args ...string) live {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // the tool has its own
	o, err := lab.ObserveTo(t.Context(), w, bin, append([]string{"trace", "-o", "json", "--timeout", toolTimeout()}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	tool := live{o, make(chan *render.Record, 1024)}
	go func() {
		defer r.Close()
		defer close(tool.records)
		for s := bufio.NewScanner(r); s.Scan(); {
			rec := &render.Record{}
			if json.Unmarshal(s.Bytes(), rec) == nil && rec.Type == "lookup" {
				tool.records <- rec
			}
		}
	}()
	return tool
}

// next returns the next lookup for name.
func (l live) next(t *testing.T, name string) *render.Record {
	t.Helper()
	patience := lab.Patience(10 * time.Second)
	late := time.After(patience)
	for {
		select {
		case r, ok := <-l.records:
			if !ok {
				t.Fatalf("the tool ended: %s", l.Stderr())
			}
			if r.Name == name {
				return r
			}
		case <-late:
			t.Fatalf("no lookup for %s within %s", name, patience)
		}
	}
}

// A pod that comes while the tool runs gets its probes within seconds, and its
// name.
func TestNewPod(t *testing.T) {
	sameEverywhere(t, "namespaces are found in user space")
	l := raise(t, lab.Config{})
	tool := observeLive(t)
	pod := addPod(t, l)
	begin := visible(t, []string{"late OUTPUT hook", "late POSTROUTING hook", "late eth0 tx"})
	patience := lab.Patience(5 * time.Second)
	deadline := time.Now().Add(patience)
	for i := 0; ; i++ {
		name := fmt.Sprintf("late%d.example.test.", i)
		ask(t, pod, netip.AddrPortFrom(l.DNSA.Addr, 53), name, nil)
		r := tool.next(t, name)
		checkVerdict(t, r, "answered")
		got := way(r, 0)
		if len(got) > len(begin) && slices.Equal(got[:len(begin)], begin) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s the new pod's lookups begin with %q, want %q", patience, got[:min(len(begin), len(got))], begin)
		}
	}
	if err := tool.Stop(); err != nil {
		t.Errorf("tool: %v: %s", err, tool.Stderr())
	}
}

// addPod adds a pod to node-a's bridge.
func addPod(t *testing.T, l *lab.Lab) *lab.NS {
	t.Helper()
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := l.NodeA.Command(context.WithoutCancel(t.Context()), name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v: %s", name, args, err, out)
		}
	}
	// Not "ip netns add": it makes a shared mount of /run/netns.
	path := filepath.Join(filepath.Dir(l.NodeA.Path()), "late")
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	run("unshare", "--net="+path, "true")
	t.Cleanup(func() {
		run("umount", path)
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	})
	run("ip", "link", "add", "veth-late", "type", "veth", "peer", "name", "eth0", "netns", "late")
	run("ip", "link", "set", "veth-late", "up", "master", lab.BridgeDev)
	run("ip", "-n", "late", "addr", "add", "10.244.1.77/24", "dev", "eth0")
	run("ip", "-n", "late", "link", "set", "eth0", "up")
	ns, err := lab.Open("late")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func TestText(t *testing.T) {
	sameEverywhere(t, "text is made in user space")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	o, err := lab.Observe(t.Context(), bin, append(labOnly(l), "--timeout", toolTimeout())...)
	if err != nil {
		t.Fatal(err)
	}
	res := ask(t, l.Client, lab.Service(), "text.example.test.", nil)
	remove := fence(t, l.NodeB, nil, "type filter hook forward priority 7; udp dport 53 drop;")
	askShort(t, l.Client, lab.Service(), "text-dropped.example.test.", os.ErrDeadlineExceeded)
	remove()
	if err := o.Stop(); err != nil {
		t.Fatalf("%v: %s", err, o.Stderr())
	}
	text := string(o.Stdout())
	checkPlain(t, text)
	at := func(hook string) string {
		if seesHooks(t) {
			return ""
		}
		return fmt.Sprintf(" (at %s, inferred)", hook)
	}
	drop := []string{"DROP"}
	if seesHooks(t) {
		drop = append(drop, "in hook FORWARD") // by a rule, if it was read before it was gone
	}
	for _, want := range append(drop,
		"text.example.test. A  answered NOERROR 203.0.113.7 in ",
		fmt.Sprintf("client %s", res.Local), "asked 10.96.0.10:53, that is 10.244.2.53:53", fmt.Sprintf("ID %d\n", res.ID),
		"DNAT 10.96.0.10:53 → 10.244.2.53:53"+at("PREROUTING")+" by iptables nat PREROUTING → KUBE-SERVICES → ", "UN-DNAT 10.244.2.53:53 → 10.96.0.10:53"+at("POSTROUTING")+"\n",
		"encapsulated: vxlan, VNI 4096, 192.0.2.1:", "decapsulated\n",
		"text-dropped.example.test. A  dropped: the query: "+reasonPhrase(t, "NETFILTER_DROP")+" in nf", // nf_hook_slow or nft_do_chain
	) {
		if !strings.Contains(text, want) {
			t.Errorf("the text does not say %q", want)
		}
	}
	for line := range strings.Lines(text) {
		if strings.TrimRight(line, " \n")+"\n" != line {
			t.Errorf("line %q ends in blanks", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	if got := string(o.Stderr()); !strings.Contains(got, "1 answered, 1 dropped") {
		t.Errorf("the summary does not count 1 answered, 1 dropped: %s", got)
	}
}

// checkPlain checks that a text is safe for any terminal: no control characters.
func checkPlain(t *testing.T, text string) {
	t.Helper()
	for i, r := range text {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' {
			from := max(0, i-40)
			t.Fatalf("character %U in the text: %q", r, text[from:min(len(text), i+40)])
		}
	}
}

func TestDnsmasq(t *testing.T) {
	sameEverywhere(t, "another server")
	l, err := lab.New(t.Context(), lab.Config{Service: lab.ServiceNFTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d, err := lab.StartDnsmasq(t.Context(), l.DNSB, lab.DaemonOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := observe(t)
	res := ask(t, l.Client, lab.Service(), "dnsmasq.example.test.", nil)
	r := end(t, o).only(t, "dnsmasq.example.test.")
	checkAnswered(t, r, res)
	checkWays(t, r, remoteQuery, remoteReply)
	for _, leg := range r.Legs {
		for _, h := range leg.Hops {
			if h.Process == "dnsmasq" && h.PID != uint32(d.PID()) || h.Process == "" && h.PID != 0 {
				t.Errorf("hop %s by %s[%d], dnsmasq's process is %d", h.Hop, h.Process, h.PID, d.PID())
			}
		}
	}
}
