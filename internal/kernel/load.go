package kernel

import (
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
)

// maxLoaders bounds how many programs are verified at one time: each takes some
// megabytes meanwhile.
const maxLoaders = 4

// loadCollection is ebpf.NewCollectionWithOptions, but for programs that are
// loaded side by side: that takes most of the time till the first event, and the
// verifier has no lock for who is privileged (since 5.2: kernel/bpf/verifier.c,
// bpf_check). The collection has no Variables.
func loadCollection(spec *ebpf.CollectionSpec, opts ebpf.CollectionOptions) (*ebpf.Collection, error) {
	withoutPrograms := *spec
	withoutPrograms.Programs = nil
	coll, err := ebpf.NewCollectionWithOptions(&withoutPrograms, opts)
	if err != nil {
		return nil, err
	}
	opts.MapReplacements = coll.Maps
	names := slices.Sorted(maps.Keys(spec.Programs))
	programs, err := sideBySide(names, func(name string) (*ebpf.Program, error) {
		one := &ebpf.CollectionSpec{Maps: spec.Maps, Programs: map[string]*ebpf.ProgramSpec{name: spec.Programs[name]}, ByteOrder: spec.ByteOrder}
		loaded, err := ebpf.NewCollectionWithOptions(one, opts)
		if err != nil {
			return nil, err
		}
		defer loaded.Close() // of the maps it has but copies
		return loaded.DetachProgram(name), nil
	})
	for i, name := range names {
		if programs[i] != nil {
			coll.Programs[name] = programs[i]
		}
	}
	if err != nil {
		coll.Close()
		return nil, err
	}
	return coll, nil
}

// sideBySide loads each of names, and returns the programs in their order; nil
// where there is an error.
func sideBySide(names []string, load func(name string) (*ebpf.Program, error)) ([]*ebpf.Program, error) {
	programs, errs := make([]*ebpf.Program, len(names)), make([]error, len(names))
	next := make(chan int)
	var loaders sync.WaitGroup
	for range min(maxLoaders, runtime.GOMAXPROCS(0)) {
		loaders.Go(func() {
			for i := range next {
				programs[i], errs[i] = load(names[i])
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	loaders.Wait()
	return programs, errors.Join(errs...)
}
