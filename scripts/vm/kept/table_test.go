package kept

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
	want := Table{"a": {"5.10": "12"}, "b": {"5.10": "3", "6.1": "4"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("table (-want +got):\n%s, error %v", diff, err)
	}
	if _, err := Read([]byte("# Costs\n\n| program | 5.10 |\n| a |\n")); err == nil {
		t.Error("too few cells: no error")
	}
}

func TestReplace(t *testing.T) {
	table, err := Read([]byte(page))
	if err != nil {
		t.Fatal(err)
	}
	kernels := []string{"5.10", "6.1"}
	if diff := cmp.Diff(page, string(Replace([]byte(page), table, "program", kernels))); diff != "" {
		t.Errorf("the same cells (-want +got):\n%s", diff)
	}
	table.Forget("5.10")
	table.Set("c", "6.1", "5")
	want := Table{"b": {"6.1": "4"}, "c": {"6.1": "5"}}
	got, err := Read(Replace([]byte(page), table, "program", kernels))
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("changed cells (-want +got):\n%s, error %v", diff, err)
	}
}
