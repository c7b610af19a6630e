package nftrace

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// recorded returns the messages of a file in testdata.
func recorded(t testing.TB, name string) [][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var messages [][]byte
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		m, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	return messages
}

func TestDecode(t *testing.T) {
	messages := recorded(t, "linux-6.18.hex")
	tests := []struct {
		name string
		data []byte
		want *Message
	}{
		{"rule, the first of its base chain", messages[3], &Message{
			ID: 0x5260fe7e, Family: 1, Table: "foo", Chain: "out", Handle: 2, Kind: KindRule, Verdict: "continue", Oif: 1,
		}},
		{"rule", messages[4], &Message{
			ID: 0x5260fe7e, Family: 1, Table: "foo", Chain: "out", Handle: 3, Kind: KindRule, Verdict: VerdictAccept,
		}},
		{"end of a chain without a match", messages[5], &Message{
			ID: 0x5260fe7e, Family: 2, Table: "filter", Chain: "OUTPUT", Kind: KindRule, Verdict: "continue", Oif: 1,
		}},
		{"policy", messages[6], &Message{
			ID: 0x5260fe7e, Family: 2, Table: "filter", Chain: "OUTPUT", Kind: KindPolicy, Verdict: VerdictAccept,
		}},
		{"jump", messages[7], &Message{
			ID: 0x5260fe7e, Family: 1, Table: "foo", Chain: "f", Handle: 6, Kind: KindRule, Verdict: "jump j", Oif: 1,
		}},
		{"drop", messages[8], &Message{
			ID: 0x5260fe7e, Family: 1, Table: "foo", Chain: "j", Handle: 7, Kind: KindRule, Verdict: VerdictDrop,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Decode(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(Message{}, "Network", "Transport")); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeMalformed(t *testing.T) {
	good := recorded(t, "linux-6.18.hex")[4]
	tests := []struct {
		name string
		data []byte
	}{
		{"nothing", nil},
		{"no attributes", good[:4]},
		{"cut in an attribute", good[:len(good)-3]},
		{"number of the wrong size", append(append([]byte{}, good...), 6, 0, 6, 0, 1, 2, 0, 0)},
		{"unknown type", append([]byte{1, 0, 0, 0}, "\x08\x00\x04\x00\x00\x00\x00\x09\x06\x00\x01\x00a\x00\x00\x00\x06\x00\x02\x00b\x00\x00\x00"...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if m, err := Decode(tt.data); !errors.Is(err, ErrMalformed) {
				t.Errorf("message %+v, error %v; want %v", m, err, ErrMalformed)
			}
		})
	}
}

func TestVerdictName(t *testing.T) {
	tests := map[int32]string{
		0: "drop", 1: "accept", 1 << 16: "drop", 1<<16 | 2: "stolen", 5<<16 | 3: "queue", -1: "continue", -5: "return", -9: "verdict -9",
	}
	for code, want := range tests {
		if got := verdictName(code); got != want {
			t.Errorf("%d: %q, want %q", code, got, want)
		}
	}
}

// steps runs messages through an assembler, and writes what comes out.
func steps(t *testing.T, messages [][]byte) []string {
	t.Helper()
	chains := map[string]Chain{
		"out": {Name: "out", Type: "nat", Hook: 3, Priority: -100}, "f": {Name: "f", Type: "filter", Hook: 3},
		"OUTPUT": {Name: "OUTPUT", Type: "filter", Hook: 3}, "post": {Name: "post", Type: "filter", Hook: 4},
	}
	a := assembler{under: map[uint32]evaluation{}, chainOf: func(_ uint8, _, chain string) Chain { return chains[chain] }}
	var lines []string
	for _, data := range messages {
		m, err := Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if isOurs(m.Table) {
			continue
		}
		if s, ok := a.add(m); ok {
			lines = append(lines, fmt.Sprintf("%d %s>%s %s(%s) %s %s %s %d %s %s",
				s.DNSID, s.Src, s.Dst, s.Base.Name, s.Base.Type, s.Family, s.Table, s.Chain, s.Handle, s.Kind, s.Verdict))
		}
	}
	return lines
}

func TestAssemble(t *testing.T) {
	want := []string{
		"77 10.1.1.1:53981>10.96.0.10:53 out(nat) inet foo out 2 rule continue",
		"77 10.1.1.1:53981>10.96.0.10:53 out(nat) inet foo out 3 rule accept",
		"77 10.1.1.1:53981>127.0.0.1:5353 OUTPUT(filter) ip filter OUTPUT 0 policy accept",
		"77 10.1.1.1:53981>127.0.0.1:5353 f(filter) inet foo f 6 rule jump j",
		"77 10.1.1.1:53981>127.0.0.1:5353 f(filter) inet foo j 7 rule drop",
		"78 [fd00::2]:51655>[fd00::1]:53 f(filter) inet foo f 6 rule jump j",
		"78 [fd00::2]:51655>[fd00::1]:53 f(filter) inet foo f 0 policy accept",
	}
	if diff := cmp.Diff(want, steps(t, recorded(t, "linux-6.18.hex"))); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// TestPacket holds what headers tell of packets over TCP and UDP.
func TestPacket(t *testing.T) {
	v4 := func(protocol byte, payload int) []byte {
		return []byte{0x45, 0, 0, byte(20 + payload), 0, 9, 0x40, 0, 64, protocol, 0, 0, 10, 1, 1, 1, 10, 96, 0, 10}
	}
	v6 := func(next byte, payload int) []byte {
		b := make([]byte, 40)
		b[0], b[5], b[6], b[23], b[39] = 0x60, byte(payload), next, 1, 2
		return b
	}
	header := func(flags byte) []byte {
		return append([]byte{0x0f, 0xa0, 0, 53, 12: 0x80, 13: flags}, make([]byte, 6)...)
	}
	const fin, syn, rst, psh, ack = 1, 2, 4, 8, 16
	fragment := v4(6, 32)
	fragment[7] = 185
	dst4, dst6 := "10.1.1.1:4000>10.96.0.10:53", "[::1]:4000>[::2]:53"
	for _, tt := range []struct {
		name               string
		network, transport []byte
		want               string
	}{
		{"SYN", v4(6, 32), header(syn), dst4 + " SYN"},
		{"SYN with ECN", v4(6, 32), header(syn | 0xc0), dst4 + " SYN"},
		{"SYN-ACK", v4(6, 32), header(syn | ack), dst4 + " SYN-ACK"},
		{"data", v4(6, 33), header(psh | ack), dst4 + " data"},
		{"data and FIN", v4(6, 33), header(fin | ack), dst4 + " data"},
		{"FIN", v4(6, 32), header(fin | ack), dst4 + " FIN"},
		{"RST", v4(6, 32), header(rst | ack), dst4 + " RST"},
		{"an acknowledgement", v4(6, 32), header(ack), ""},
		{"SYN over IPv6", v6(6, 32), header(syn), dst6 + " SYN"},
		{"data over IPv6", v6(6, 33), header(ack), dst6 + " data"},
		{"an acknowledgement over IPv6", v6(6, 32), header(ack), ""},
		{"UDP behind an extension header", v6(60, 40), header(0), dst6 + " "},
		{"a later fragment", fragment, header(syn), ""},
		{"SCTP", v4(132, 32), header(0), ""},
		{"half a header", v4(6, 32), header(syn)[:16], ""},
	} {
		m := &Message{Network: tt.network, Transport: tt.transport}
		got := ""
		if p, ok := m.packet(); ok {
			got = fmt.Sprintf("%s>%s %s", p.Src, p.Dst, p.Segment)
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What follows a loss is not taken for a part of the base chain before it.
func TestAssembleAfterLoss(t *testing.T) {
	messages := recorded(t, "linux-6.18.hex")
	tests := []struct {
		name string
		lost []int
		want []string
	}{
		{"first of a packet", []int{0, 1, 2, 3}, nil},
		{"first of a base chain of another table", []int{5}, []string{
			"77 10.1.1.1:53981>10.96.0.10:53 out(nat) inet foo out 2 rule continue",
			"77 10.1.1.1:53981>10.96.0.10:53 out(nat) inet foo out 3 rule accept",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var left [][]byte
			for i, m := range messages[:7] {
				if len(tt.lost) == 0 || i < tt.lost[0] || i > tt.lost[len(tt.lost)-1] {
					left = append(left, m)
				}
			}
			if tt.want == nil {
				left = left[:1]
			}
			if diff := cmp.Diff(tt.want, steps(t, left)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range recorded(f, "linux-6.18.hex") {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v", err)
			}
			return
		}
		a := assembler{under: map[uint32]evaluation{}, chainOf: func(uint8, string, string) Chain { return Chain{} }}
		if s, ok := a.add(m); ok && (!s.Src.IsValid() || !s.Dst.IsValid()) {
			t.Errorf("step without addresses: %+v", s)
		}
	})
}

func FuzzDecodeRule(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 2, 10, 0, 7, 0, 0, 4, 'a', ' ', 'b', 0, 0, 0})
	f.Fuzz(func(_ *testing.T, data []byte) {
		decodeRule(data)
		decodeChain(data)
		decodeTable(data)
		decodeGeneration(data)
	})
}
