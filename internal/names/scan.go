package names

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// A scan is one pass over the system.
type scan struct {
	opts   *Options
	before map[uint32]NetNS // the scan before this one
	stats  Stats
	errs   []error

	initRead bool // the namespace of PID 1 is known

	pods     map[string]string // by UID
	podsRead bool
}

// members are the processes of one namespace: the lowest PIDs in order, so that
// there is another to ask if the first has just exited.
type members struct {
	pids [4]int
	n    int
}

// runFile is a named network namespace.
type runFile struct{ name, path string }

func newScan(opts *Options, before map[uint32]NetNS) *scan {
	return &scan{opts: opts, before: before}
}

// run returns the namespaces that it found, or nil if the list of processes
// could not be read.
func (s *scan) run() (map[uint32]NetNS, error) {
	procs, err := s.readProcs()
	if err != nil {
		return nil, err
	}
	files := s.readRunNetns()

	live := make(map[uint32]NetNS, len(procs)+len(files))
	for inode, m := range procs {
		if n, ok := s.describe(inode, files[inode], m); ok {
			live[inode] = n
		}
	}
	for inode, named := range files {
		if _, ok := procs[inode]; !ok {
			live[inode], _ = s.describe(inode, named, nil)
		}
	}
	return live, errors.Join(s.errs...)
}

// readProcs groups all processes by network namespace. It reads nothing but
// the namespace link: a node may have tens of thousands of processes.
func (s *scan) readProcs() (map[uint32]*members, error) {
	dir, err := os.Open(s.opts.Proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	fd := int(dir.Fd())

	procs := map[uint32]*members{}
	for {
		// In parts, so that no list of all names is held.
		entries, err := dir.Readdirnames(1024)
		for _, entry := range entries {
			if pid, ok := parsePID(entry); ok {
				s.readProc(procs, fd, pid, entry)
			}
		}
		if errors.Is(err, io.EOF) {
			return procs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
	}
}

// readProc adds the process with directory entry under procFD to its namespace.
func (s *scan) readProc(procs map[uint32]*members, procFD, pid int, entry string) {
	s.stats.Processes++
	// The link and not stat: stat would make an nsfs inode for each process.
	var buf [64]byte
	n, err := unix.Readlinkat(procFD, entry+"/ns/net", buf[:])
	if err != nil {
		if !vanished(err) {
			s.stats.Unreadable++
		}
		return
	}
	inode, ok := netLinkInode(buf[:n])
	if !ok {
		s.stats.Unreadable++
		return
	}
	s.initRead = s.initRead || pid == 1
	m := procs[inode]
	if m == nil {
		m = &members{}
		procs[inode] = m
	}
	m.add(pid)
}

// add keeps pid if it is among the lowest.
func (m *members) add(pid int) {
	at, _ := slices.BinarySearch(m.pids[:m.n], pid)
	if at == len(m.pids) {
		return
	}
	m.n = min(m.n+1, len(m.pids))
	copy(m.pids[at+1:m.n], m.pids[at:])
	m.pids[at] = pid
}

// readRunNetns returns the named namespaces by inode, each list sorted by name,
// with each name once.
func (s *scan) readRunNetns() map[uint32][]runFile {
	files := map[uint32][]runFile{}
	var read []fs.FileInfo
	for _, dir := range s.opts.RunNetns {
		info, err := os.Stat(dir)
		// /var/run is a link to /run on most systems.
		if err == nil && slices.ContainsFunc(read, func(o fs.FileInfo) bool { return os.SameFile(o, info) }) {
			continue
		}
		read = append(read, info)
		s.readRunDir(dir, files)
	}
	for inode, named := range files {
		slices.SortStableFunc(named, func(a, b runFile) int { return cmp.Compare(a.name, b.name) })
		files[inode] = slices.CompactFunc(named, func(a, b runFile) bool { return a.name == b.name })
	}
	return files
}

func (s *scan) readRunDir(dir string, files map[uint32][]runFile) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		s.errs = append(s.errs, fmt.Errorf("named network namespaces: %w", err))
		return
	}
	defer f.Close()
	entries, err := f.Readdirnames(-1)
	if err != nil {
		s.errs = append(s.errs, fmt.Errorf("list named network namespaces: %w", err))
	}
	for _, name := range entries {
		path := filepath.Join(dir, name)
		inode, err := s.opts.Inode(path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				s.stats.Skipped++
			}
			continue
		}
		files[inode] = append(files[inode], runFile{name, path})
	}
}

// describe makes a NetNS of what the scan found. It returns false if nothing
// holds the namespace any more, as far as can be seen.
func (s *scan) describe(inode uint32, named []runFile, m *members) (NetNS, bool) {
	n := NetNS{Inode: inode}
	for _, f := range named {
		n.RunNames = append(n.RunNames, f.name)
	}
	if m != nil {
		s.askProcess(&n, m)
	}
	switch {
	case len(named) > 0: // unlike a PID, it is not given to another soon
		n.Path = named[0].path
	case n.PID != 0:
		n.Path = filepath.Join(s.opts.Proc, strconv.Itoa(n.PID), "ns", "net")
	default:
		return NetNS{}, false
	}
	s.inherit(&n)
	n.Name = displayName(n)
	return n, true
}

// askProcess fills in what the first process that still lives tells.
func (s *scan) askProcess(n *NetNS, m *members) {
	for _, pid := range m.pids[:m.n] {
		comm, err := readComm(s.opts.Proc, pid)
		if err != nil {
			continue
		}
		n.PID, n.Process, n.Host = pid, comm, s.isHost(pid, comm)
		cgroup, err := os.ReadFile(filepath.Join(s.opts.Proc, strconv.Itoa(pid), "cgroup"))
		if err != nil && !vanished(err) {
			s.errs = append(s.errs, fmt.Errorf("cgroup of pid %d: %w", pid, err))
		}
		n.PodUID = podUID(cgroup)
		n.Pod = s.pod(n.PodUID)
		return
	}
}

// isHost tells the process that stands for the host. A sandbox may hide PID 1
// even from root; kernel threads are in the initial network namespace always.
func (s *scan) isHost(pid int, comm string) bool {
	return pid == 1 || pid == 2 && comm == "kthreadd" && !s.initRead
}

// pod returns "namespace/name" of a pod, or "". The directory is read once a
// scan, and not at all on a machine without pods.
func (s *scan) pod(uid string) string {
	if uid == "" {
		return ""
	}
	if !s.podsRead {
		s.podsRead = true
		var err error
		if s.pods, err = podNames(s.opts.PodLogs); err != nil {
			s.errs = append(s.errs, err)
		}
	}
	return s.pods[uid]
}

// inherit keeps a pod's name through its end, when lookups are most likely to
// fail: its processes go before its namespace, and its logs may too.
func (s *scan) inherit(n *NetNS) {
	old, ok := s.before[n.Inode]
	if !ok {
		return
	}
	// The inode alone proves nothing, it may be another namespace's by now; a
	// runtime's file name is never given twice.
	sameFile := slices.ContainsFunc(n.RunNames, func(name string) bool {
		return machineMade(name) && slices.Contains(old.RunNames, name)
	})
	if n.PID == 0 && sameFile {
		n.PodUID = old.PodUID
	}
	if n.Pod == "" && n.PodUID == old.PodUID {
		n.Pod = old.Pod
	}
}

// byInode is the order of lists that are shown.
func byInode(a, b NetNS) int { return cmp.Compare(a.Inode, b.Inode) }
