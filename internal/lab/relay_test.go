package lab

import (
	"testing"

	"github.com/miekg/dns"
)

// The name of a mixed lookup is found wherever its message is in a frame.
func TestMixedName(t *testing.T) {
	pack := func(name string, edns bool) []byte {
		m := new(dns.Msg).SetQuestion(name, dns.TypeA)
		if edns {
			m.SetEdns0(1232, false)
		}
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return append(make([]byte, 92), raw...)
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"a query", pack("n17.mixed.example.test.", false), "n17.mixed.example.test."},
		{"with EDNS", pack("n17.mixed.example.test.", true), "n17.mixed.example.test."},
		{"of two labels", pack("slow120.n17.mixed.example.test.", true), "slow120.n17.mixed.example.test."},
		{"of others", pack("ready.example.test.", true), ""},
		{"no message", make([]byte, 60), ""},
		{"cut off", pack("n17.mixed.example.test.", false)[:92+12+10], ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := mixedName(tt.frame); got != tt.want {
				t.Errorf("name %q, want %q", got, tt.want)
			}
		})
	}
}
