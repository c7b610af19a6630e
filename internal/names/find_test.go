package names

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func errorIs(err, target error) bool { return errors.Is(err, target) }

// node is a tree with a host, two pods' namespaces of which one is doubtful,
// named ones and a process that came after the scan.
func node(t *testing.T) (tree, *Resolver) {
	tr := newTree(t)
	tr.process(1, hostNS, "systemd", "/")
	tr.process(700, nsA, "pause", podPath(uidA))
	tr.mkdir("pods/default_web_" + uidA)
	tr.named("lab", nsB)
	tr.named("700", nsB+1)
	tr.named("4242", nsB+2)
	tr.process(801, nsB+4, "a", podPath(uidB))
	tr.process(802, nsB+5, "b", podPath(uidB))
	tr.mkdir("pods/kube-system_twice_" + uidB)
	tr.process(900, nsB+6, "brief", "/")
	tr.named("text", "no namespace")
	r := tr.resolver()
	refresh(t, r)
	tr.exit(900)
	refresh(t, r)
	tr.process(901, nsB+7, "new", "/")
	tr.process(902, nsB+6, "reused", "/")
	return tr, r
}

func TestFind(t *testing.T) {
	tr, r := node(t)
	tests := []struct {
		spec, name, path string
		inode            uint32
	}{
		{"host", "host", "/proc/1/ns/net", hostNS},
		{"1", "host", "/proc/1/ns/net", hostNS},
		{"default/web", "default/web", "/proc/700/ns/net", nsA},
		{uidA, "default/web", "/proc/700/ns/net", nsA},
		{"lab", "lab", "/run/lab", nsB},
		{"4242", "4242", "/run/4242", nsB + 2}, // no such PID
		{"4026532301", "default/web", "/proc/700/ns/net", nsA},
		{"netns:4026532301", "default/web", "/proc/700/ns/net", nsA},
		{"net:[4026532301]", "default/web", "/proc/700/ns/net", nsA},
		{tr.path("run/lab"), "lab", "/run/lab", nsB},
		{tr.path("proc/700/ns/net"), "default/web", "/proc/700/ns/net", nsA},
		{"901", "new[901]", "/proc/901/ns/net", nsB + 7},
		{"902", "reused[902]", "/proc/902/ns/net", nsB + 6},
		{tr.path("proc/901/ns/net"), "netns:4026532309", "/proc/901/ns/net", nsB + 7},
	}
	for _, tt := range tests {
		t.Run(tt.spec, func(t *testing.T) {
			got, err := r.Find(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			got = tr.short(got)
			want := []any{tt.name, tt.path, tt.inode}
			if diff := cmp.Diff(want, []any{got.Name, got.Path, got.Inode}); diff != "" {
				t.Errorf("Find(%q) (-want +got):\n%s", tt.spec, diff)
			}
		})
	}
}

// TestErrors holds what errors.go promises, and what the user reads.
func TestErrors(t *testing.T) {
	tr, r := node(t)
	denied := New(Options{
		Proc: tr.path("proc"), RunNetns: []string{}, PodLogs: tr.path("pods"),
		Inode: func(string) (uint32, error) { return 0, fmt.Errorf("open: %w", fs.ErrPermission) },
	})
	find := func(r *Resolver, spec string) error { _, err := r.Find(spec); return err }
	process := func(pid int) error { _, _, err := r.Process(pid); return err }
	tests := []struct {
		name string
		err  error
		is   error
		text string // $ is the tree's root
	}{
		{"empty", find(r, ""), ErrNotFound, `no network namespace given: use a name, a pod as "namespace/name", a PID, a path or "host"`},
		{"no name", find(r, "x\x1b"), ErrNotFound, `no network namespace named "x\x1b": "ip netns" lists names; a PID or a path works too`},
		{"no pod", find(r, "a/b"), ErrNotFound, `no pod "a/b" with a network namespace of its own on this node: a pod with hostNetwork is in "host"; a PID or a path works too`},
		{"no process", find(r, "12345"), ErrNotFound, `no network namespace for "12345": there is no process with this PID, nor a namespace of this name: "ip netns" lists names`},
		{"no inode", find(r, "netns:5"), ErrNotFound, `no network namespace with inode 5: "lsns -t net" lists them; a PID or a path works too`},
		{"gone", find(r, "4026532308"), ErrNotFound, `network namespace 4026532308 ("brief[900]") has gone`},
		{"no file", find(r, tr.path("x")), ErrNotFound, `no network namespace at "$/x": there is no such file`},
		{"no scan", find(denied, "host"), ErrNotFound, `the host's network namespace is not known: reading that of PID 1 takes root and CAP_SYS_PTRACE; a path works too`},
		{"other file", find(r, tr.path("run/text")), ErrNotNetNS, `"$/run/text" is not a network namespace: give a file of /run/netns or /proc/PID/ns/net`},
		{"denied", find(denied, "/x"), fs.ErrPermission, `network namespace at "/x": open: permission denied`},
		{"name and PID", find(r, "700"), ErrAmbiguous, `"700" means more than one network namespace: choose one of netns:4026532301 ("default/web"), netns:4026532303 ("700")`},
		{"pod twice", find(r, "kube-system/twice"), ErrAmbiguous, `"kube-system/twice" means more than one network namespace: choose one of netns:4026532306 ("kube-system/twice"), netns:4026532307 ("kube-system/twice")`},
		{"Process: none", process(12345), ErrNoProcess, `pid 12345: no such process`},
		{"Process: zero", process(0), ErrNoProcess, `pid 0: no such process`},
	}
	sentinels := []error{ErrNotFound, ErrAmbiguous, ErrNotNetNS, ErrNoProcess, fs.ErrPermission}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, s := range sentinels {
				if got := errorIs(tt.err, s); got != (s == tt.is) { //nolint:errorlint // the very sentinel
					t.Errorf("errors.Is(%v, %v) = %v", tt.err, s, got)
				}
			}
			if tt.err == nil {
				return
			}
			got := strings.ReplaceAll(tt.err.Error(), tr.root, "$")
			if diff := cmp.Diff(tt.text, got); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProcess(t *testing.T) {
	tr := newTree(t)
	tr.process(5, nsA, "two\nlines", "/")
	comm, inode, err := tr.resolver().Process(5)
	if diff := cmp.Diff([]any{"two\nlines", nsA, nil}, []any{comm, inode, err}); diff != "" {
		t.Errorf("Process(5) (-want +got):\n%s", diff)
	}
	tr.remove("proc/5/ns/net")
	tr.mkdir("proc/5/ns/net") // unreadable as a link
	comm, inode, err = tr.resolver().Process(5)
	if comm != "two\nlines" || inode != 0 || err == nil || errorIs(err, ErrNoProcess) {
		t.Errorf("Process(5) = %q, %d, %v; want comm and an error of its own", comm, inode, err)
	}
}
