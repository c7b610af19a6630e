//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/dnspath/dnspath/internal/lab"
)

// What the tool writes is what docs/export.schema.json says, whatever comes
// its way.
func TestExportSchema(t *testing.T) {
	onGuests(t, lab.OneGuest)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile("../../docs/export.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	tools := []*lab.Observer{observe(t, append(labOnly(l), "--events", "--tc")...)}
	if lab.Slowness() == 1 || os.Getenv("DNSPATH_ALL") != "" { // records of these are the same on every kernel
		tools = append(tools, observe(t, "--netns", lab.NodeA, "--events"), observe(t, "--passive"))
	}
	ask(t, l.Client, lab.Service(), "schema.example.test.", nil)
	ask(t, l.Client, lab.Service6(), "schema6.example.test.", nil)
	ask(t, l.NodeA, lab.Service(), "schema-host.example.test.", nil)
	ask(t, l.Client, lab.Service(), "nx-schema.example.test.", nil)
	askShort(t, l.Client, lab.Service(), "silent-schema.example.test.", os.ErrDeadlineExceeded)
	askShort(t, l.DNSA, netip.AddrPortFrom(l.Client.Addr, 53), "schema-rejected.example.test.", syscall.ECONNREFUSED)
	remove := fence(t, l.NodeB, nil, "type filter hook forward priority 7; udp dport 53 drop;")
	askShort(t, l.Client, lab.Service(), "schema-dropped.example.test.", os.ErrDeadlineExceeded)
	remove()
	for _, message := range [][]byte{nil, []byte("short"), dnsMessage(1, "\x05\x1b\xff\n\x00a\x00", inA), dnsMessage(1, "\xc0\x0c"), bytes.Repeat([]byte{0xff}, 1400)} {
		if _, err := l.Client.SendUDP(lab.Service(), message); err != nil {
			t.Fatal(err)
		}
	}
	types, faults := map[string]int{}, 0
	for _, o := range tools {
		if err := o.Stop(); err != nil {
			t.Fatalf("%v: %s", err, o.Stderr())
		}
		for line := range bytes.Lines(o.Stdout()) {
			record, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
			if err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			if err := schema.Validate(record); err != nil {
				if faults++; faults > 5 {
					t.Fatal("and so on")
				}
				t.Errorf("%v\n%s", err, line)
			}
			var kind struct{ Type, Outcome string }
			if err := json.Unmarshal(line, &kind); err != nil {
				t.Fatal(err)
			}
			types[kind.Type+kind.Outcome]++
		}
	}
	kinds := []string{"event", "lookupanswered", "lookupdropped", "start", "stats"}
	if attached(t, "icmp_send") {
		kinds = append(kinds, "lookuprejected")
	}
	for _, kind := range kinds {
		if types[kind] == 0 {
			t.Errorf("no record of kind %s: %v", kind, types)
		}
	}
}
