// Package names turns the numbers in events into names while they still mean
// something: network namespaces into pods, /run/netns names and processes, and
// PIDs into processes.
//
// It needs no API server: a process's cgroup gives the pod's UID, and the
// kubelet's log directories give the pod's name. It reads files only, starts no
// goroutine and reads no clock: how often to Refresh is the caller's choice.
//
// PIDs are those of the PID namespace that Options.Proc shows; in a container
// that needs the host's (hostPID: true), or the PIDs in events mean others.
//
// All names are raw bytes of the system, unfit for a terminal until escaped.
// Error texts quote what they cite, and are fit to print.
package names

import (
	"maps"
	"slices"
	"sync"
)

// DefaultMaxGone is how many namespaces that have gone a Resolver remembers if
// Options.MaxGone is 0.
const DefaultMaxGone = 4096

// Options say where to look. The zero value is this machine.
type Options struct {
	// Proc is where procfs is mounted; "" means /proc.
	Proc string

	// RunNetns are the directories with named network namespaces; nil means
	// /run/netns and /var/run/netns. One that is missing is no error.
	RunNetns []string

	// PodLogs is the kubelet's directory of pod logs; "" means /var/log/pods.
	PodLogs string

	// MaxGone bounds how many namespaces that have gone are remembered; 0 means
	// DefaultMaxGone.
	MaxGone int

	// Inode returns the inode of the network namespace that a file is, with an
	// error matching ErrNotNetNS if it is something else; nil means to ask the
	// kernel. Tests replace it, since plain files can't stand for namespaces.
	Inode func(path string) (uint32, error)
}

// Stats count what a Resolver could not see or keep.
type Stats struct {
	// Processes that the last scan found, and how many of those hid their
	// namespace from us (not root). Processes that exited meanwhile count in
	// Processes alone.
	Processes, Unreadable int

	// Skipped files of the last scan under Options.RunNetns that are no network
	// namespace: for instance a name whose mount another mount namespace has.
	Skipped int

	// Live and gone namespaces that are held now.
	Live, Gone int

	// Evicted namespaces, since New: gone ones beyond Options.MaxGone whose
	// names were forgotten.
	Evicted uint64
}

// Resolver knows the network namespaces of the last Refresh, and the last names
// of those that have gone since. All methods are safe for concurrent use.
type Resolver struct {
	opts Options

	refreshing sync.Mutex // held for a whole Refresh; taken before mu

	mu        sync.RWMutex // guards what follows; never held during I/O
	live      map[uint32]NetNS
	gone      map[uint32]NetNS
	goneOrder []uint32 // keys of gone, longest gone first
	stats     Stats
}

// New returns a Resolver that knows nothing before its first Refresh.
func New(opts Options) *Resolver {
	if opts.Proc == "" {
		opts.Proc = "/proc"
	}
	if opts.RunNetns == nil {
		opts.RunNetns = []string{"/run/netns", "/var/run/netns"}
	}
	if opts.PodLogs == "" {
		opts.PodLogs = "/var/log/pods"
	}
	if opts.MaxGone <= 0 {
		opts.MaxGone = DefaultMaxGone
	}
	if opts.Inode == nil {
		opts.Inode = inodeOf
	}
	return &Resolver{opts: opts, gone: map[uint32]NetNS{}}
}

// Refresh scans the system again. It costs one readlink for each process and a
// few file reads for each namespace.
//
// If the list of processes can't be read, the last scan stays in force. Any
// other error says what is missing from the scan, which is in force
// nevertheless; what merely vanished during the scan is no error.
func (r *Resolver) Refresh() error {
	r.refreshing.Lock()
	defer r.refreshing.Unlock()
	r.mu.RLock()
	before := r.live // replaced by Refresh, never changed
	r.mu.RUnlock()

	s := newScan(&r.opts, before)
	live, err := s.run()
	if live == nil {
		return err
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.adopt(live, s.stats)
	return err
}

// adopt makes a scan the current one and moves what it lacks to the gone.
func (r *Resolver) adopt(live map[uint32]NetNS, stats Stats) {
	if len(r.gone) > 0 {
		// The number of a namespace that has gone means the new one from now on.
		r.goneOrder = slices.DeleteFunc(r.goneOrder, func(inode uint32) bool {
			_, again := live[inode]
			if again {
				delete(r.gone, inode)
			}
			return again
		})
	}
	for _, inode := range slices.Sorted(maps.Keys(r.live)) {
		if _, ok := live[inode]; ok {
			continue
		}
		n := r.live[inode]
		n.Gone, n.Path = true, ""
		r.gone[inode] = n
		r.goneOrder = append(r.goneOrder, inode)
	}
	evicted := max(0, len(r.goneOrder)-r.opts.MaxGone)
	for _, inode := range r.goneOrder[:evicted] {
		delete(r.gone, inode)
	}
	r.goneOrder = slices.Delete(r.goneOrder, 0, evicted)

	stats.Live, stats.Gone = len(live), len(r.gone)
	stats.Evicted = r.stats.Evicted + uint64(evicted)
	r.live, r.stats = live, stats
}

// NetNS returns what is known of a namespace: as the last Refresh saw it, or
// with Gone set as an earlier one did. For an inode that neither knows it
// returns false and a NetNS with only the Inode and the Name "netns:<inode>".
func (r *Resolver) NetNS(inode uint32) (NetNS, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if n, ok := r.live[inode]; ok {
		return n, true
	}
	if n, ok := r.gone[inode]; ok {
		return n, true
	}
	return NetNS{Inode: inode, Name: unknownName(inode)}, false
}

// All returns the namespaces that the last Refresh found, sorted by inode. The
// slice is the caller's.
//
// A namespace that neither a process's main thread nor a file of
// Options.RunNetns holds (only an open descriptor, a socket, or a mount
// elsewhere) is not found.
func (r *Resolver) All() []NetNS {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := slices.Collect(maps.Values(r.live))
	slices.SortFunc(all, byInode)
	return all
}

// Stats returns the counts as of the last Refresh.
func (r *Resolver) Stats() Stats {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.stats
}
