package render

import (
	"bytes"
	"io"
	"testing"
)

// BenchmarkView measures the view of an answered lookup, and each way to write it.
func BenchmarkView(b *testing.B) {
	view, l := sampleContext(), answered()
	record := view.View(l)
	var text Text
	for _, bench := range []struct {
		name string
		run  func() error
	}{
		{"view", func() error { view.View(l); return nil }},
		{"json", func() error { return WriteJSON(io.Discard, record) }},
		{"text", func() error { return text.Write(&bytes.Buffer{}, record) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bench.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
