package lab

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A plan has the mix that was asked for, and can be told apart in a trace.
func TestPlanMixed(t *testing.T) {
	const count = 20000
	opts := MixedOptions{Count: count, Rate: 1000, TCP: 0.2, Seed: 7}
	p := planMixed(opts)
	if len(p.log) != count {
		t.Fatalf("%d lookups, want %d", len(p.log), count)
	}
	for _, part := range []struct {
		what string
		n    int
		want float64
	}{
		{"by TCP", p.tcp, 0.2}, {"with the same name", p.sameName, mixedSameName},
		{"with the same ID", p.sameID, mixedSameID}, {"retried", p.retried, mixedRetried},
	} {
		if got := float64(part.n) / count; got < part.want-0.001 || got > part.want+0.01 {
			t.Errorf("%.3f of the lookups are %s, want %.2f", got, part.what, part.want)
		}
	}
	sockets, lookups := map[string]bool{}, map[string]bool{}
	for _, act := range p.acts {
		for _, f := range act.flows {
			socket := fmt.Sprint(f.tcp, f.local)
			if sockets[socket] {
				t.Fatalf("two sockets at %s", socket)
			}
			sockets[socket] = true
		}
	}
	for _, l := range p.log {
		key := fmt.Sprint(l.Transport, l.Client, l.Name, l.Type)
		if lookups[key] {
			t.Fatalf("two lookups of %s", key)
		}
		lookups[key] = true
	}
	if again := planMixed(opts); !reflect.DeepEqual(again.log, p.log) {
		t.Error("the same seed gave another plan")
	}
	if opts.Seed++; reflect.DeepEqual(planMixed(opts).log, p.log) {
		t.Error("another seed gave the same plan")
	}
}

// told is an export of some records, and the stats at its end.
func told(t *testing.T, stats string, records ...string) *MixedExport {
	t.Helper()
	x := &MixedExport{}
	text := `{"type":"start"}` + "\n" + strings.Join(records, "\n") + "\n" + `{"type":"stats",` + stats + "}\n"
	if err := x.Read(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return x
}

// toldOf is a record of a lookup that was answered, with changes: pairs of old
// and new text.
func toldOf(l *MixedLookup, changes ...string) string {
	record := fmt.Sprintf(`{"type":"lookup","time":%q,"latency_ns":1000,"name":%q,"qtype":%q,"dns_id":%d,"transport":%q,"attempts":%d,`+
		`"client":{"addr":%q,"port":%d},"server":{"addr":%q,"port":%d},"outcome":"answered","rcode":%q,`+
		`"legs":[{"direction":"query","hops":[{"src":%q,"dst":%q}]},{"direction":"reply","hops":[{"src":%q,"dst":%q}]}],"incomplete":false}`,
		l.Sent.Format(time.RFC3339Nano), l.Name, l.Type, l.ID, l.Transport, l.Transmissions, l.Client.Addr(), l.Client.Port(),
		l.Server.Addr(), l.Server.Port(), l.Came, l.Client, l.Server, l.Server, l.Client)
	return strings.NewReplacer(changes...).Replace(record)
}

func TestJudgeMixed(t *testing.T) {
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	lookup := func(n int, plan, came string) *MixedLookup {
		return &MixedLookup{
			N: n, Transport: "udp", Client: netip.AddrPortFrom(ipv4.host(0, 10), uint16(10000+n)), Server: Service(), ID: 7,
			Name: fmt.Sprintf("n%d.%s", n, mixedZone), Type: "A", Plan: plan, Transmissions: 1, Came: came, Sent: at, Ended: at.Add(200 * time.Millisecond),
		}
	}
	a, b := lookup(0, "NOERROR", "NOERROR"), lookup(1, "NOERROR", "NOERROR")
	silent, dropped, busy := lookup(2, planSilent, cameTimeout), lookup(3, planDropQuery, cameTimeout), lookup(4, "NOERROR", cameTimeout)
	refused := lookup(5, planReject, cameRefused)
	unasked := lookup(6, planReject, cameRefused)
	unasked.Transport, unasked.Unasked, unasked.Transmissions = "tcp", true, 0
	unasked.ID = 0
	doubtful := *unasked
	doubtful.Doubtful = true
	late := *unasked
	late.Came = cameTimeout
	nameless := toldOf(unasked, `"answered"`, `"rejected"`, `"rcode":"refused"`, `"x":1`, unasked.Name, "", `"A"`, `""`, `"direction"`, `"segment":"SYN","direction"`)
	oneLeg := `,{"direction":"reply","hops":[{"src":"10.96.0.10:53","dst":"10.244.1.10:10000"}]}`
	oneReply := fmt.Sprintf(`{"direction":"reply","hops":[{"src":%q,"dst":%q}]}`, refused.Server, refused.Client)
	const lossless = `"lost":{"ring_full":0},"latency_ns":{"p50":1000}` // that of a lookup is a number
	cases := []struct {
		name    string
		log     []*MixedLookup
		records []string
		stats   string
		want    MixedVerdict
	}{
		{name: "all is well", log: []*MixedLookup{a, b}, records: []string{toldOf(b), toldOf(a)}},
		{name: "missed", log: []*MixedLookup{a, b}, records: []string{toldOf(a)}, want: MixedVerdict{Missed: 1}},
		{name: "told twice", log: []*MixedLookup{a}, records: []string{toldOf(a), toldOf(a)}, want: MixedVerdict{Split: 1}},
		{name: "a piece without a name", log: []*MixedLookup{a}, records: []string{toldOf(a), toldOf(a, a.Name, "")}, want: MixedVerdict{Split: 1}},
		{name: "a hop of another", log: []*MixedLookup{a, b}, records: []string{toldOf(a, oneLeg, strings.Replace(oneLeg, "10000", "10001", 1)), toldOf(b)}, want: MixedVerdict{Merged: 1}},
		{name: "a query too many", log: []*MixedLookup{a}, records: []string{toldOf(a, `"attempts":1`, `"attempts":2`)}, want: MixedVerdict{Merged: 1}},
		{name: "a reply too many", log: []*MixedLookup{a}, records: []string{toldOf(a, oneLeg, oneLeg+oneLeg)}, want: MixedVerdict{Merged: 1}},
		{name: "another rcode", log: []*MixedLookup{a}, records: []string{toldOf(a, "NOERROR", "NXDOMAIN")}, want: MixedVerdict{Wrong: 1}},
		{name: "another outcome", log: []*MixedLookup{a}, records: []string{toldOf(a, `"answered"`, `"lost"`)}, want: MixedVerdict{Wrong: 1}},
		{name: "another ID", log: []*MixedLookup{a}, records: []string{toldOf(a, `"dns_id":7`, `"dns_id":8`)}, want: MixedVerdict{Wrong: 1}},
		{name: "another server", log: []*MixedLookup{a}, records: []string{toldOf(a, `"addr":"10.96.0.10"`, `"addr":"10.244.2.53"`)}, want: MixedVerdict{Wrong: 1}},
		{name: "later than it ended", log: []*MixedLookup{a}, records: []string{toldOf(a, `"latency_ns":1000`, `"latency_ns":300000000`)}, want: MixedVerdict{Wrong: 1}},
		{name: "of nobody", log: []*MixedLookup{a}, records: []string{toldOf(a), toldOf(b, b.Name, "other.test.")}, want: MixedVerdict{Foreign: 1}},
		{name: "incomplete", log: []*MixedLookup{a}, records: []string{toldOf(a, `"incomplete":false`, `"incomplete":true`)}, want: MixedVerdict{Incomplete: 1}},
		{name: "losses alone", log: []*MixedLookup{a}, records: []string{toldOf(a)}, stats: `"lost":{"ring_full":3}`, want: MixedVerdict{Losses: MixedLosses{Lost: map[string]uint64{"ring_full": 3}}}},
		{name: "silence", log: []*MixedLookup{silent}, records: []string{toldOf(silent, `"answered"`, `"lost"`, `"rcode":"timeout"`, `"x":1`)}},
		{name: "silence told as a drop", log: []*MixedLookup{silent}, records: []string{toldOf(silent, `"answered"`, `"dropped"`, `"rcode":"timeout"`, `"x":1`)}, want: MixedVerdict{Wrong: 1}},
		{name: "a drop", log: []*MixedLookup{dropped}, records: []string{toldOf(dropped, `"answered"`, `"dropped"`, `"rcode":"timeout"`, `"x":1`)}},
		{name: "a drop told as lost", log: []*MixedLookup{dropped}, records: []string{toldOf(dropped, `"answered"`, `"lost"`, `"rcode":"timeout"`, `"x":1`)}, want: MixedVerdict{Wrong: 1}},
		{name: "not answered as planned", log: []*MixedLookup{busy}, records: []string{toldOf(busy, `"answered"`, `"lost"`, `"rcode":"timeout"`, `"x":1`)}},
		{name: "answered too late for its client", log: []*MixedLookup{busy}, records: []string{toldOf(busy, `"timeout"`, `"NOERROR"`, `"latency_ns":1000`, `"latency_ns":199000000`)}},
		{name: "a connection tried twice", log: []*MixedLookup{unasked}, records: []string{strings.Replace(nameless, `"attempts":0`, `"attempts":2`, 1)}, want: MixedVerdict{Merged: 1}},
		{name: "not answered, and told as answered in time", log: []*MixedLookup{busy}, records: []string{toldOf(busy, `"timeout"`, `"NOERROR"`)}, want: MixedVerdict{Wrong: 1}},
		{name: "an ICMP error on its way", log: []*MixedLookup{refused}, records: []string{toldOf(refused, `"answered"`, `"rejected"`, `"rcode":"refused"`, `"x":1`, oneReply, oneReply+`,{"direction":"reply","icmp":{"type":3},"hops":[]}`)}},
		{name: "refused", log: []*MixedLookup{refused}, records: []string{toldOf(refused, `"answered"`, `"rejected"`, `"rcode":"refused"`, `"x":1`)}},
		{name: "a connection refused too late", log: []*MixedLookup{&late}, records: []string{nameless}},
		{name: "a connection refused", log: []*MixedLookup{unasked}, records: []string{nameless}},
		{name: "a connection that may not have been tried", log: []*MixedLookup{&doubtful}},
		{name: "a cause of what was answered", log: []*MixedLookup{a}, records: []string{toldOf(a, `"incomplete"`, `"findings":[{"id":"policy-drop"}],"incomplete"`)}, want: MixedVerdict{Blamed: 1}},
		{name: "the cause", log: []*MixedLookup{dropped}, records: []string{toldOf(dropped, `"answered"`, `"dropped"`, `"rcode":"timeout"`, `"findings":[{"id":"policy-drop"}]`)}},
		{name: "another cause", log: []*MixedLookup{dropped}, records: []string{toldOf(dropped, `"answered"`, `"dropped"`, `"rcode":"timeout"`, `"findings":[{"id":"server-silent"}]`)}, want: MixedVerdict{Blamed: 1}},
		{name: "a connection missed", log: []*MixedLookup{unasked}, want: MixedVerdict{Missed: 1}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.stats == "" {
				c.stats = lossless
			}
			v := JudgeMixed(c.log, told(t, c.stats, c.records...))
			got := MixedVerdict{Missed: v.Missed, Split: v.Split, Merged: v.Merged, Wrong: v.Wrong, Foreign: v.Foreign, Incomplete: v.Incomplete, Blamed: v.Blamed}
			if v.Losses.Total() > 0 {
				got.Losses = v.Losses
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v; %q", got, c.want, v.Faults)
			}
			if good := reflect.DeepEqual(c.want, MixedVerdict{}); v.Good() != good {
				t.Errorf("good: %v, want %v", v.Good(), good)
			}
		})
	}
}

// A log that was written reads back as it was.
func TestMixedLog(t *testing.T) {
	log := planMixed(MixedOptions{Count: 10, Rate: 1}).log
	var b bytes.Buffer
	if err := WriteMixedLog(&b, log); err != nil {
		t.Fatal(err)
	}
	got, err := ReadMixedLog(&b)
	if err != nil || !reflect.DeepEqual(got, log) {
		t.Errorf("error %v, want the same log", err)
	}
}

// An export without its end is no proof of anything.
func TestMixedExportCut(t *testing.T) {
	x := &MixedExport{}
	if err := x.Read(strings.NewReader(`{"type":"start"}` + "\n")); err == nil {
		t.Error("no error for an export without stats")
	}
}
