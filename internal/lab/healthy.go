package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// HealthyRun says how to make healthy lookups in a topology with dnspath watching.
type HealthyRun struct {
	Bin         string   // of dnspath
	Args        []string // more flags of it
	ToolTimeout time.Duration
	Count       int // lookups, an equal part with each of Settings
	Rate        int // lookups a second
	Seed        uint64
	Settings    []Offloads
	Export      io.Writer // gets what dnspath exports, too; may be nil
}

// HealthyPart is what came of the lookups with one setting of the devices.
type HealthyPart struct {
	Offloads Offloads
	Refused  int // offloads of devices that are not as was asked: the driver has no choice
	Of       int // offloads of all devices
	Made     int // lookups
	Sums     SumTally
}

// HealthyResult is what came of healthy lookups in a topology.
type HealthyResult struct {
	Topology Topology
	Parts    []HealthyPart
	Verdict  *MixedVerdict
}

// Healthy makes lookups that are all answered, and counts what dnspath says of
// their checksums: none is wrong.
func Healthy(ctx context.Context, t Topology, run HealthyRun) (res *HealthyResult, err error) {
	l, err := New(ctx, t.Config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := t.prepare(ctx, l); err != nil {
		return nil, err
	}
	res = &HealthyResult{Topology: t, Parts: make([]HealthyPart, len(run.Settings))}
	opts := MixedOptions{
		Count: run.Count, Rate: run.Rate, TCP: 0.3, Seed: run.Seed, Healthy: true, Servers: t.servers(),
		Timeout: run.ToolTimeout * 3 / 4, // a lookup that is late is answered, and not lost
	}
	for i, o := range run.Settings {
		p := &res.Parts[i]
		opts.Parts = append(opts.Parts, func() (err error) {
			p.Offloads = o
			p.Refused, p.Of, err = l.SetOffloads(o)
			return err
		})
	}
	mixed, err := ObserveMixed(ctx, l, MixedRun{Lookups: opts, Bin: run.Bin, Args: run.Args, ToolTimeout: run.ToolTimeout, Export: run.Export, CountSums: true})
	if err != nil {
		return nil, err
	}
	res.tally(mixed)
	return res, nil
}

// tally judges what was told.
func (r *HealthyResult) tally(mixed *MixedResult) {
	mixed.Export.Others = r.Topology.NodeLocal // the cache
	r.Verdict = JudgeMixed(mixed.Log, mixed.Export)
	parts := map[string]int{}
	for _, l := range mixed.Log {
		if !l.Sent.IsZero() && !l.Unasked { // of a connection that failed nothing has a name
			r.Parts[l.Part].Made++
			parts[l.Name] = l.Part
		}
	}
	for _, record := range mixed.Export.records {
		if part, ok := parts[record.Name]; ok {
			r.Parts[part].Sums.Add(record.sums)
		}
	}
}

// Sums counts the verdicts of all parts.
func (r *HealthyResult) Sums() *SumTally {
	all := &SumTally{}
	for i := range r.Parts {
		all.Add(&r.Parts[i].Sums)
	}
	return all
}

// Good reports whether each lookup was told, no events were lost, and no checksum
// is said to be wrong. Whether each was told as it was is for Mixed to prove. A busy machine may keep one of a hundred lookups from being healthy.
func (r *HealthyResult) Good() bool {
	for i := range r.Parts {
		if p := &r.Parts[i]; p.Sums.Lookups < p.Made {
			return false
		}
	}
	v := r.Verdict
	return v.Missed == 0 && v.Losses.ofEvents() == 0 && v.Unmade+v.Unplanned <= v.Lookups/100 && r.Sums().Wrong() == 0
}

// ofEvents counts losses that may have cost a hop. The return of a function that
// was missed costs its hop what the function made of the packet, and nothing else.
func (l MixedLosses) ofEvents() uint64 { return l.Total() - l.Lost["return"] }

// HealthyColumns is the head of the tables that Write prints.
func HealthyColumns() string {
	s := fmt.Sprintf("%-18s %7s %7s %8s", "on", "lookups", "told", "hops")
	for _, verdict := range SumVerdicts() {
		s += fmt.Sprintf(" %*s", max(len(verdict), 8), verdict)
	}
	return s
}

// Row writes a tally as a line of a table.
func (t *SumTally) Row(on string, made int) string {
	s := fmt.Sprintf("%-18s %7d %7d %8d", on, made, t.Lookups, t.Hops)
	for _, verdict := range SumVerdicts() {
		s += fmt.Sprintf(" %*d", max(len(verdict), 8), t.Verdicts[verdict])
	}
	return s
}

// Write prints a line for each setting, and what is wrong.
func (r *HealthyResult) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Topology)
	for i := range r.Parts {
		p := &r.Parts[i]
		fmt.Fprintf(&b, "  %s", p.Sums.Row(p.Offloads.String(), p.Made))
		if p.Refused > 0 {
			fmt.Fprintf(&b, "   %d of %d not as asked", p.Refused, p.Of)
		}
		b.WriteByte('\n')
	}
	for _, fault := range r.Sums().Faults {
		fmt.Fprintf(&b, "  wrong: %s\n", fault)
	}
	v := r.Verdict
	if !v.Good() || v.Unmade+v.Unplanned > 0 {
		fmt.Fprintf(&b, "  missed %d, split %d, merged %d, wrong %d, foreign %d, incomplete %d, losses of dnspath %+v, not made as planned %d, not ended as planned %d\n",
			v.Missed, v.Split, v.Merged, v.Wrong, v.Foreign, v.Incomplete, v.Losses, v.Unmade, v.Unplanned)
		for _, fault := range v.Faults {
			fmt.Fprintf(&b, "  %s\n", fault)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
