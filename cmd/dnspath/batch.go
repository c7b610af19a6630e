package main

import (
	"bufio"

	"github.com/dnspath/dnspath/internal/render"
	"github.com/dnspath/dnspath/tracer"
)

// batch is a lookup, or those of a story, in order. They are diagnosed together:
// what was not asked for may be why the rest failed.
type batch struct {
	lookups []*tracer.Lookup
	show    []bool // which of them were asked for
}

// add takes the next lookup. It reports whether the batch is whole.
func (b *batch) add(l *tracer.Lookup, show bool) bool {
	b.lookups, b.show = append(b.lookups, l), append(b.show, show)
	return l.Story == nil || len(b.lookups) >= l.Story.Lookups
}

// records returns how many records are written of what is put.
func records(put any) (n uint64) {
	b, ok := put.(batch)
	if !ok {
		return 1
	}
	for _, show := range b.show {
		if show {
			n++
		}
	}
	return n
}

// size estimates how many bytes what is put takes.
func size(put any) (n int64) {
	switch p := put.(type) {
	case batch:
		for _, l := range p.lookups {
			n += int64(l.Size())
		}
	case *tracer.Event:
		n = int64(p.Size())
	}
	return n
}

// writeBatch writes the lookups that were asked for, with their causes. The
// summary counts those too that --failed and --slower leave out.
func (o *output) writeBatch(w *bufio.Writer, b batch) error {
	for i, l := range b.lookups {
		if b.show[i] || l.Outcome != tracer.OutcomeAnswered {
			o.rules.Explain(l)
		}
	}
	o.doctor.Diagnose(b.lookups...)
	var views []*render.Record
	for i, l := range b.lookups {
		if b.show[i] {
			view := o.view.View(l)
			o.sum.add(view)
			views = append(views, view)
		}
	}
	if !o.take(views) {
		return nil
	}
	for _, view := range views {
		if err := o.writeRecord(w, view); err != nil {
			return err
		}
	}
	return nil
}

// take reports whether lookups of one story are shown: all, or, with --failed or
// --slower, if one of them is such. Those that are such it then counts.
func (o *output) take(views []*render.Record) bool {
	if o.picksAll() {
		return true
	}
	if o.full() || !o.flags.pick.TakesAny(views) {
		return false
	}
	for _, view := range views {
		if o.flags.pick.Takes(view.Fate()) {
			o.count()
		}
	}
	return true
}
