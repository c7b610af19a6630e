package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJobs(t *testing.T) {
	for _, c := range []struct {
		name    string
		kernels string
		guests  int
		tests   int
		run     string
		want    string
	}{
		{"one more than whole rounds", "a b c d e", 2, 100, "", "a b c d e-1 e-2"},
		{"whole rounds", "a b c d", 2, 100, "", "a b c d"},
		{"one kernel", "a", 2, 100, "", "a-1 a-2"},
		{"two that are left", "a b c d e", 3, 100, "", "a b c d-1 d-2 d-3 e-1 e-2 e-3"},
		{"one guest at a time", "a b", 1, 100, "", "a b"},
		{"too few tests", "a", 2, 9, "", "a"},
		{"a subtest", "a", 2, 100, "TestA/b", "a"},
	} {
		var guests []guest
		for _, k := range strings.Fields(c.kernels) {
			guests = append(guests, guest{series: k})
		}
		var got []string
		for _, j := range jobs(guests, c.tests, settings{guests: c.guests, run: c.run}) {
			got = append(got, j.name())
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: jobs (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestSplit holds that the parts of a kernel's tests are all of them, each once,
// and take as long.
func TestSplit(t *testing.T) {
	m := &matrix{
		suites: []suite{
			{name: "internal/x", run: ".", tests: []string{"internal/x TestA", "internal/x TestNew"}},
			{name: "cmd/x", run: ".", tests: []string{"cmd/x TestA", "cmd/x TestB", "cmd/x TestC"}},
		},
		results: map[string]results{
			host:   {"cmd/x TestC": {seconds: 1000}},
			"5.10": {"internal/x TestA": {seconds: 30}, "cmd/x TestA": {seconds: 10}, "cmd/x TestB": {seconds: 2}, "cmd/x TestC": {}},
			"6.1":  {"internal/x TestA": {seconds: 20}, "cmd/x TestA": {seconds: 10}, "cmd/x TestB": {seconds: 20}, "cmd/x TestC": {}},
			"6.12": {"cmd/x TestC": {seconds: 600}}, // which one guest runs for all
		},
	}
	var ran, tests []string
	for _, j := range jobs([]guest{{series: "7.2"}}, 100, settings{guests: 2}) {
		for _, s := range j.suites(m) {
			ran = append(ran, j.name()+" "+s.name+" "+s.run)
			tests = append(tests, s.tests...)
		}
	}
	want := []string{
		"7.2-1 internal/x ^(TestA)$",
		"7.2-2 internal/x ^(TestNew)$",
		"7.2-2 cmd/x ^(TestA|TestB|TestC)$",
	}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Errorf("suites (-want +got):\n%s", diff)
	}
	slices.Sort(tests)
	all := []string{"cmd/x TestA", "cmd/x TestB", "cmd/x TestC", "internal/x TestA", "internal/x TestNew"}
	if diff := cmp.Diff(all, tests); diff != "" {
		t.Errorf("tests (-want +got):\n%s", diff)
	}
}

// TestParse reads how a guest's tests ended, and how long they took: what is split
// hangs on it.
func TestParse(t *testing.T) {
	const text = "=== RUN   TestA\n--- PASS: TestA (1.50s)\n=== RUN   TestB\n    b_test.go:1: no such thing here\n--- SKIP: TestB (0.25s)\nPASS\n"
	res, err := parse(t.Context(), "cmd/x", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	a, b := res["cmd/x TestA"], res["cmd/x TestB"]
	if a == nil || b == nil || a.outcome != pass || b.outcome != skip || a.seconds != 1.5 || b.seconds != 0.25 {
		t.Errorf("TestA %+v, TestB %+v", a, b)
	}
}
