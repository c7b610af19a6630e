//go:build e2e

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// twoNodes has a tool on each node of the lab observe one lookup across VXLAN,
// one that node-b drops, and one that gets no answer; it returns their exports.
func twoNodes(t *testing.T) (a, b string) {
	t.Helper()
	l := raise(t, lab.Config{Service: lab.ServiceNFTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	nodeA := observe(t, "--netns", lab.Client, "--netns", lab.NodeA, "--node", lab.NodeA, "--count", "3")
	nodeB := observe(t, "--netns", lab.NodeB, "--netns", lab.DNSB, "--node", lab.NodeB)
	ask(t, l.Client, lab.Service(), "healthy.example.test.", nil)
	remove := fence(t, l.NodeB, nil, "type filter hook forward priority 7; udp dport 53 drop;")
	askShort(t, l.Client, lab.Service(), "dropped.example.test.", os.ErrDeadlineExceeded)
	remove()
	askShort(t, l.Client, lab.Service(), "silent.example.test.", os.ErrDeadlineExceeded)
	awaitEnd(t, nodeA) // when the time of the last two is up
	if err := nodeB.Stop(); err != nil {
		t.Fatalf("%v: %s", err, nodeB.Stderr())
	}
	return string(nodeA.Stdout()), string(nodeB.Stdout())
}

// analyzed is what analyze made of some files.
type analyzed struct {
	result
	lookups map[string]*render.Record
	sum     render.Analysis
}

// analyze writes files, named by their place, and runs the tool on them. Its
// output must be what the schema says.
func analyze(t *testing.T, files ...string) analyzed {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile("../../docs/export.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"analyze", "-o", "json"}
	dir := t.TempDir()
	for i, text := range files {
		path := filepath.Join(dir, fmt.Sprintf("%c.json", 'a'+i))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	x := analyzed{result: runTool(t, bin, 0, args...), lookups: map[string]*render.Record{}}
	for line := range strings.Lines(x.stdout) {
		record, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if err := schema.Validate(record); err != nil {
			t.Errorf("%v\n%s", err, line)
		}
		if strings.HasPrefix(line, `{"type":"analysis"`) {
			unmarshal(t, []byte(line), &x.sum)
			continue
		}
		r := &render.Record{}
		unmarshal(t, []byte(line), r)
		x.lookups[r.Name] = r
	}
	return x
}

// over makes of a whole way what both nodes' tools see of it, with the wire
// between them.
func over(t *testing.T, whole []string, from string) []string {
	t.Helper()
	lines := visible(t, whole)
	for i, line := range slices.Backward(lines) {
		if strings.HasPrefix(line, from+" ") {
			return slices.Insert(lines, i+1, " wire")
		}
	}
	t.Fatalf("no hop on %s: %q", from, lines)
	return nil
}

// checkNodes checks that each hop says on which node it was.
func checkNodes(t *testing.T, r *render.Record) {
	t.Helper()
	nodes := map[string]string{lab.Client: lab.NodeA, lab.NodeA: lab.NodeA, lab.NodeB: lab.NodeB, lab.DNSB: lab.NodeB}
	for _, leg := range r.Legs {
		for _, h := range leg.Hops {
			if h.Wire == nil && h.Node != nodes[h.NetNSName] {
				t.Errorf("%s in %s: node %q", h.Hop, h.NetNSName, h.Node)
			}
		}
	}
	if diff := cmp.Diff([]string{lab.NodeA, lab.NodeB}, r.Nodes); diff != "" {
		t.Errorf("%s: nodes (-want +got):\n%s", r.Name, diff)
	}
}

func TestAnalyze(t *testing.T) {
	sameEverywhere(t, "exports are joined in user space")
	a, b := twoNodes(t)
	t.Run("as they are", func(t *testing.T) {
		x := analyze(t, a, b)
		checkJoined(t, x)
		if x.sum.Joined != 3 || x.sum.Records != 6 || x.sum.Warnings != nil {
			t.Errorf("%+v, want 3 of 6 joined, and no warnings: %s", x.sum, x.stderr)
		}
		silent := x.lookups["silent.example.test."]
		if silent.Outcome != "lost" || !strings.Contains(silent.Detail, "the query was last seen on node-b: ") {
			t.Errorf("silent server: %s: %s", silent.Outcome, silent.Detail)
		}
	})
	t.Run("clocks three hours apart", func(t *testing.T) {
		x := analyze(t, a, shift(t, b, 3*time.Hour))
		checkJoined(t, x)
		node := x.sum.Nodes[1]
		if node.OffsetNS == nil || node.ErrorNS == nil {
			t.Fatalf("no offset: %+v", node)
		}
		off := time.Duration(*node.OffsetNS)
		if d := (off - 3*time.Hour).Abs(); d > time.Duration(*node.ErrorNS)+time.Millisecond || d > lab.Patience(50*time.Millisecond) {
			t.Errorf("offset %s, error %s; want 3h", off, time.Duration(*node.ErrorNS))
		}
		if len(x.sum.Warnings) != 1 || !strings.Contains(x.sum.Warnings[0], "the clock of node-b is +3h0m0s against that of node-a") {
			t.Errorf("warnings %q", x.sum.Warnings)
		}
	})
	t.Run("a packet that did not come", func(t *testing.T) {
		gone := without(b, "silent.example.test.")
		r := analyze(t, a, gone).lookups["silent.example.test."]
		if want := "; node-b's export covers that time and has not seen it"; r.Outcome != "lost" || !strings.HasSuffix(r.Detail, want) || r.Incomplete ||
			!strings.Contains(r.Detail, "the query was last seen on node-a: tx eth0 in node-a") {
			t.Errorf("%s: %s; want %q", r.Outcome, r.Detail, want)
		}
		r = analyze(t, a, strings.Replace(gone, `"ring_full":0`, `"ring_full":3`, 1)).lookups["silent.example.test."]
		if strings.Contains(r.Detail, "has not seen it") || !r.Incomplete {
			t.Errorf("with losses: %s: %s, incomplete %v", r.Outcome, r.Detail, r.Why)
		}
	})
	t.Run("text", func(t *testing.T) { checkAnalyzedText(t, a, b) })
}

// checkJoined checks the healthy lookup's way, and the other's end.
func checkJoined(t *testing.T, x analyzed) {
	t.Helper()
	if x.status != exitLookup {
		t.Errorf("status %d, want %d: %s", x.status, exitLookup, x.stderr)
	}
	healthy, dropped := x.lookups["healthy.example.test."], x.lookups["dropped.example.test."]
	if healthy == nil || dropped == nil || len(x.lookups) != 3 {
		t.Fatalf("lookups are missing, or too many: %s\n%s", x.stdout, x.stderr)
	}
	if healthy.Outcome != "answered" || healthy.Incomplete || len(healthy.Legs) != 2 {
		t.Errorf("healthy: %s %s, incomplete %v, %d legs", healthy.Outcome, healthy.Detail, healthy.Why, len(healthy.Legs))
	}
	if diff := cmp.Diff(over(t, remoteQuery, lab.NodeA), way(healthy, 0)); diff != "" {
		t.Errorf("query leg (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(over(t, remoteReply, lab.NodeB), way(healthy, 1)); diff != "" {
		t.Errorf("reply leg (-want +got):\n%s", diff)
	}
	checkNodes(t, healthy)
	for i, ends := range [][2]string{{lab.NodeA, lab.NodeB}, {lab.NodeB, lab.NodeA}} {
		for _, h := range healthy.Legs[i].Hops {
			if h.Wire != nil && (h.Wire.From != ends[0] || h.Wire.To != ends[1] || h.Wire.LatencyNS == nil || *h.Wire.LatencyNS > healthy.LatencyNS) {
				t.Errorf("leg %d: wire %+v", i, *h.Wire)
			}
		}
	}
	last := lastHop(t, dropped, "query")
	if dropped.Outcome != "dropped" || !strings.HasSuffix(dropped.Detail, ", in node-b") || last.Drop == nil || last.Node != lab.NodeB {
		t.Errorf("dropped: %s: %s, last hop %+v", dropped.Outcome, dropped.Detail, last)
	}
	checkNodes(t, dropped)
}

// shift moves the clock of the node that wrote an export.
func shift(t *testing.T, export string, by time.Duration) string {
	t.Helper()
	return regexp.MustCompile(`"time":"[^"]+"`).ReplaceAllStringFunc(export, func(field string) string {
		at, err := time.Parse(`"time":"`+time.RFC3339Nano+`"`, field)
		if err != nil {
			t.Fatal(err)
		}
		return at.Add(by).Format(`"time":"` + time.RFC3339Nano + `"`)
	})
}

// without leaves out the records of one name.
func without(export, name string) string {
	var kept strings.Builder
	for line := range strings.Lines(export) {
		if !strings.Contains(line, `"name":"`+name+`"`) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// checkAnalyzedText checks what people are shown, and how standard input and
// bad files are taken.
func checkAnalyzedText(t *testing.T, a, b string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"a.json": a, "b.json": b, "notes.txt": "hello\n", "cut.json": b[:len(b)-20]} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	r := runTool(t, bin, 0, "analyze", "--failed", file("a.json"), file("b.json"), file("notes.txt"))
	checkPlain(t, r.stdout)
	for _, want := range []string{"✗ ", "dropped.example.test. A  dropped: ", "node-a/client", "node-b", "wire", "node-a → node-b (± "} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the text does not say %q:\n%s", want, r.stdout)
		}
	}
	if strings.Contains(r.stdout, "healthy") || r.status != exitLookup {
		t.Errorf("--failed: status %d\n%s", r.status, r.stdout)
	}
	for _, want := range []string{"notes.txt:1: no export of dnspath: ", "6 records of 2 nodes, 3 lookups, 3 seen on several nodes, 2 of them shown: dropped 1, lost 1", "clock of node-b: "} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("stderr does not say %q:\n%s", want, r.stderr)
		}
	}
	if r := runTool(t, bin, 0, "analyze", "--name", "healthy.example.test", file("a.json"), file("cut.json")); r.status != 0 || !strings.Contains(r.stderr, "cut.json: cut short in its last line") {
		t.Errorf("cut short: status %d, stderr %s", r.status, r.stderr)
	}
	checkOneLine(t, runTool(t, bin, 0, "analyze", file("notes.txt")), exitFailed, "no export to analyze", "notes.txt:1")
	checkOneLine(t, runTool(t, bin, 0, "analyze", file("nothing.json")), exitFailed, "nothing.json")
	pipe := runTool(t, "/bin/sh", 0, "-c", fmt.Sprintf("cat %s | %s analyze --type A %s -", file("b.json"), bin, file("a.json")))
	if whole := runTool(t, bin, 0, "analyze", file("a.json"), file("b.json")); pipe.stdout != whole.stdout || pipe.status != whole.status {
		t.Errorf("from standard input: status %d, stderr %s\n%s", pipe.status, pipe.stderr, pipe.stdout)
	}
}
