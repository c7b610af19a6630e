package tracer

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

// rawMessage is a header with these flags and counts of questions and answers, and a body.
func rawMessage(flags, questions, answers uint16, body string) []byte {
	head := []byte{0x12, 0x34, byte(flags >> 8), byte(flags), byte(questions >> 8), byte(questions), byte(answers >> 8), byte(answers), 0, 0, 0, 0}
	return append(head, body...)
}

// testReply answers "www.example.test. A" by a chain of names, then addresses.
func testReply(t testing.TB, records ...string) []byte {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion("www.example.test.", dns.TypeA)
	q.Id = 0x1234
	m := new(dns.Msg)
	m.SetReply(q)
	m.Compress = true
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return mustPack(m)
}

const (
	inA        = "\x00\x01\x00\x01"
	shortName  = "\x01a\x00"
	longLabel  = "\x3faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	truncation = 0x8200 // QR, TC
)

// withEDNS adds the option of a server that takes 4096 bytes.
func withEDNS(t *testing.T, b []byte) []byte {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	return mustPack(m.SetEdns0(4096, false))
}

func TestParseMessage(t *testing.T) {
	addrs := func(texts ...string) (list []netip.Addr) {
		for _, text := range texts {
			list = append(list, netip.MustParseAddr(text))
		}
		return list
	}
	query := new(dns.Msg)
	query.SetQuestion("a.example.test.", dns.TypeAAAA)
	query.Id = 0x1234
	reply := testReply(t, "www.example.test. 30 IN A 203.0.113.7")
	tests := []struct {
		name   string
		data   []byte
		length int // of the message, if not that of data
		want   Message
	}{
		{"query", mustPack(query), 0, Message{ID: 0x1234, Name: "a.example.test.", Type: dns.TypeAAAA, Class: 1}},
		{"query with EDNS", mustPack(query.Copy().SetEdns0(1232, false)), 0, Message{
			ID: 0x1234, Name: "a.example.test.", Type: dns.TypeAAAA, Class: 1, UDPSize: 1232,
		}},
		{"EDNS behind answers", withEDNS(t, testReply(t, "www.example.test. 30 IN A 203.0.113.7")), 0, Message{
			ID: 0x1234, Response: true, Name: "www.example.test.", Type: 1, Class: 1, Records: 1, Answers: addrs("203.0.113.7"), UDPSize: 4096,
		}},
		{"reply", reply, 0, Message{
			ID: 0x1234, Response: true, Name: "www.example.test.", Type: 1, Class: 1, Records: 1, Answers: addrs("203.0.113.7"),
		}},
		{"chain of names", testReply(t, "www.example.test. 30 IN CNAME web.example.test.", "web.example.test. 30 IN A 203.0.113.7",
			"web.example.test. 30 IN A 203.0.113.8"), 0, Message{
			ID: 0x1234, Response: true, Name: "www.example.test.", Type: 1, Class: 1, Records: 3,
			Answers: addrs("203.0.113.7", "203.0.113.8"),
		}},
		{"IPv6 answers", testReply(t, "www.example.test. 30 IN AAAA 2001:db8::7", "www.example.test. 30 IN AAAA ::ffff:192.0.2.1"), 0, Message{
			ID: 0x1234, Response: true, Name: "www.example.test.", Type: 1, Class: 1, Records: 2,
			Answers: addrs("2001:db8::7", "::ffff:192.0.2.1"),
		}},
		{"more answers than are kept", testReply(t, slices.Repeat([]string{"www.example.test. 30 IN A 203.0.113.7"}, maxAnswers+1)...), 0, Message{
			ID: 0x1234, Response: true, Name: "www.example.test.", Type: 1, Class: 1, Records: maxAnswers + 1, Partial: true,
			Answers: slices.Repeat(addrs("203.0.113.7"), maxAnswers),
		}},
		{"refused, without a question", rawMessage(0x8005, 0, 0, ""), 0, Message{ID: 0x1234, Response: true, Rcode: 5}},
		{"truncated by the server", rawMessage(truncation, 1, 0, shortName+inA), 0, Message{
			ID: 0x1234, Response: true, TC: true, Name: "a.", Type: 1, Class: 1,
		}},
		{"root", rawMessage(0, 1, 0, "\x00\x00\x02\x00\x01"), 0, Message{ID: 0x1234, Name: ".", Type: 2, Class: 1}},
		{"binary label", rawMessage(0, 1, 0, "\x04\x00\xff.\x1b\x00"+inA), 0, Message{
			ID: 0x1234, Name: `\000\255\.\027.`, Type: 1, Class: 1,
		}},
		{"name of 255 bytes", rawMessage(0, 1, 0, strings.Repeat(longLabel, 3)+"\x3d"+longLabel[1:62]+"\x00"+inA), 0, Message{
			ID: 0x1234, Name: strings.Repeat(longLabel[1:]+".", 3) + longLabel[1:62] + ".", Type: 1, Class: 1,
		}},

		{"empty", nil, 0, Message{Defect: "message of 0 bytes, a DNS header takes 12"}},
		{"short", []byte("\x12\x34\x00"), 0, Message{Defect: "message of 3 bytes, a DNS header takes 12"}},
		{"header not captured", []byte("\x12\x34"), 40, Message{Partial: true, Defect: "header not captured"}},
		{"compression loop", rawMessage(0, 1, 0, "\xc0\x0c"+inA), 0, Message{ID: 0x1234, Defect: "compression loop in the name"}},
		{"two pointers in a loop", rawMessage(0, 1, 0, "\xc0\x0e\xc0\x0c"+inA), 0, Message{ID: 0x1234, Defect: "compression loop in the name"}},
		{"loop by way of a label", rawMessage(0, 1, 0, "\x01a\xc0\x0c"+inA), 0, Message{ID: 0x1234, Defect: "compression loop in the name"}},
		{"pointer beyond the message", rawMessage(0, 1, 0, "\xff\xff"+inA), 0, Message{ID: 0x1234, Defect: "question runs beyond the message"}},
		{"half a pointer", rawMessage(0, 1, 0, "\xc0"), 0, Message{ID: 0x1234, Defect: "question runs beyond the message"}},
		{"label of 64 bytes", rawMessage(0, 1, 0, "\x40"+strings.Repeat("a", 64)+"\x00"+inA), 0, Message{
			ID: 0x1234, Defect: "label of 64 bytes, at most 63 are allowed",
		}},
		{"label of 191 bytes", rawMessage(0, 1, 0, "\xbf"), 0, Message{ID: 0x1234, Defect: "label of 191 bytes, at most 63 are allowed"}},
		{"name of 257 bytes", rawMessage(0, 1, 0, strings.Repeat(longLabel, 4)+"\x00"+inA), 0, Message{
			ID: 0x1234, Defect: "name longer than 255 bytes",
		}},
		{"name of 256 bytes", rawMessage(0, 1, 0, strings.Repeat(longLabel, 3)+"\x3e"+longLabel[1:63]+"\x00"+inA), 0, Message{
			ID: 0x1234, Defect: "name longer than 255 bytes",
		}},
		{"name without an end", rawMessage(0, 1, 0, "\x03abc"), 0, Message{ID: 0x1234, Defect: "question runs beyond the message"}},
		{"question without a type", rawMessage(0, 1, 0, shortName+"\x00"), 0, Message{ID: 0x1234, Defect: "question runs beyond the message"}},
		{"several questions", rawMessage(0, 2, 0, shortName+inA+shortName+inA), 0, Message{
			ID: 0x1234, Name: "a.", Type: 1, Class: 1, Defect: "2 questions in one message",
		}},
		{"query without a question", rawMessage(0, 0, 0, ""), 0, Message{ID: 0x1234, Defect: "query without a question"}},
		{"garbage", rawMessage(0xffff, 0xffff, 0xffff, "\xff\xff\xff\xff"), 0, Message{
			ID: 0x1234, Response: true, TC: true, Rcode: 15, Records: 0xffff, Defect: "question runs beyond the message",
		}},

		{"captured up to the name", mustPack(query)[:14], len(mustPack(query)), Message{ID: 0x1234, Partial: true}},
		{"captured up to the question", mustPack(query), len(mustPack(query)) + 20, Message{
			ID: 0x1234, Name: "a.example.test.", Type: dns.TypeAAAA, Class: 1, Partial: true,
		}},
		{"captured up to an answer", reply[:len(reply)-2], len(reply), Message{
			ID: 0x1234, Response: true, Name: "www.example.test.", Type: 1, Class: 1, Records: 1, Partial: true,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			length := tt.length
			if length == 0 {
				length = len(tt.data)
			}
			if diff := cmp.Diff(&tt.want, ParseMessage(tt.data, length), compareAddrs); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseMessageAnswerDefect holds that a broken answer section is noticed,
// and what was good of it is kept.
func TestParseMessageAnswerDefect(t *testing.T) {
	good := testReply(t, "www.example.test. 30 IN A 203.0.113.7")
	more := slices.Clone(good)
	more[7] = 2 // answer records, by the header
	tests := []struct {
		name, defect string
		data         []byte
	}{
		{"record cut off", "answer record 1", good[:len(good)-1]},
		{"record without an owner", "answer record 1", rawMessage(0x8000, 1, 1, shortName+inA+"\xc0")},
		{"record announced, not there", "answer record 2", more},
		{"no record at all", "answer record 1", rawMessage(0x8000, 1, 7, shortName+inA)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := ParseMessage(tt.data, len(tt.data))
			if !strings.HasPrefix(m.Defect, tt.defect) {
				t.Errorf("defect is %q, want one of %q", m.Defect, tt.defect)
			}
			if m.Name == "" || m.Partial {
				t.Errorf("name is %q, partial %t; the question was whole", m.Name, m.Partial)
			}
		})
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add(testReply(f, "www.example.test. 30 IN CNAME web.example.test.", "web.example.test. 30 IN A 203.0.113.7"), 0)
	f.Add(rawMessage(0, 1, 0, "\xc0\x0c"+inA), 0)
	f.Add(rawMessage(0xffff, 0xffff, 0xffff, "\xff\xff"), 40)
	f.Add(rawMessage(0, 1, 0, "\x40"), 7)
	f.Add([]byte{}, 1)
	f.Fuzz(func(t *testing.T, data []byte, beyond int) {
		length := len(data) + max(0, beyond%0x10000)
		m := ParseMessage(data, length)
		if m.Partial != (len(data) < length) && len(m.Answers) < maxAnswers {
			t.Errorf("%d of %d bytes: partial is %t", len(data), length, m.Partial)
		}
		if len(m.Answers) > maxAnswers || len(m.Answers) > m.Records {
			t.Errorf("%d answers of %d records", len(m.Answers), m.Records)
		}
		for _, a := range m.Answers {
			if !a.IsValid() {
				t.Error("an answer is no address")
			}
		}
		for _, s := range []string{m.Name, m.Defect} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q is not printable", s)
			}
		}
		if len(data) >= headerLen && m.ID != be16(data, 0) {
			t.Errorf("ID is %d", m.ID)
		}
		if diff := cmp.Diff(m, ParseMessage(data, length), compareAddrs); diff != "" {
			t.Errorf("second reading (-first +second):\n%s", diff)
		}
	})
}
