package nftrace

import (
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestStore(t *testing.T) {
	var s store
	const ids = 1000
	for i := range maxSteps + ids/2 {
		s.add(&kept{step: Step{Packet: Packet{DNSID: uint16(i % ids)}, Handle: uint64(i)}, rule: &rule{text: "drop"}})
	}
	total := 0
	for id := range uint16(ids) {
		found := s.find([]Key{{ID: id}})
		total += len(found)
		for i, step := range found {
			if step.DNSID != id || step.Text != "drop" || i > 0 && step.Handle != found[i-1].Handle+ids {
				t.Fatalf("id %d, step %d: %+v", id, i, step)
			}
		}
		if newest := found[len(found)-1].Handle; newest < maxSteps-ids/2 {
			t.Errorf("id %d: the newest step is %d", id, newest)
		}
	}
	if total != maxSteps {
		t.Errorf("%d steps are kept, want %d", total, maxSteps)
	}
	if found := s.find([]Key{{ID: ids}}); found != nil {
		t.Errorf("an id without steps has %v", found)
	}
}

// TestStoreTCP holds that steps of TCP are found by either port, each once, in
// order, and not by a DNS ID of the same number.
func TestStoreTCP(t *testing.T) {
	var s store
	there := Packet{Src: addrPort("10.1.1.1:4000"), Dst: addrPort("10.96.0.10:53"), Segment: "SYN"}
	back := Packet{Src: addrPort("10.2.2.2:5353"), Dst: addrPort("10.1.1.1:4001"), Segment: "data"}
	for i, p := range []Packet{there, back, {DNSID: 4000}, there} {
		s.add(&kept{step: Step{Packet: p, Handle: uint64(i)}})
	}
	for _, tt := range []struct {
		keys []Key
		want []uint64
	}{
		{[]Key{{TCP: true, ID: 4000}}, []uint64{0, 3}},
		{[]Key{{TCP: true, ID: 4001}, {TCP: true, ID: 4000}, {TCP: true, ID: 53}}, []uint64{0, 1, 3}},
		{[]Key{{ID: 4000}}, []uint64{2}},
		{[]Key{{ID: 53}}, nil},
	} {
		var got []uint64
		for _, step := range s.find(tt.keys) {
			got = append(got, step.Handle)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("steps of %v (-want +got):\n%s", tt.keys, diff)
		}
	}
	for range maxSteps {
		s.add(&kept{step: Step{Packet: Packet{DNSID: 8}}})
	}
	if len(s.byKey) != 1 {
		t.Errorf("%d keys are indexed, want 1", len(s.byKey))
	}
}

func TestStoreForgetsIDs(t *testing.T) {
	var s store
	s.add(&kept{step: Step{Packet: Packet{DNSID: 7}}})
	for range maxSteps {
		s.add(&kept{step: Step{Packet: Packet{DNSID: 8}}})
	}
	if len(s.byKey) != 1 {
		t.Errorf("%d keys are indexed, want 1", len(s.byKey))
	}
}

func TestTableName(t *testing.T) {
	own, err := tableName(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name        string
		ours, alive bool
	}{
		{own, true, true},
		{own + "1", true, false},                 // the id was given to us meanwhile
		{tablePrefix + "4194305-1", true, false}, // more than PID_MAX_LIMIT
		{tablePrefix + "of-somebody", true, true},
		{"filter", false, true},
	}
	for _, tt := range tests {
		if diff := cmp.Diff([2]bool{tt.ours, tt.alive}, [2]bool{isOurs(tt.name), isAlive(tt.name)}); diff != "" {
			t.Errorf("%s: ours, alive (-want +got):\n%s", tt.name, diff)
		}
	}
}
