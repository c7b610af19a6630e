//go:build e2e

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf" //nolint:depguard // the kernel is asked what it tells, not the tool

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// wait waits until the tool ends by itself, and reads what it wrote.
func wait(t *testing.T, o *lab.Observer) export {
	t.Helper()
	awaitEnd(t, o)
	return read(t, o.Stdout())
}

// awaitEnd waits until the tool ends by itself, with status 0.
func awaitEnd(t *testing.T, o *lab.Observer) {
	t.Helper()
	within := lab.Patience(20 * time.Second)
	late := time.AfterFunc(within, func() { syscall.Kill(o.PID(), syscall.SIGKILL) }) //nolint:errcheck // it may have ended
	defer late.Stop()
	if err := o.Wait(); err != nil {
		t.Fatalf("tool did not end well within %s: %v: %s", within, err, o.Stderr())
	}
}

// noAnswer is how long to wait for answers that don't come. All of it is waited,
// so guests get less than ten times as much.
func noAnswer() time.Duration { return max(200*time.Millisecond, lab.Patience(80*time.Millisecond)) }

// askShort is ask with little patience, for lookups that get no answer.
func askShort(t *testing.T, ns *lab.NS, server netip.AddrPort, name string, wantErr error) {
	t.Helper()
	_, err := ns.Lookup(t.Context(), lab.LookupOptions{Server: server, Name: name, Timeout: noAnswer()})
	if !errors.Is(err, wantErr) {
		t.Fatalf("lookup of %s: error %v, want %v", name, err, wantErr)
	}
}

// fence adds a rule of iptables or, without one, a chain of nftables in a table
// of its own.
func fence(t *testing.T, ns *lab.NS, rule []string, chain string) (remove func()) {
	t.Helper()
	change := func(op, verb, text string) error {
		if rule != nil {
			return ns.IPTables(context.WithoutCancel(t.Context()), append([]string{op}, rule...)...)
		}
		return ns.NFT(context.WithoutCancel(t.Context()), verb+"table inet fence"+text+"\n")
	}
	if err := change("-I", "", " {\nchain fence { "+chain+" }\n}"); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := change("-D", "delete ", ""); err != nil {
			t.Fatal(err)
		}
	}
}

// lastHop returns the last hop of the newest leg of a direction.
func lastHop(t *testing.T, r *render.Record, direction string) render.Hop {
	t.Helper()
	for _, leg := range slices.Backward(r.Legs) {
		if n := len(leg.Hops); leg.Direction == direction && n > 0 {
			return leg.Hops[n-1]
		}
	}
	t.Fatalf("no %s leg with hops", direction)
	return render.Hop{}
}

// givesReasons says whether the kernel tells why it drops a packet, as it does
// since 5.17.
var givesReasons = sync.OnceValues(func() (bool, error) {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return false, err
	}
	_, err = types.AnyTypesByName("skb_drop_reason")
	if errors.Is(err, btf.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
})

// reasonHere returns the reason of a drop as this kernel gives it: it, or none.
func reasonHere(t *testing.T, reason string) string {
	t.Helper()
	given, err := givesReasons()
	if err != nil {
		t.Fatal(err)
	}
	if !given {
		return ""
	}
	return reason
}

// reasonPhrase is reasonHere as the tool words it.
func reasonPhrase(t *testing.T, reason string) string {
	t.Helper()
	if reasonHere(t, reason) == "" {
		return "dropped"
	}
	return reason
}

// hookHere returns the hook of a drop as the tool can tell it here: it, or none.
func hookHere(t *testing.T, hook string) string {
	t.Helper()
	if !seesHooks(t) {
		return ""
	}
	return hook
}

func TestNetfilterDrops(t *testing.T) {
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	cases := []struct {
		name      string
		ns        *lab.NS
		rule      []string // of iptables
		chain     string   // of nftables
		direction string
		hook      string
		tunnel    bool
	}{
		{"query by iptables", l.NodeB, []string{"FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP"}, "", "query", "FORWARD", false},
		{"query by nftables", l.NodeB, nil, "type filter hook forward priority 7; udp dport 53 drop;", "query", "FORWARD", false},
		{"query by a chain's policy", l.NodeB, nil, "type filter hook forward priority 7; policy drop;", "query", "FORWARD", false},
		{"query on its way out of the client's pod", l.Client, nil, "type filter hook output priority 7; udp dport 53 drop;", "query", "OUTPUT", false},
		{"query before any NAT", l.NodeA, nil, "type filter hook prerouting priority raw; udp dport 53 drop;", "query", "PREROUTING", false},
		{"query on its way into the server's pod", l.DNSB, nil, "type filter hook input priority 7; udp dport 53 drop;", "query", "INPUT", false},
		{"reply by iptables", l.NodeA, []string{"FORWARD", "-p", "udp", "--sport", "53", "-j", "DROP"}, "", "reply", "FORWARD", false},
		{"reply on its way into the client's pod", l.Client, nil, "type filter hook input priority 7; udp sport 53 drop;", "reply", "INPUT", false},
		{"query in its tunnel", l.NodeB, []string{"INPUT", "-p", "udp", "--dport", "4789", "-j", "DROP"}, "", "query", "INPUT", true},
		{"query on its way into the tunnel", l.NodeA, nil, "type filter hook output priority 7; udp dport 4789 drop;", "query", "OUTPUT", true},
	}
	name := func(i int) string { return fmt.Sprintf("drop%d.example.test.", i) }
	o := observe(t)
	for i, c := range cases {
		want := os.ErrDeadlineExceeded
		if c.ns == l.Client && c.direction == "query" {
			want = syscall.EPERM // sendto tells
		}
		remove := fence(t, c.ns, c.rule, c.chain)
		askShort(t, l.Client, lab.Service(), name(i), want)
		remove()
	}
	x := end(t, o)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.ns == l.Client && c.direction == "query" && !attached(t, "ip_send_skb") {
				needs(t, "nf_enter") // no device has seen the packet yet
			}
			r := x.only(t, name(i))
			h := lastHop(t, r, c.direction)
			if h.Hop != "drop" || h.Drop == nil || h.NetNSName != c.ns.Name {
				t.Fatalf("the %s's last hop is %q in %q, want a drop in %q: %q", c.direction, h.Hop, h.NetNSName, c.ns.Name, way(r, len(r.Legs)-1))
			}
			functions := []string{"nf_hook_slow", "nft_do_chain"} // since 6.7 nft_do_chain frees what a rule of nftables drops
			reason, hook := reasonHere(t, "NETFILTER_DROP"), hookHere(t, c.hook)
			if h.Drop.Reason != reason || !slices.Contains(functions, h.Drop.Function) || h.Drop.Hook != hook || h.Drop.Confirm {
				t.Errorf("drop %+v; want %q in one of %q, hook %q", *h.Drop, reason, functions, hook)
			}
			if h.Hook != hook || (h.Tunnel != nil) != c.tunnel {
				t.Errorf("the drop's hook is %q, its tunnel %v; want %q, a tunnel: %v", h.Hook, h.Tunnel, hook, c.tunnel)
			}
			checkVerdict(t, r, "dropped", "the "+c.direction, reasonPhrase(t, "NETFILTER_DROP")+" in "+h.Drop.Function)
			if r.LatencyNS != 0 {
				t.Errorf("latency %d ns without an answer", r.LatencyNS)
			}
		})
	}
}

// checkVerdict checks the outcome, and that its detail says all the phrases.
func checkVerdict(t *testing.T, r *render.Record, outcome string, phrases ...string) {
	t.Helper()
	if r.Outcome != outcome || r.Incomplete != (outcome == "incomplete") {
		t.Errorf("outcome %q, %q, incomplete %v %q; want %q", r.Outcome, r.Detail, r.Incomplete, r.Why, outcome)
	}
	for _, phrase := range phrases {
		if !strings.Contains(r.Detail, phrase) {
			t.Errorf("detail %q does not say %q", r.Detail, phrase)
		}
	}
}

func TestRejections(t *testing.T) {
	onGuests(t, lab.SomeGuests)
	needs(t, "icmp_send")
	l := raise(t, lab.Config{Service: lab.ServiceNFTables, BridgeNF: true}) // a service without endpoints
	dnsB := netip.AddrPortFrom(l.DNSB.Addr, 53)
	reject := func(with string) []string {
		return []string{"FORWARD", "-p", "udp", "--dport", "53", "-j", "REJECT", "--reject-with", with}
	}
	cases := []struct {
		name    string
		rule    []string // on node-b
		client  *lab.NS
		server  netip.AddrPort
		err     error
		at      string // namespace that rejects
		code    uint8
		meaning string
		reason  string
		hook    string
	}{
		{"service without endpoints", nil, l.Client, lab.Service(), syscall.ECONNREFUSED,
			lab.NodeA, 3, "port unreachable", "NETFILTER_DROP", "FORWARD"},
		{"nobody listens", nil, l.DNSA, netip.AddrPortFrom(l.Client.Addr, 53), syscall.ECONNREFUSED,
			lab.Client, 3, "port unreachable", "NO_SOCKET", ""},
		{"REJECT", reject("icmp-port-unreachable"), l.Client, dnsB, syscall.ECONNREFUSED,
			lab.NodeB, 3, "port unreachable", "NETFILTER_DROP", "FORWARD"},
		{"REJECT as a router's policy", reject("icmp-admin-prohibited"), l.Client, dnsB, syscall.EHOSTUNREACH,
			lab.NodeB, 13, "administratively prohibited", "NETFILTER_DROP", "FORWARD"},
	}
	name := func(i int) string { return fmt.Sprintf("reject%d.example.test.", i) }
	o := observe(t)
	for i, c := range cases {
		remove := func() {}
		if c.rule != nil {
			remove = fence(t, l.NodeB, c.rule, "")
		}
		askShort(t, c.client, c.server, name(i), c.err)
		remove()
	}
	x := end(t, o)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := x.only(t, name(i))
			checkVerdict(t, r, "rejected", "ICMP "+c.meaning)
			hops := slices.DeleteFunc(slices.Clone(r.Legs[0].Hops), func(h render.Hop) bool { return h.ICMP == nil })
			if len(hops) != 1 || hops[0].NetNSName != c.at || *hops[0].ICMP != (render.ICMP{Type: 3, Code: c.code, Meaning: c.meaning}) {
				t.Errorf("ICMP hops %+v; want one of type 3 code %d (%s) in %s", hops, c.code, c.meaning, c.at)
			}
			h := lastHop(t, r, "query")
			if h.Hop != "drop" || h.NetNSName != c.at || h.Drop.Reason != reasonHere(t, c.reason) || h.Drop.Hook != hookHere(t, c.hook) {
				t.Errorf("last hop %q in %q, %+v; want a drop in %q, %s %s", h.Hop, h.NetNSName, h.Drop, c.at, c.reason, c.hook)
			}
		})
	}
}

// A lookup without a reply is lost when its time is up, and not before; its
// repetition belongs to it.
func TestNoReply(t *testing.T) {
	sameEverywhere(t, "outcomes are judged in user space")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	o := observe(t, "--count", "2", "--name", "silent-*.example.test.")
	askShort(t, l.Client, lab.Service(), "silent-once.example.test.", os.ErrDeadlineExceeded)
	_, err := l.Client.Lookup(t.Context(), lab.LookupOptions{
		Server: lab.Service(), Name: "silent-twice.example.test.", Attempts: 2, Timeout: lab.Patience(300 * time.Millisecond),
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("error %v, want a timeout", err)
	}
	x := wait(t, o)

	once := x.only(t, "silent-once.example.test.")
	want := "no reply was seen"
	if attached(t, "sk_data_ready") || attached(t, "__udp_enqueue_schedule_skb") {
		want = "reached the server's socket"
	}
	if h := lastHop(t, once, "query"); h.Hop == "read" { // as the kernel freed it, which may be much later
		want = "the server read the query and sent no reply"
	}
	checkVerdict(t, once, "lost", want)
	if once.Attempts != 1 || len(once.Legs) != 1 {
		t.Errorf("%d attempts, %d legs; want 1 and 1", once.Attempts, len(once.Legs))
	}

	twice := x.only(t, "silent-twice.example.test.")
	checkVerdict(t, twice, "lost")
	if twice.Attempts != 2 || len(twice.Legs) != 2 {
		t.Errorf("%d attempts, %d legs; want 2 and 2", twice.Attempts, len(twice.Legs))
	}
	end := visible(t, []string{"dns-b eth0 rx", "dns-b socket"})
	last := end[len(end)-1]
	for i, leg := range twice.Legs {
		if leg.Direction != "query" || leg.Attempt != i+1 || !slices.Contains(way(twice, i), last) {
			t.Errorf("leg %d: %s %d %q; want query %d that reaches %s", i, leg.Direction, leg.Attempt, way(twice, i), i+1, last)
		}
	}
}

func TestAnswers(t *testing.T) {
	sameEverywhere(t, "answers are read in user space")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	rcodes := map[string]string{
		"nx1.example.test.": "NXDOMAIN", "servfail1.example.test.": "SERVFAIL", "refused1.example.test.": "REFUSED",
		"elsewhere.example.": "REFUSED", "fine.example.test.": "NOERROR",
	}
	o := observe(t)
	for name := range rcodes {
		ask(t, l.Client, lab.Service(), name, nil)
	}
	// the first attempt gets lost, the second is answered
	remove := fence(t, l.NodeB, nil, "type filter hook forward priority 7; udp dport 53 limit rate 1/hour burst 1 packets drop;")
	second, err := l.Client.Lookup(t.Context(), lab.LookupOptions{
		Server: lab.Service(), Name: "second.example.test.", Attempts: 2, Timeout: lab.Patience(300 * time.Millisecond),
	})
	if err != nil || second.Attempts != 2 {
		t.Fatalf("%d attempts, error %v; want 2 and none", second.Attempts, err)
	}
	remove()
	askShort(t, l.Client, lab.Service(), "silent-to-the-end.example.test.", os.ErrDeadlineExceeded)
	x := end(t, o)

	for name, rcode := range rcodes {
		r := x.only(t, name)
		checkVerdict(t, r, "answered")
		if answers := strings.Join(r.Answers, " "); r.Rcode != rcode || (rcode == "NOERROR") != (answers == lab.Answer().String()) {
			t.Errorf("%s: %s %q, want %s", name, r.Rcode, answers, rcode)
		}
	}
	t.Run("at the second attempt", func(t *testing.T) {
		r := x.only(t, "second.example.test.")
		checkVerdict(t, r, "answered")
		if r.Attempts != 2 || len(r.Legs) != 3 {
			t.Fatalf("%d attempts, %d legs; want 2 and 3", r.Attempts, len(r.Legs))
		}
		if hops := r.Legs[0].Hops; hops[len(hops)-1].Hop != "drop" {
			t.Errorf("the first attempt's way is %q, want a drop at its end", way(r, 0))
		}
		if r.LatencyNS < uint64(lab.Patience(300*time.Millisecond)) || r.LatencyNS > uint64(second.Latency) {
			t.Errorf("latency %d ns; the client waited %d", r.LatencyNS, second.Latency)
		}
	})
	t.Run("not before the trace ended", func(t *testing.T) {
		r := x.only(t, "silent-to-the-end.example.test.")
		checkVerdict(t, r, "incomplete", "the trace ended before its time was up")
		if len(r.Why) == 0 {
			t.Error("it does not say why it is incomplete")
		}
	})
}
