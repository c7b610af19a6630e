package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dnspath/dnspath/internal/lab"
)

// listFaults lists what demo can make.
func listFaults(e env) error {
	for _, f := range slices.Concat(lab.Cases(), lab.Faults()) {
		fmt.Fprintf(e.stdout, "%-28s %s\n", f.ID, f.Title)
	}
	return nil
}

// findFaults returns the faults of IDs; that of a finding means all its variants.
func findFaults(ids []string) (found []lab.Fault, err error) {
	for _, id := range ids {
		n := len(found)
		for _, f := range slices.Concat(lab.Cases(), lab.Faults()) {
			if f.ID == id || f.Finding() == id {
				found = append(found, f)
			}
		}
		if len(found) == n {
			return nil, fmt.Errorf("%w: no failure %q can be made: dnslab demo list names those that can", errUsage, id)
		}
	}
	return found, nil
}

// demoFaults makes failures, one lab after the other, in the isolated process.
func demoFaults(ctx context.Context, e env, bin string, faults []lab.Fault) error {
	for i := range faults {
		if err := demoFault(ctx, e, bin, &faults[i]); err != nil {
			return fmt.Errorf("%s: %w", faults[i].ID, err)
		}
	}
	return nil
}

func demoFault(ctx context.Context, e env, bin string, f *lab.Fault) (err error) {
	fmt.Fprintf(e.stdout, "── %s: %s\n\n", f.ID, f.Title)
	l, err := f.Raise(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	const name = "broken.example.test."
	args := []string{"trace", "--timeout", lab.ToolTimeout().String()}
	o, err := lab.ObserveTo(ctx, e.stdout, bin, append(args, f.Watched(l)...)...)
	if err != nil {
		return err
	}
	if f.With != nil {
		err = f.With(ctx, l)
	}
	if err == nil {
		err = f.Fails(ctx, l, name)
	}
	if err = errors.Join(err, o.Stop()); err != nil || f.Mend == nil {
		return err
	}
	if err := f.Mend(ctx, l); err != nil {
		return err
	}
	if err := f.Works(ctx, l, "mended.example.test."); err != nil {
		return fmt.Errorf("it was mended, and fails still: %w", err)
	}
	fmt.Fprint(e.stdout, "Mended: the same lookup is answered now.\n\n")
	return nil
}
