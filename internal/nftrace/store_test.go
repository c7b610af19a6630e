package nftrace

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStore(t *testing.T) {
	var s store
	const ids = 1000
	for i := range maxSteps + ids/2 {
		s.add(&kept{step: Step{Packet: Packet{DNSID: uint16(i % ids)}, Handle: uint64(i)}, rule: &rule{text: "drop"}})
	}
	total := 0
	for id := range uint16(ids) {
		found := s.find(id)
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
	if found := s.find(ids); found != nil {
		t.Errorf("an id without steps has %v", found)
	}
}

func TestStoreForgetsIDs(t *testing.T) {
	var s store
	s.add(&kept{step: Step{Packet: Packet{DNSID: 7}}})
	for range maxSteps {
		s.add(&kept{step: Step{Packet: Packet{DNSID: 8}}})
	}
	if len(s.byID) != 1 {
		t.Errorf("%d ids are indexed, want 1", len(s.byID))
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
