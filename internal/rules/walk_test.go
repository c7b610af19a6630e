package rules

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWalk(t *testing.T) {
	const maybe = "-m statistic --mode random --probability 0.5"
	for _, tt := range []struct {
		name   string
		policy string
		chains string // those beside FORWARD
		rules  string
		want   *Answer
	}{
		{"nothing", "ACCEPT [0:0]", "", "", nil},
		{"accepted", "ACCEPT [0:0]", "", "[1:1] -A FORWARD -p udp -j ACCEPT\n[1:1] -A FORWARD -j DROP\n", nil},
		{"another packet's drop", "ACCEPT [0:0]", "", "[1:1] -A FORWARD -p tcp -j DROP\n", nil},
		{"policy", "DROP [1:1]", "", "[1:1] -A FORWARD -p tcp -j ACCEPT\n", &Answer{Name: "iptables filter FORWARD", Rule: "policy drop"}},
		{"accepted before the policy", "DROP [1:1]", "", "[1:1] -A FORWARD -p udp -j ACCEPT\n", nil},
		{"perhaps accepted before the policy", "DROP [1:1]", "", "[1:1] -A FORWARD " + maybe + " -j ACCEPT\n", &Answer{Name: "iptables filter FORWARD", Rule: "policy drop"}},
		{"the first of two", "ACCEPT [0:0]", "", "[1:1] -A FORWARD -p udp -j DROP\n[1:1] -A FORWARD -j DROP\n", &Answer{Name: "iptables filter FORWARD", Rule: "-p udp -j DROP"}},
		{"one of two", "ACCEPT [0:0]", "", "[1:1] -A FORWARD " + maybe + " -j DROP\n[1:1] -A FORWARD -j DROP\n", &Answer{Name: "one of 2 rules of iptables filter FORWARD"}},
		{"one of two was never used", "ACCEPT [0:0]", "", "[0:0] -A FORWARD " + maybe + " -j DROP\n[1:1] -A FORWARD -j DROP\n", &Answer{Name: "iptables filter FORWARD", Rule: "-j DROP"}},
		{"one that may drop, and never did", "ACCEPT [0:0]", "", "[0:0] -A FORWARD " + maybe + " -j DROP\n", nil},
		{"one that does drop, counted or not", "ACCEPT [0:0]", "", "[0:0] -A FORWARD -j DROP\n", &Answer{Name: "iptables filter FORWARD", Rule: "-j DROP"}},
		{"a rule or the policy", "DROP [1:1]", "", "[1:1] -A FORWARD " + maybe + " -j DROP\n", &Answer{Name: "one of 2 rules of iptables filter FORWARD"}},
		{"a rule or the policy that never decided", "DROP [0:0]", "", "[1:1] -A FORWARD " + maybe + " -j REJECT --reject-with icmp-port-unreachable\n", &Answer{Name: "iptables filter FORWARD", Rule: maybe + " -j REJECT --reject-with icmp-port-unreachable"}},
		{"in a chain", "ACCEPT [0:0]", ":A - [0:0]\n:B - [0:0]\n", "[1:1] -A FORWARD -j A\n[1:1] -A A -j B\n[1:1] -A B -j DROP\n", &Answer{Name: "iptables filter FORWARD → A → B", Rule: "-j DROP"}},
		{"on a way never used", "ACCEPT [0:0]", ":A - [0:0]\n", "[0:0] -A FORWARD " + maybe + " -j A\n[1:1] -A A -j DROP\n[1:1] -A FORWARD -j DROP\n", &Answer{Name: "iptables filter FORWARD", Rule: "-j DROP"}},
		{"returned", "ACCEPT [0:0]", ":A - [0:0]\n", "[1:1] -A FORWARD -j A\n[1:1] -A A -p udp -j RETURN\n[1:1] -A A -j DROP\n[1:1] -A FORWARD -p udp -j DROP\n", &Answer{Name: "iptables filter FORWARD", Rule: "-p udp -j DROP"}},
		{"returned to the policy", "DROP [1:1]", "", "[1:1] -A FORWARD -p udp -j RETURN\n[1:1] -A FORWARD -j DROP\n", &Answer{Name: "iptables filter FORWARD", Rule: "policy drop"}},
		{"goto does not come back", "DROP [1:1]", ":A - [0:0]\n", "[1:1] -A FORWARD -g A\n[1:1] -A FORWARD -j DROP\n[1:1] -A A -p tcp -j DROP\n", &Answer{Name: "iptables filter FORWARD", Rule: "policy drop"}},
		{"goto out of a chain", "ACCEPT [0:0]", ":A - [0:0]\n:B - [0:0]\n", "[1:1] -A FORWARD -j A\n[1:1] -A FORWARD -j DROP\n[1:1] -A A -g B\n[1:1] -A A -j DROP\n[1:1] -A B -j LOG\n", &Answer{Name: "iptables filter FORWARD", Rule: "-j DROP"}},
		{"a chain that ends it", "DROP [1:1]", ":A - [0:0]\n", "[1:1] -A FORWARD -j A\n[1:1] -A FORWARD -j DROP\n[1:1] -A A -j ACCEPT\n", nil},
		{"two ways to one rule", "ACCEPT [0:0]", ":A - [0:0]\n", "[1:1] -A FORWARD " + maybe + " -j A\n[1:1] -A FORWARD -j A\n[1:1] -A A -j DROP\n", &Answer{Name: "iptables filter FORWARD → A", Rule: "-j DROP"}},
		{"a mark that a rule has set", "ACCEPT [0:0]", "", "[1:1] -A FORWARD -j MARK --set-xmark 0x1/0x1\n[1:1] -A FORWARD -m mark --mark 0x1/0x1 -j DROP\n", &Answer{Name: "iptables filter FORWARD", Rule: "-m mark --mark 0x1/0x1 -j DROP"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := parse(t, "*filter\n:FORWARD "+tt.policy+"\n"+tt.chains+tt.rules+"COMMIT\n", "filter")
			q := dropOf()
			mark := uint32(0)
			q.Mark = &mark
			if diff := cmp.Diff(tt.want, answerOf(t, q, baseOf(table, "FORWARD"))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWalkOfSeveralTables(t *testing.T) {
	drops := "*filter\n:FORWARD ACCEPT [0:0]\n[1:1] -A FORWARD -j DROP\n*mangle\n:FORWARD ACCEPT [0:0]\n[1:1] -A FORWARD -p udp -j DROP\n"
	chance := "*filter\n:FORWARD ACCEPT [0:0]\n[1:1] -A FORWARD -m statistic --mode random -j DROP\n"
	first, second := baseOf(parse(t, drops, "mangle"), "FORWARD"), baseOf(parse(t, drops, "filter"), "FORWARD")
	perhaps := baseOf(parse(t, chance, "filter"), "FORWARD")
	if diff := cmp.Diff(&Answer{Name: "iptables mangle FORWARD", Rule: "-p udp -j DROP"}, answerOf(t, dropOf(), first, second)); diff != "" {
		t.Errorf("a drop for sure (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&Answer{Name: "one of 2 rules"}, answerOf(t, dropOf(), perhaps, first)); diff != "" {
		t.Errorf("a drop perhaps (-want +got):\n%s", diff)
	}
	found, _, err := findCandidates(dropOf(), []base{first, second}) // both of priority 0
	if err != nil || len(found) != 2 {
		t.Errorf("%d candidates of the same priority, error %v; want 2", len(found), err)
	}
}

// TestOldCounters holds that counters which were read before the packet came
// say nothing.
func TestOldCounters(t *testing.T) {
	table := parse(t, "*filter\n:FORWARD ACCEPT [0:0]\n[0:0] -A FORWARD -m statistic --mode random -j DROP\n[1:1] -A FORWARD -j DROP\n", "filter")
	q := dropOf()
	q.Time = later + 1
	if diff := cmp.Diff(&Answer{Name: "one of 2 rules of iptables filter FORWARD"}, answerOf(t, q, baseOf(table, "FORWARD"))); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestWalkWithoutEnd(t *testing.T) {
	for name, rules := range map[string]string{
		"a chain that calls itself":       "[1:1] -A A -j A\n",
		"a chain that calls itself twice": "[1:1] -A A -m socket -j A\n[1:1] -A A -j A\n",
	} {
		table := parse(t, "*filter\n:FORWARD ACCEPT [0:0]\n:A - [0:0]\n[1:1] -A FORWARD -j A\n"+rules, "filter")
		if _, _, err := findCandidates(dropOf(), []base{baseOf(table, "FORWARD")}); !errors.Is(err, errDeep) {
			t.Errorf("%s: error %v, want errDeep", name, err)
		}
	}
}

// TestSourcePort holds that an answer is kept for other clients' ports only if
// no rule asked for the port.
func TestSourcePort(t *testing.T) {
	for rule, want := range map[string]bool{"-p udp -m udp --dport 53": false, "-p udp -m udp --sport 53": true, "-p tcp -m tcp --sport 53": false} {
		table := parse(t, "*filter\n:FORWARD ACCEPT [0:0]\n[1:1] -A FORWARD "+rule+" -j DROP\n", "filter")
		if _, asked, err := findCandidates(dropOf(), []base{baseOf(table, "FORWARD")}); asked != want || err != nil {
			t.Errorf("%s: asked for the source port %v, error %v; want %v", rule, asked, err, want)
		}
	}
}
