package names

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Find returns the network namespace that a user means by spec:
//
//   - a path (it starts with '/', './' or '../'): any file that is a network
//     namespace, such as /run/netns/x or /proc/4242/ns/net
//   - "host": the namespace of PID 1
//   - a PID
//   - an inode, as 4026532301, netns:4026532301 or net:[4026532301]
//   - a pod, as "namespace/name" or by UID
//   - a name under Options.RunNetns, or NetNS.Name as displayed
//
// Names, pods and inodes are looked up in the last Refresh, among the live;
// paths and PIDs are read now, and the result's Path is then that of the spec.
// A spec that fits several namespaces (a file named like a PID, say) is an
// error.
//
// The error matches ErrNotFound, ErrAmbiguous, ErrNotNetNS (for a path),
// or fs.ErrPermission.
func (r *Resolver) Find(spec string) (NetNS, error) {
	if isPath(spec) {
		return r.findPath(spec)
	}
	found := r.findScanned(spec)
	if pid, ok := parsePID(spec); ok {
		n, err := r.findPID(pid)
		switch {
		case err == nil:
			found = slices.DeleteFunc(found, func(f NetNS) bool { return f.Inode == n.Inode })
			found = append(found, n)
		case len(found) == 0:
			return NetNS{}, err
		}
	}
	switch len(found) {
	case 0:
		return NetNS{}, r.notFound(spec)
	case 1:
		return found[0], nil
	}
	slices.SortFunc(found, byInode)
	return NetNS{}, ambiguous(spec, found)
}

func isPath(spec string) bool {
	return strings.HasPrefix(spec, "/") || strings.HasPrefix(spec, "./") || strings.HasPrefix(spec, "../")
}

// findScanned returns all live namespaces that spec fits.
func (r *Resolver) findScanned(spec string) []NetNS {
	if spec == "" {
		return nil // or it would fit all that have no pod
	}
	inode, _ := parseInode(spec)
	r.mu.RLock()
	defer r.mu.RUnlock()
	var found []NetNS
	for _, n := range r.live {
		if n.Inode == inode || n.Host && spec == "host" || spec == n.Name ||
			spec == n.Pod || spec == n.PodUID || slices.Contains(n.RunNames, spec) {
			found = append(found, n)
		}
	}
	return found
}

// findPID returns the namespace that a process is in now.
func (r *Resolver) findPID(pid int) (NetNS, error) {
	_, inode, err := r.Process(pid)
	switch {
	case errors.Is(err, ErrNoProcess):
		return NetNS{}, &selectorError{fmt.Sprintf(
			"no network namespace for \"%d\": there is no process with this PID, nor a namespace of this name: \"ip netns\" lists names", pid), ErrNotFound}
	case err != nil:
		return NetNS{}, fmt.Errorf("network namespace of a PID (takes root and CAP_SYS_PTRACE): %w", err)
	}
	return r.at(inode, r.netPath(pid), &members{pids: [4]int{pid}, n: 1}), nil
}

// findPath returns the namespace that a file is.
func (r *Resolver) findPath(path string) (NetNS, error) {
	inode, err := r.opts.Inode(path)
	switch {
	case errors.Is(err, ErrNotNetNS):
		return NetNS{}, &selectorError{fmt.Sprintf(
			"%q is not a network namespace: give a file of /run/netns or /proc/PID/ns/net", path), ErrNotNetNS}
	case errors.Is(err, fs.ErrNotExist):
		return NetNS{}, &selectorError{fmt.Sprintf(
			"no network namespace at %q: there is no such file", path), ErrNotFound}
	case err != nil:
		return NetNS{}, fmt.Errorf("network namespace at %q: %w", path, err)
	}
	return r.at(inode, path, nil), nil
}

// at returns what is known of a live namespace that can be opened at path. If
// the last scan did not see it, m tells what it can.
func (r *Resolver) at(inode uint32, path string, m *members) NetNS {
	n, ok := r.NetNS(inode)
	if !ok || n.Gone {
		n = NetNS{Inode: inode, Name: unknownName(inode)}
		if m != nil {
			if seen, ok := newScan(&r.opts, nil).describe(inode, nil, m); ok {
				n = seen
			}
		}
	}
	n.Path = path
	return n
}

// parseInode reads an inode number: bare only if it is too large for a PID.
func parseInode(spec string) (uint32, bool) {
	if inode, ok := netLinkInode([]byte(spec)); ok {
		return inode, true
	}
	digits, prefixed := strings.CutPrefix(spec, "netns:")
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil && n > 0 && (prefixed || n > pidMax)
}

// notFound says what would have been found instead.
func (r *Resolver) notFound(spec string) error {
	text := fmt.Sprintf(
		"no network namespace named %q: \"ip netns\" lists names; a PID or a path works too", spec)
	if inode, ok := parseInode(spec); ok {
		text = fmt.Sprintf(
			"no network namespace with inode %d: \"lsns -t net\" lists them; a PID or a path works too", inode)
		if n, known := r.NetNS(inode); known && n.Gone {
			text = fmt.Sprintf("network namespace %d (%q) has gone", inode, n.Name)
		}
	}
	switch {
	case spec == "":
		text = "no network namespace given: use a name, a pod as \"namespace/name\", a PID, a path or \"host\""
	case spec == "host":
		text = "the host's network namespace is not known: reading that of PID 1 takes root and CAP_SYS_PTRACE; a path works too"
	case strings.Contains(spec, "/"):
		text = fmt.Sprintf(
			"no pod %q with a network namespace of its own on this node: a pod with hostNetwork is in \"host\"; a PID or a path works too", spec)
	}
	return &selectorError{text, ErrNotFound}
}

// ambiguous names the candidates by what tells them apart.
func ambiguous(spec string, found []NetNS) error {
	var list []string
	for _, n := range found {
		list = append(list, fmt.Sprintf("netns:%d (%q)", n.Inode, n.Name))
	}
	return &selectorError{fmt.Sprintf("%q means more than one network namespace: choose one of %s",
		spec, strings.Join(list, ", ")), ErrAmbiguous}
}
