package rules

import (
	"errors"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
)

// TestPlainNames holds that nft gets no name that it would read as a command.
func TestPlainNames(t *testing.T) {
	for name, want := range map[string]bool{
		"filter": true, "KUBE-SVC-TCOU7JCQXEZGVUNU": true, "_x": true, "nat-prerouting": true,
		"endpoint-PLDZJAWC-kube-system/kube-dns/udp/dns__10.244.2.53/53": true,
		"": false, "a; flush ruleset": false, "a\nflush ruleset": false, "a\n": false, "-f": false, "{": false, "a b": false, `a"b`: false, "a#": false,
	} {
		if got := plainName.MatchString(name); got != want {
			t.Errorf("%q is plain: %v, want %v", name, got, want)
		}
	}
}

// TestDecode holds that what a container puts into its rules ends no trace.
func TestDecode(t *testing.T) {
	err := decode(func() error {
		userdata.GetString([]byte{1, 200, 0}, userdata.TypeComment)
		return nil
	})
	if err == nil {
		t.Error("user data with a length beyond its end gave no error")
	}
	broken := errors.New("broken")
	if err := decode(func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

// TestRegisters holds that no number of a register leads beyond them.
func TestRegisters(t *testing.T) {
	for register := range uint32(200) {
		r := newRegisters()
		r.store(register, knownValue(make([]byte, longRegister)))
		if v := r.load(register, 4); register != 0 && !v.whole() {
			t.Errorf("register %d does not keep its value", register)
		}
	}
}

// TestMute holds that a chain is not listed under a name that is none.
func TestMute(t *testing.T) {
	s := &space{live: newLiveTables()}
	if text := s.List(&nftables.Table{Name: "a; list ruleset"}, "b"); text != "" || s.live.mute {
		t.Errorf("listed %q, mute %v", text, s.live.mute)
	}
}
