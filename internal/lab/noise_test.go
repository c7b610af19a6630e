package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// blamed is the end of a record that has a finding.
func blamed(id, evidence string) string {
	return fmt.Sprintf(`"findings":[{"id":%q,"summary":"it was so","evidence":[%q]}],"incomplete"`, id, evidence)
}

// A finding is wrong if what the client knows, and what was lost, do not bear it out.
func TestJudgeNoise(t *testing.T) {
	const last = "the query was seen last at tx eth0 in node-a"
	lookup := func(name, plan, came string) *MixedLookup {
		return &MixedLookup{
			Transport: "udp", Client: netip.MustParseAddrPort("10.244.1.10:10000"), Server: Service(), ID: 7,
			Name: name + "." + mixedZone, Type: "A", Plan: plan, Transmissions: 1, Came: came, Sent: time.Unix(1, 0), Ended: time.Unix(2, 0),
		}
	}
	answered, nx, refused := lookup("n1", "NOERROR", "NOERROR"), lookup("nx2", "NXDOMAIN", "NXDOMAIN"), lookup("servfail3", "SERVFAIL", "SERVFAIL")
	gone, lost := lookup("slow90.n4", planGone, cameGone), lookup("n5", "NOERROR", cameTimeout)
	run := func(loss Loss) NoiseRun { return NoiseRun{Loss: loss, ToolTimeout: time.Second} }
	wire := noiseTruth{NoiseRun: run(LossWire), lost: func(name string) bool { return name == lost.Name }}
	netem := noiseTruth{NoiseRun: run(LossNetem)}
	cache := noiseTruth{NoiseRun: run(LossWire), caches: true, lost: wire.lost}
	none := noiseTruth{NoiseRun: run(LossNone)}
	paused := none // the machine stood still for so long that no answer came in time
	paused.still = func(time.Time, time.Time) time.Duration { return time.Second }
	for _, tt := range []struct {
		name     string
		truth    noiseTruth
		l        *MixedLookup
		id       string
		evidence string
		wrong    int
	}{
		{"answered, and blamed", none, answered, "policy-drop", "", 1},
		{"answered, and not explained", wire, answered, findingUnexplained, last, 1},
		{"NXDOMAIN, and called a storm", none, nx, "search-storm", "", 1},
		{"refused", none, refused, "server-refused", "", 0},
		{"refused, and more", none, refused, "upstream-timeout", "", 1},
		{"gave up", none, gone, "client-gone", "", 0},
		{"gave up, and called lost", wire, gone, "lost-beyond-node", "", 1},
		{"gave up, and called silent", none, gone, "server-silent", "", 1},
		{"lost", wire, lost, "lost-beyond-node", "", 0},
		{"lost, and not explained", wire, lost, findingUnexplained, last, 0},
		{"lost, and not said where", wire, lost, findingUnexplained, "", 1},
		{"lost, and blamed", wire, lost, "server-silent", "", 1},
		{"lost, where nothing is", none, lost, "lost-beyond-node", "", 1},
		{"the server stood still", paused, lost, "server-silent", "", 0},
		{"the same, and blamed", paused, lost, "policy-drop", "", 1},
		{"lost in the node's own queue", netem, lost, "qdisc-drop", "the queue netem dropped it", 0},
		{"in another", netem, lost, "qdisc-drop", "the queue fifo dropped it", 1},
		{"in its own, and called beyond it", netem, lost, "lost-beyond-node", "", 1},
		{"lost on the way of a cache", cache, lost, "upstream-timeout", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outcome := "lost"
			if tt.l == refused {
				outcome = "answered"
			}
			record := toldOf(tt.l, `"incomplete"`, blamed(tt.id, tt.evidence), `"outcome":"answered"`, `"outcome":"`+outcome+`"`)
			b := tt.truth.judge([]*MixedLookup{tt.l}, told(t, `"events":1`, record))
			if total := b.Total(); total.Wrong != tt.wrong || total.Told != 1 || total.Findings[tt.id] != 1 {
				t.Errorf("%d of %d told are wrong, findings %v; want %d\n%s", total.Wrong, total.Told, total.Findings, tt.wrong, strings.Join(b.Faults, "\n"))
			}
		})
	}
	t.Run("nothing said", func(t *testing.T) {
		b := wire.judge([]*MixedLookup{lost}, told(t, `"events":1`, toldOf(lost, `"outcome":"answered"`, `"outcome":"lost"`)))
		if b.Good() || b.Silent != 1 {
			t.Errorf("%d silent, want 1", b.Silent)
		}
	})
}

// A noisy plan has all kinds, and clients that give up do so before their answer.
func TestPlanNoise(t *testing.T) {
	p := planMixed(MixedOptions{Count: 5000, Rate: 1000, TCP: 0.2, Seed: 3, Healthy: true, Noise: true})
	plans, again := map[string]int{}, 0
	for _, act := range p.acts {
		for _, f := range act.flows {
			for _, q := range slices.Concat(f.rounds...) {
				plans[q.log.Plan]++
				if q.again > 0 {
					again++
				}
				label, _, _ := strings.Cut(q.log.Name, ".")
				ms, _ := suffixNumber(label, "slow")
				delay := time.Duration(ms) * time.Millisecond
				if leaves := q.leave > 0; leaves != (q.log.Plan == planGone) || leaves && q.leave > delay*3/4 {
					t.Fatalf("planned %s, asks for %s, leaves after %v", q.log.Plan, q.log.Name, q.leave)
				}
			}
		}
	}
	for _, plan := range []string{"NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", planSlow, planGone} {
		if plans[plan] < 50 {
			t.Errorf("%d of 5000 are planned %s", plans[plan], plan)
		}
	}
	if len(plans) != 6 || again < 500 {
		t.Errorf("plans %v, %d ask again", plans, again)
	}
}

// A watch counts the part of each stall that is in the time asked for.
func TestStalls(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	w := &stallWatch{stalls: []stall{{at(100), at(200)}, {at(400), at(1000)}}}
	for _, tt := range []struct{ from, to, want int }{
		{0, 50, 0}, {0, 2000, 700}, {150, 500, 150}, {500, 600, 100}, {200, 400, 0},
	} {
		if got := w.between(at(tt.from), at(tt.to)); got != time.Duration(tt.want)*time.Millisecond {
			t.Errorf("%v of %d to %d ms, want %d ms", got, tt.from, tt.to, tt.want)
		}
	}
}
