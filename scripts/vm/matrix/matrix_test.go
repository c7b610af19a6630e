package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample is a matrix of two kernels.
func sample() *matrix {
	is := func(o outcome, said ...string) *result { return &result{outcome: o, said: said} }
	return &matrix{
		whole:   true,
		suites:  []suite{{name: "cmd/x", tests: []string{"cmd/x TestAll", "cmd/x TestBackend", "cmd/x TestNew", "cmd/x TestOld"}}},
		kernels: []string{host, "5.10"},
		why:     map[string]error{},
		logs:    map[string][]string{"5.10": {logFile("5.10-1"), logFile("5.10-2")}},
		results: map[string]results{
			host: {
				"cmd/x TestAll": is(pass), "cmd/x TestAll/a": is(pass), "cmd/x TestAll/b": is(pass), "cmd/x TestAll/b/c": is(pass),
				"cmd/x TestBackend": is(pass), "cmd/x TestBackend/kprobe": is(pass), "cmd/x TestBackend/fentry": is(pass),
				"cmd/x TestNew": is(pass), "cmd/x TestOld": is(skip, "x_test.go:7: too new"),
				"tracer TestHere": is(pass),
			},
			"5.10": {
				"cmd/x TestAll": is(pass), "cmd/x TestAll/a": is(pass), "cmd/x TestAll/b": is(skip, "x_test.go:8: no b"), "cmd/x TestAll/c/d": is(pass),
				"cmd/x TestBackend": is(pass), "cmd/x TestBackend/kprobe": is(pass), "cmd/x TestBackend/fentry": is(pass),
				"cmd/x TestNew": is(fail, "x_test.go:9: hello", "x_test.go:10: world"), "cmd/x TestOld": is(skip, "x_test.go:7: too new"),
			},
		},
	}
}

func TestPrint(t *testing.T) {
	var out strings.Builder
	sample().print(&out)
	want := `
test                      host  5.10
cmd/x TestAll             pass  pass, 1/3 skip
cmd/x TestAll/b           pass  skip
cmd/x TestAll/c/d         -     pass
cmd/x TestBackend         pass  pass
cmd/x TestBackend/fentry  pass  pass
cmd/x TestBackend/kprobe  pass  pass
cmd/x TestNew             pass  FAIL
cmd/x TestOld             skip  skip
skip on 5.10: cmd/x TestAll/b: no b
skip on host, 5.10: cmd/x TestOld: too new
FAIL on 5.10: cmd/x TestNew
    x_test.go:9: hello
    x_test.go:10: world
log of 5.10: bin/vm/log/5.10-1.log, bin/vm/log/5.10-2.log
no kernel passed cmd/x TestOld
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestOK(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(m *matrix)
		want   bool
	}{
		{"a test failed", func(*matrix) {}, false},
		{"a test that nothing passed", func(m *matrix) { m.results["5.10"]["cmd/x TestNew"].outcome = pass }, false},
		{"in a part", func(m *matrix) {
			m.results["5.10"]["cmd/x TestNew"].outcome = pass
			m.whole = false
		}, true},
		{"a kernel was not to be had", func(m *matrix) {
			m.results["5.10"]["cmd/x TestNew"].outcome = pass
			m.without = []string{"6.1"}
		}, true},
		{"a guest died", func(m *matrix) {
			m.results["5.10"]["cmd/x TestNew"].outcome = pass
			m.whole = false
			m.why["5.10"] = errTests
		}, false},
		{"all is well", func(m *matrix) {
			m.results["5.10"]["cmd/x TestNew"].outcome = pass
			m.results["5.10"]["cmd/x TestOld"].outcome = pass
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := sample()
			c.change(m)
			if got := m.ok(); got != c.want {
				t.Errorf("ok %v, want %v", got, c.want)
			}
		})
	}
}

func TestQuote(t *testing.T) {
	if got, want := quote("it's $x"), `'it'\''s $x'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFindingsTable has a failure that both ways name, one that takes probes, one
// that a kernel can't make, and one that is not named.
func TestFindingsTable(t *testing.T) {
	name := func(id string) string { return findingsTest + "/" + id }
	m := &matrix{kernels: []string{host, "5.10", "7.2"}, results: map[string]results{
		host: {name("a"): {outcome: pass}, name("a/all"): {outcome: pass}},
		"5.10": {
			findingsTest: {outcome: pass}, name("a"): {outcome: pass}, name("a/all"): {outcome: pass}, name("a/passive"): {outcome: pass},
			name("a/ipvs"): {outcome: skip}, name("b"): {outcome: pass}, name("b/all"): {outcome: pass},
		},
		"7.2": {
			name("a/ipvs"): {outcome: pass}, name("a/ipvs/passive"): {outcome: pass},
			name("b"): {outcome: fail}, name("b/all"): {outcome: fail},
		},
	}}
	var b strings.Builder
	m.printFindings(&b)
	want := `
| finding | 5.10 | 7.2 |
|---|---:|---:|
| a | both | – |
| a/ipvs | – | tracepoints |
| b | probes | FAIL |
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

// A test that failed and then passed has passed, and is told of.
func TestSecond(t *testing.T) {
	m := sample()
	m.whole = false
	res := m.results["5.10"]
	if diff := cmp.Diff(map[string]bool{"cmd/x TestNew": true}, res.failures()); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	if m.ok() {
		t.Error("all is well, though a test failed")
	}
	res.addSecond(results{"cmd/x TestNew": {outcome: pass}})
	if !m.ok() {
		t.Error("not all is well, though the test passed at the second try")
	}
	var out strings.Builder
	m.printFailed(&out)
	want := `FAIL at the first try on 5.10: cmd/x TestNew
    x_test.go:9: hello
    x_test.go:10: world
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
