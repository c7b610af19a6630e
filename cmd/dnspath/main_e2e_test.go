//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/kernel"
	"github.com/dnspath/dnspath/internal/lab"
	"github.com/dnspath/dnspath/internal/render"
)

// bin is the dnspath that the tests run: DNSPATH_BIN, or one built for them.
var bin string

func TestMain(m *testing.M) {
	status, err := lab.Isolate(func() int {
		remove, err := findBinary()
		if err != nil {
			fmt.Fprintln(os.Stderr, "end-to-end tests:", err)
			return 1
		}
		defer remove()
		return m.Run()
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "end-to-end tests:", err)
	}
	os.Exit(status)
}

func findBinary() (remove func(), err error) {
	if bin = os.Getenv("DNSPATH_BIN"); bin != "" {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "dnspath-bin-")
	if err != nil {
		return nil, err
	}
	bin = filepath.Join(dir, "dnspath")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w: %s", err, out)
	}
	return func() { os.RemoveAll(dir) }, nil
}

// sameEverywhere skips a test in which the kernel has little part where time is
// dear: it has run on the machine that this guest runs on. DNSPATH_ALL=1 runs it.
func sameEverywhere(t *testing.T, why string) {
	t.Helper()
	if lab.Slowness() > 1 && os.Getenv("DNSPATH_ALL") == "" {
		t.Skipf("the same on every kernel: %s", why)
	}
}

// onGuests skips a test that takes too long for each kernel where it need not run.
func onGuests(t *testing.T, guests []string) {
	t.Helper()
	if why := lab.NotHere(guests); why != "" {
		t.Skip(why)
	}
}

// raise makes a lab for one test, with a DNS server in both DNS pods.
func raise(t *testing.T, cfg lab.Config) *lab.Lab {
	t.Helper()
	l := raiseBare(t, cfg)
	for _, ns := range []*lab.NS{l.DNSA, l.DNSB} {
		if _, err := lab.StartDNS(ns, lab.DNSOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// raiseBare is raise without DNS servers.
func raiseBare(t *testing.T, cfg lab.Config) *lab.Lab {
	t.Helper()
	l, err := lab.New(t.Context(), cfg)
	if errors.Is(err, lab.ErrNotSupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return l
}

// toolTimeout is how long the tool waits for a lookup's reply in most tests.
func toolTimeout() string { return lab.Patience(time.Second).String() }

// observe starts the tool, with JSON for output.
func observe(t *testing.T, args ...string) *lab.Observer {
	t.Helper()
	if !slices.Contains(args, "--timeout") {
		args = append(args, "--timeout", toolTimeout())
	}
	o, err := lab.Observe(t.Context(), bin, append([]string{"trace", "-o", "json"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// export is what the tool wrote.
type export struct {
	start   render.Start
	lookups []*render.Record
	events  int
	stats   render.StatsRecord
}

// end stops the tool and reads what it wrote. No checksum may be wrong: a lab's
// are right, but where a test breaks them.
func end(t *testing.T, o *lab.Observer) export {
	t.Helper()
	x := endWrong(t, o)
	for _, r := range x.lookups {
		if wrong := wrongSums(r); wrong != nil {
			t.Errorf("%s %s: checksums are said to be wrong: %q", r.Name, r.QType, wrong)
		}
	}
	return x
}

// endWrong is end where checksums may be wrong.
func endWrong(t *testing.T, o *lab.Observer) export {
	t.Helper()
	if err := o.Stop(); err != nil {
		t.Fatalf("tool: %v: %s", err, o.Stderr())
	}
	return read(t, o.Stdout())
}

func read(t *testing.T, out []byte) export {
	t.Helper()
	var x export
	s := bufio.NewScanner(bytes.NewReader(out))
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		var kind struct {
			Type string `json:"type"`
		}
		unmarshal(t, s.Bytes(), &kind)
		switch kind.Type {
		case "start":
			unmarshal(t, s.Bytes(), &x.start)
		case "lookup":
			r := &render.Record{}
			unmarshal(t, s.Bytes(), r)
			x.lookups = append(x.lookups, r)
		case "event":
			x.events++
		case "stats":
			unmarshal(t, s.Bytes(), &x.stats)
		default:
			t.Errorf("record of type %q", kind.Type)
		}
	}
	if x.stats.Type == "" {
		t.Errorf("the export has no stats at its end:\n%s", out)
	}
	return x
}

func unmarshal(t *testing.T, line []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(line, v); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
}

// only returns the one lookup of an export that asks for name.
func (x export) only(t *testing.T, name string) *render.Record {
	t.Helper()
	var found []*render.Record
	for _, r := range x.lookups {
		if r.Name == name {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		for _, r := range x.lookups {
			t.Logf("lookup: %+v", r)
		}
		t.Fatalf("%d lookups for %s, want 1", len(found), name)
	}
	return found[0]
}

// way writes the hops of a leg as a user reads them: where, at which device or
// hook, what, and what changed.
func way(r *render.Record, leg int) []string {
	if leg >= len(r.Legs) {
		return nil
	}
	var lines []string
	for _, h := range r.Legs[leg].Hops {
		place := h.Dev
		if h.Hook != "" {
			place = h.Hook
		}
		line := fmt.Sprintf("%s %s %s", h.NetNSName, place, h.Hop)
		if h.Dev == "" && h.Hook == "" {
			line = fmt.Sprintf("%s %s", h.NetNSName, h.Hop)
		}
		changes := slices.Clone(h.Changes)
		if h.Change != nil {
			changes = append([]render.Change{*h.Change}, changes...)
		}
		for _, c := range changes {
			switch {
			case c.Kind == "encap":
				line += fmt.Sprintf(" %s(vni %d)", c.Kind, h.Tunnel.VNI)
			case c.From != "":
				line += fmt.Sprintf(" %s %s>%s", c.Kind, port(c.From, r), port(c.To, r))
			default:
				line += " " + c.Kind
			}
			if c.How == "inferred" {
				line += " at " + c.Hook + "?"
			}
		}
		if h.Hop == "read" {
			continue // kernels differ in whether, and when, they tell
		}
		if isFunction(h.Probe) && len(changes) == 0 && !slices.Contains(everywhere, h.Hop) {
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

// port writes the client's port as a word, for it differs from run to run.
// everywhere are the hops that function probes see in place of others.
var everywhere = []string{"socket", "socket-full", "bad-checksum", "drop"}

// isFunction reports whether a probe is one on a kernel function.
func isFunction(probe string) bool {
	return slices.ContainsFunc(kernel.Hops(), func(h kernel.Hop) bool { return h.Program == probe && h.Kind == kernel.KindFunction })
}

func port(addr string, r *render.Record) string {
	suffix := fmt.Sprintf(":%d", r.Client.Port)
	if base, ok := bytes.CutSuffix([]byte(addr), []byte(suffix)); ok {
		return string(base) + ":client"
	}
	return addr
}

// answeredAndDropped has the tool, with these flags, observe a lookup by a
// service that is answered, which it checks and returns, and one that node-b's
// firewall drops.
func answeredAndDropped(t *testing.T, flags ...string) (export, *render.Record) {
	t.Helper()
	l := raise(t, lab.Config{Service: lab.ServiceNFTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	o := observe(t, flags...)
	res := ask(t, l.Client, lab.Service(), "a.example.test.", nil)
	drop := fence(t, l.NodeB, nil, "type filter hook forward priority 0; udp dport 53 drop;")
	askShort(t, l.Client, lab.Service(), "dropped.example.test.", os.ErrDeadlineExceeded)
	x := end(t, o)
	drop()
	r := x.only(t, "a.example.test.")
	checkAnswered(t, r, res)
	return x, r
}
