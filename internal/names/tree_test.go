package names

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	uidA = "0a1b2c3d-0000-4111-8222-333344445555"
	uidB = "ffffffff-aaaa-4bbb-8ccc-000011112222"
	uidS = "0123456789abcdef0123456789abcdef" // a static pod's
	cniA = "cni-11111111-2222-3333-4444-555555555555"
)

// A tree is a made-up machine: /proc, /run/netns and /var/log/pods.
type tree struct {
	t    testing.TB
	root string
}

func newTree(t testing.TB) tree {
	tr := tree{t, t.TempDir()}
	for _, dir := range []string{"proc", "run", "pods"} {
		tr.mkdir(dir)
	}
	return tr
}

func (tr tree) path(parts ...string) string {
	return filepath.Join(append([]string{tr.root}, parts...)...)
}

func (tr tree) mkdir(name string) {
	tr.t.Helper()
	if err := os.MkdirAll(tr.path(name), 0o755); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) write(name, contents string) {
	tr.t.Helper()
	if err := os.WriteFile(tr.path(name), []byte(contents), 0o644); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) remove(name string) {
	tr.t.Helper()
	if err := os.RemoveAll(tr.path(name)); err != nil {
		tr.t.Fatal(err)
	}
}

// process adds a process; cgroup may be empty.
func (tr tree) process(pid int, inode uint32, comm, cgroup string) {
	tr.t.Helper()
	dir := "proc/" + strconv.Itoa(pid)
	tr.mkdir(dir + "/ns")
	tr.write(dir+"/comm", comm+"\n")
	if cgroup != "" {
		tr.write(dir+"/cgroup", "0::"+cgroup+"\n")
	}
	if err := os.Symlink(fmt.Sprintf("net:[%d]", inode), tr.path(dir, "ns/net")); err != nil {
		tr.t.Fatal(err)
	}
}

// named adds a file under /run/netns that holds its inode number, or anything
// else for a file that is no namespace.
func (tr tree) named(name string, inode any) { tr.write("run/"+name, fmt.Sprint(inode)) }

func (tr tree) exit(pid int) { tr.remove("proc/" + strconv.Itoa(pid)) }

func (tr tree) resolver() *Resolver {
	return New(Options{
		Proc:     tr.path("proc"),
		RunNetns: []string{tr.path("run"), tr.path("missing")},
		PodLogs:  tr.path("pods"),
		MaxGone:  3,
		Inode:    treeInode,
	})
}

// treeInode reads the inode of a file of a tree: a link as in /proc, or a
// file by named.
func treeInode(path string) (uint32, error) {
	if link, err := os.Readlink(path); err == nil {
		return parseNetLink(link, nil)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(raw), 10, 32)
	if err != nil {
		return 0, ErrNotNetNS
	}
	return uint32(n), nil
}

func refresh(t testing.TB, r *Resolver) {
	t.Helper()
	if err := r.Refresh(); err != nil {
		t.Fatalf("refresh: %v", err)
	}
}

// short makes paths of a tree fit for a table.
func (tr tree) short(n NetNS) NetNS {
	n.Path = strings.TrimPrefix(n.Path, tr.root)
	return n
}

func (tr tree) all(r *Resolver) []NetNS {
	all := r.All()
	for i := range all {
		all[i] = tr.short(all[i])
	}
	return all
}
