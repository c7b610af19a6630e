package capture

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dnspath/dnspath/internal/render"
)

// symbols are what text has beyond ASCII.
const symbols = "✓✗→µ≤±…\n\uFFFD"

// FuzzRead holds of any two files: no crash, text that a terminal can be shown,
// JSON that is JSON, and each of their lookups in one record at most.
func FuzzRead(f *testing.F) {
	w := good(2)
	w.off["b"] = time.Hour
	a, b := w.files["a"].String(), w.files["b"].String()
	f.Add(a, b)
	f.Add(a, a)
	f.Add(scene().files["a"].String(), scene().files["b"].String())
	f.Add(interleave(a, b), "")
	f.Add(strings.ReplaceAll(a, "tx", "\\u001b[31m"), strings.ReplaceAll(b, "eth0", "\\u202e\\n"))
	f.Add(strings.ReplaceAll(a, "answered", "\\u009b"), strings.ReplaceAll(b, `"t_ns":`, `"t_ns":9999999999999`))
	f.Add(strings.ReplaceAll(a, "2026", "0001"), strings.ReplaceAll(b, "2026", "2199"))
	f.Fuzz(func(t *testing.T, first, second string) {
		c, err := Read([]Source{source("a.json", first), source("b.json", second)})
		if err != nil {
			if !errors.Is(err, ErrNoExport) {
				t.Fatal(err)
			}
			return
		}
		j := c.Join()
		if len(j.groups) > len(c.lookups) {
			t.Fatalf("%d lookups of %d records", len(j.groups), len(c.lookups))
		}
		if err := j.Each(Selection{}, func(r *render.Record) error {
			var line, text bytes.Buffer
			if err := render.WriteJSON(&line, r); err != nil {
				return err
			}
			if !json.Valid(line.Bytes()) || bytes.IndexByte(line.Bytes(), '\n') != line.Len()-1 {
				t.Errorf("not one line of JSON: %q", &line)
			}
			Clean(r)
			if err := (&render.Text{}).Write(&text, r); err != nil {
				return err
			}
			for _, c := range text.String() {
				if (c < ' ' || c > '~') && !strings.ContainsRune(symbols, c) {
					t.Fatalf("%q is in %q", c, &text)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
