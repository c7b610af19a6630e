package lab

import (
	"encoding/binary"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
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

// Of what is lost, that is told apart by which neighbours find each other.
func TestIsAsk(t *testing.T) {
	ethernet := func(kind uint16, size int) []byte {
		frame := make([]byte, size)
		binary.BigEndian.PutUint16(frame[12:], kind)
		return frame
	}
	icmp6 := func(kind byte) []byte {
		frame := ethernet(unix.ETH_P_IPV6, 86)
		frame[20], frame[54] = unix.IPPROTO_ICMPV6, kind
		return frame
	}
	udp6 := ethernet(unix.ETH_P_IPV6, 86)
	udp6[20], udp6[54] = unix.IPPROTO_UDP, 135
	for _, tt := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"ARP", ethernet(unix.ETH_P_ARP, 42), true},
		{"solicitation", icmp6(135), true},
		{"advertisement", icmp6(136), true},
		{"echo", icmp6(128), false},
		{"UDP over IPv6", udp6, false},
		{"IPv4", ethernet(unix.ETH_P_IP, 98), false},
		{"cut off", ethernet(unix.ETH_P_IPV6, 54), false},
		{"no frame", make([]byte, 10), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := isAsk(tt.frame); got != tt.want {
				t.Errorf("ask %v, want %v", got, tt.want)
			}
		})
	}
}
