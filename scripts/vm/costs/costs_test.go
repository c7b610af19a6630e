package costs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = `# Costs

Prose | with a bar.

| program | 5.10 | 6.1 |
|---|---:|---:|
| a | 12 | – |
| b | 3 | 4 |
`

func TestRead(t *testing.T) {
	got, err := Read([]byte(page))
	want := Table{"a": {"5.10": 12}, "b": {"5.10": 3, "6.1": 4}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("table (-want +got):\n%s, error %v", diff, err)
	}
	if diff := cmp.Diff(map[string]int{"b": 4}, got.Kernel("6.1")); diff != "" {
		t.Errorf("6.1 (-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"no number": "| program | 5.10 |\n| a | x |\n", "too few cells": "| program | 5.10 |\n| a |\n",
	} {
		if _, err := Read([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestReplace(t *testing.T) {
	table, err := Read([]byte(page))
	if err != nil {
		t.Fatal(err)
	}
	kernels := []string{"5.10", "6.1"}
	if diff := cmp.Diff(page, string(Replace([]byte(page), table, kernels))); diff != "" {
		t.Errorf("the same numbers (-want +got):\n%s", diff)
	}
	table.Forget("5.10")
	table.Set("c", "6.1", 5)
	want := Table{"b": {"6.1": 4}, "c": {"6.1": 5}}
	got, err := Read(Replace([]byte(page), table, kernels))
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("changed numbers (-want +got):\n%s, error %v", diff, err)
	}
}
