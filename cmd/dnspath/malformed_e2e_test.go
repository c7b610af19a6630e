//go:build e2e

package main

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// dnsMessage puts a query's header with some number of questions before body.
func dnsMessage(questions byte, body ...string) []byte {
	return append([]byte{0x12, 0x34, 1, 0, 0, questions, 0, 0, 0, 0, 0, 0}, strings.Join(body, "")...)
}

// inA is a question's type and class.
const inA = "\x00\x01\x00\x01"

// What is no DNS message is a record too: it says what is wrong, and nothing of
// it gets at the terminal.
func TestMalformed(t *testing.T) {
	sameEverywhere(t, "messages are read in user space")
	cases := []struct {
		name    string
		message []byte
		defect  string // part of it
		qname   string
	}{
		{"one byte", []byte("x"), "message of 1 bytes", ""},
		{"five bytes", []byte("\x12\x34\x01\x00\x00"), "message of 5 bytes", ""},
		{"no payload", nil, "message of 0 bytes", ""},
		{"header alone", dnsMessage(1), "question runs beyond the message", ""},
		{"no question", dnsMessage(0), "query without a question", ""},
		{"no type", dnsMessage(1, "\x01a\x00"), "question runs beyond the message", ""},
		{"label beyond the end", dnsMessage(1, "\x3fshort"), "question runs beyond the message", ""},
		{"pointer to itself", dnsMessage(1, "\xc0\x0c", inA), "compression loop", ""},
		{"pointers in a ring", dnsMessage(1, "\x01a\xc0\x10\x01b\xc0\x0c", inA), "compression loop", ""},
		{"pointer beyond the end", dnsMessage(1, "\xff\xff", inA), "question runs beyond the message", ""},
		{"label of 64 bytes", dnsMessage(1, "\x40", strings.Repeat("a", 64), "\x00", inA), "label of 64 bytes", ""},
		{"name of 320 bytes", dnsMessage(1, strings.Repeat("\x3f"+strings.Repeat("b", 63), 5), "\x00", inA), "name longer than 255 bytes", ""},
		{"three questions", dnsMessage(3, strings.Repeat("\x03abc\x00"+inA, 3)), "3 questions", "abc."},
		{"binary label", dnsMessage(1, "\x0a\x1b[31m\n\x00\x07\x9b\xff\x04test\x00", inA), "", `\027[31m\010\000\007\155\255.test.`},
		{"title of a terminal", dnsMessage(1, "\x0b\x1b]0;owned\x07\r\x00", inA), "", `\027]0\;owned\007\013.`},
		{"dots and blanks", dnsMessage(1, "\x05a.b c\x00", inA), "", `a\.b\ c.`},
		{"all ones", bytes.Repeat([]byte{0xff}, 512), "", ""},
		{"zeros", make([]byte, 512), "query without a question", ""},
	}
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	inJSON := observe(t, labOnly(l)...)
	inText, err := lab.Observe(t.Context(), bin, labOnly(l)...)
	if err != nil {
		t.Fatal(err)
	}
	from := make([]netip.AddrPort, len(cases))
	for i, c := range cases {
		if len(c.message) >= 12 {
			c.message[1] = byte(i) // an ID of its own
		}
		if from[i], err = l.Client.SendUDP(lab.Service(), c.message); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, l.Client, lab.Service(), "after.example.test.", nil)
	x := end(t, inJSON)
	if r := x.only(t, "after.example.test."); r.Outcome != "answered" {
		t.Errorf("the lookup after all these: %s, %s", r.Outcome, r.Detail)
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			at := slices.IndexFunc(x.lookups, func(r *render.Record) bool {
				return r.Client.Port == from[i].Port() || r.Server.Port == from[i].Port() // what calls itself a reply has it the other way round
			})
			if at < 0 {
				t.Fatal("no record")
			}
			r := x.lookups[at]
			if c.defect == "" && c.qname != "" && r.Defect != "" || !strings.Contains(r.Defect, c.defect) {
				t.Errorf("defect %q, want %q", r.Defect, c.defect)
			}
			if r.Name != c.qname {
				t.Errorf("name %q, want %q", r.Name, c.qname)
			}
			if h := r.Legs[0].Hops; len(h) < 10 {
				t.Errorf("the query's way has %d hops: %q", len(h), way(r, 0))
			}
		})
	}
	if err := inText.Stop(); err != nil {
		t.Fatalf("%v: %s", err, inText.Stderr())
	}
	text := string(inText.Stdout())
	checkPlain(t, text)
	for _, c := range cases {
		if !strings.Contains(text, c.defect) || !strings.Contains(text, c.qname) {
			t.Errorf("%s: the text says neither %q nor %q", c.name, c.defect, c.qname)
		}
	}
}
