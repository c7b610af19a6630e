package names

import (
	"io/fs"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	hostNS = uint32(4026531833)
	nsA    = uint32(4026532301)
	nsB    = uint32(4026532302)
)

func podPath(uid string) string { return "/kubepods/burstable/pod" + uid + "/abc" }

func TestRefresh(t *testing.T) {
	tests := []struct {
		name string
		make func(tree)
		want []NetNS
	}{
		{"nothing", func(tree) {}, nil},
		{
			"host",
			func(tr tree) {
				tr.process(1, hostNS, "systemd", "/init.scope")
				tr.process(2, hostNS, "kthreadd", "/")
				tr.process(900, hostNS, "kube-proxy", podPath(uidA)) // a hostNetwork pod
			},
			[]NetNS{{Inode: hostNS, Name: "host", Process: "systemd", PID: 1, Path: "/proc/1/ns/net", Host: true}},
		},
		{
			"host whose PID 1 is hidden",
			func(tr tree) {
				tr.mkdir("proc/1/ns/net")
				tr.process(2, hostNS, "kthreadd", "/")
			},
			[]NetNS{{Inode: hostNS, Name: "host", Process: "kthreadd", PID: 2, Path: "/proc/2/ns/net", Host: true}},
		},
		{
			"kernel's threads elsewhere than PID 1",
			func(tr tree) {
				tr.process(1, nsA, "init", "/")
				tr.process(2, hostNS, "kthreadd", "/")
			},
			[]NetNS{
				{Inode: hostNS, Name: "kthreadd[2]", Process: "kthreadd", PID: 2, Path: "/proc/2/ns/net"},
				{Inode: nsA, Name: "host", Process: "init", PID: 1, Path: "/proc/1/ns/net", Host: true},
			},
		},
		{
			"pod by log directory",
			func(tr tree) {
				tr.process(700, nsA, "pause", podPath(uidA))
				tr.process(701, nsA, "web", podPath(uidA))
				tr.named(cniA, nsA)
				tr.mkdir("pods/default_web-7d9f.x_" + uidA)
				tr.mkdir("pods/unrelated")
			},
			[]NetNS{{
				Inode: nsA, Name: "default/web-7d9f.x", Pod: "default/web-7d9f.x", PodUID: uidA,
				RunNames: []string{cniA}, Process: "pause", PID: 700, Path: "/run/" + cniA,
			}},
		},
		{
			"pod without log directory",
			func(tr tree) { tr.process(700, nsA, "pause", podPath(uidS)) },
			[]NetNS{{Inode: nsA, Name: "pod " + uidS, PodUID: uidS, Process: "pause", PID: 700, Path: "/proc/700/ns/net"}},
		},
		{
			"chosen name before process and runtime's name",
			func(tr tree) {
				tr.process(700, nsA, "dnsmasq", "/")
				tr.named(cniA, nsA)
				tr.named("lab", nsA)
			},
			[]NetNS{{
				Inode: nsA, Name: "lab", RunNames: []string{cniA, "lab"},
				Process: "dnsmasq", PID: 700, Path: "/run/" + cniA,
			}},
		},
		{
			"process before runtime's name",
			func(tr tree) {
				tr.process(800, nsA, "later", "/")
				tr.process(700, nsA, "app", "/")
				tr.named(uidB, nsA)
			},
			[]NetNS{{Inode: nsA, Name: "app[700]", RunNames: []string{uidB}, Process: "app", PID: 700, Path: "/run/" + uidB}},
		},
		{
			"runtime's name alone",
			func(tr tree) { tr.named(cniA, nsA) },
			[]NetNS{{Inode: nsA, Name: cniA, RunNames: []string{cniA}, Path: "/run/" + cniA}},
		},
		{
			"nameless process that hides its comm",
			func(tr tree) { tr.process(700, nsA, "", "/") },
			[]NetNS{{Inode: nsA, Name: "netns:4026532301", PID: 700, Path: "/proc/700/ns/net"}},
		},
		{
			"raw bytes are kept",
			func(tr tree) { tr.process(700, nsA, "\x1b[31m\n\xff", "/") },
			[]NetNS{{Inode: nsA, Name: "\x1b[31m\n\xff[700]", Process: "\x1b[31m\n\xff", PID: 700, Path: "/proc/700/ns/net"}},
		},
		{
			"first process exits meanwhile",
			func(tr tree) {
				tr.process(700, nsA, "gone", "/")
				tr.process(701, nsA, "stays", "/")
				tr.remove("proc/700/comm")
			},
			[]NetNS{{Inode: nsA, Name: "stays[701]", Process: "stays", PID: 701, Path: "/proc/701/ns/net"}},
		},
		{
			"only process exits meanwhile",
			func(tr tree) {
				tr.process(700, nsA, "gone", "/")
				tr.remove("proc/700/comm")
			},
			nil,
		},
		{
			"sorted by inode",
			func(tr tree) {
				tr.named("a", nsB)
				tr.process(700, nsA, "x", "/")
				tr.named("not-a-namespace", "text")
			},
			[]NetNS{
				{Inode: nsA, Name: "x[700]", Process: "x", PID: 700, Path: "/proc/700/ns/net"},
				{Inode: nsB, Name: "a", RunNames: []string{"a"}, Path: "/run/a"},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTree(t)
			tt.make(tr)
			r := tr.resolver()
			refresh(t, r)
			if diff := cmp.Diff(tt.want, tr.all(r)); diff != "" {
				t.Errorf("All() (-want +got):\n%s", diff)
			}
			for _, want := range tt.want {
				got, ok := r.NetNS(want.Inode)
				if diff := cmp.Diff(want, tr.short(got)); diff != "" || !ok {
					t.Errorf("NetNS(%d) ok=%v (-want +got):\n%s", want.Inode, ok, diff)
				}
			}
		})
	}
}

func TestRunNetnsTwice(t *testing.T) {
	tr := newTree(t)
	tr.named("a", nsA)
	if err := os.Symlink(tr.path("run"), tr.path("varrun")); err != nil {
		t.Fatal(err)
	}
	tr.mkdir("other")
	tr.write("other/a", "4026532301")
	opts := tr.resolver().opts
	opts.RunNetns = []string{tr.path("run"), tr.path("varrun"), tr.path("other")}
	r := New(opts)
	refresh(t, r)
	want := []NetNS{{Inode: nsA, Name: "a", RunNames: []string{"a"}, Path: "/run/a"}}
	if diff := cmp.Diff(want, tr.all(r)); diff != "" {
		t.Errorf("All() (-want +got):\n%s", diff)
	}
}

func TestStats(t *testing.T) {
	tr := newTree(t)
	tr.process(1, hostNS, "init", "/")
	tr.mkdir("proc/2/ns") // exited: nothing behind the link
	tr.mkdir("proc/3/ns/net")
	tr.mkdir("proc/sys")
	tr.named("text", "no namespace")
	r := tr.resolver()
	refresh(t, r)
	want := Stats{Processes: 3, Unreadable: 1, Skipped: 1, Live: 1}
	if diff := cmp.Diff(want, r.Stats()); diff != "" {
		t.Errorf("Stats() (-want +got):\n%s", diff)
	}
}

func TestUnknown(t *testing.T) {
	r := newTree(t).resolver()
	got, ok := r.NetNS(7)
	if diff := cmp.Diff(NetNS{Inode: 7, Name: "netns:7"}, got); diff != "" || ok {
		t.Errorf("NetNS(7) ok=%v (-want +got):\n%s", ok, diff)
	}
}

func TestGone(t *testing.T) {
	tr := newTree(t)
	for i := range 5 {
		tr.process(10+i, nsA+uint32(i), "p", "/")
	}
	r := tr.resolver() // remembers three
	refresh(t, r)
	tr.exit(14)
	refresh(t, r)
	for i := range 4 {
		tr.exit(10 + i)
	}
	tr.process(20, nsA+3, "new", "/") // the number is in use again
	refresh(t, r)

	if got := len(r.All()); got != 1 {
		t.Errorf("All() has %d namespaces, want 1", got)
	}
	got, ok := r.NetNS(nsA)
	want := NetNS{Inode: nsA, Name: "p[10]", Process: "p", PID: 10, Gone: true}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("gone namespace, ok=%v (-want +got):\n%s", ok, diff)
	}
	if _, ok := r.NetNS(nsA + 4); ok {
		t.Error("the namespace that was gone longest is still known beyond the bound")
	}
	wantStats := Stats{Processes: 1, Live: 1, Gone: 3, Evicted: 1}
	if diff := cmp.Diff(wantStats, r.Stats()); diff != "" {
		t.Errorf("Stats() (-want +got):\n%s", diff)
	}

	tr.process(30, nsA, "back", "/")
	refresh(t, r)
	got, _ = r.NetNS(nsA)
	if got.Name != "back[30]" || got.Gone {
		t.Errorf("reused inode: got %+v, want the new namespace", got)
	}
	if n := r.Stats().Gone; n != 2 || len(r.goneOrder) != n {
		t.Errorf("%d gone, %d in order; want 2 of each", n, len(r.goneOrder))
	}
}

func TestPodKeepsItsName(t *testing.T) {
	start := func(t *testing.T) (tree, *Resolver) {
		tr := newTree(t)
		tr.process(700, nsA, "pause", podPath(uidA))
		tr.named(cniA, nsA)
		tr.mkdir("pods/default_web_" + uidA)
		r := tr.resolver()
		refresh(t, r)
		return tr, r
	}
	tests := []struct {
		name string
		then func(tree)
		want string
	}{
		{"processes exit, namespace is still pinned", func(tr tree) { tr.exit(700) }, "default/web"},
		{"logs are removed first", func(tr tree) { tr.remove("pods") }, "default/web"},
		{"another pod has the inode", func(tr tree) {
			tr.exit(700)
			tr.process(800, nsA, "pause", podPath(uidB))
		}, "pod " + uidB},
		{"another pinned namespace has the inode", func(tr tree) {
			tr.exit(700)
			tr.remove("run/" + cniA)
			tr.named("cni-"+uidB, nsA)
		}, "cni-" + uidB},
	}
	t.Run("a person's file name may be another namespace's by now", func(t *testing.T) {
		tr, r := start(t)
		tr.named("lab", nsA)
		tr.remove("run/" + cniA)
		refresh(t, r)
		tr.exit(700)
		refresh(t, r)
		if got, _ := r.NetNS(nsA); got.Name != "lab" {
			t.Errorf("name %q, want lab", got.Name)
		}
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr, r := start(t)
			tt.then(tr)
			refresh(t, r)
			refresh(t, r)
			if got, _ := r.NetNS(nsA); got.Name != tt.want {
				t.Errorf("name %q, want %q", got.Name, tt.want)
			}
		})
	}
}

func TestRefreshError(t *testing.T) {
	tr := newTree(t)
	tr.process(700, nsA, "p", podPath(uidA))
	r := tr.resolver()
	refresh(t, r)

	tr.remove("pods")
	tr.write("pods", "a file")
	if err := r.Refresh(); err == nil {
		t.Error("pod logs unreadable: no error")
	}
	if len(r.All()) != 1 {
		t.Error("pod logs unreadable: the scan was thrown away")
	}

	tr.remove("proc")
	err := r.Refresh()
	if diff := cmp.Diff(true, errorIs(err, fs.ErrNotExist)); diff != "" {
		t.Errorf("no /proc: error %v, want one matching fs.ErrNotExist", err)
	}
	if len(r.All()) != 1 {
		t.Error("no /proc: the last scan is lost")
	}
}

func TestConcurrent(t *testing.T) {
	tr := newTree(t)
	tr.process(1, hostNS, "init", "/")
	tr.process(700, nsA, "pause", podPath(uidA))
	r := tr.resolver()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				_ = r.Refresh()
				r.NetNS(nsA)
				r.All()
				r.Stats()
				_, _ = r.Find("host")
				_, _, _ = r.Process(1)
			}
		})
	}
	wg.Wait()
}

func TestMembers(t *testing.T) {
	var m members
	for _, pid := range []int{50, 10, 40, 20, 60, 30, 5} {
		m.add(pid)
	}
	if diff := cmp.Diff([]int{5, 10, 20, 30}, m.pids[:m.n]); diff != "" {
		t.Errorf("lowest PIDs (-want +got):\n%s", diff)
	}
}

// TestThisMachine reads the real /proc, with whatever rights it has.
func TestThisMachine(t *testing.T) {
	r := New(Options{})
	refresh(t, r)
	comm, inode, err := r.Process(os.Getpid())
	if err != nil || comm == "" {
		t.Fatalf("own process: comm %q, error %v", comm, err)
	}
	own, ok := r.NetNS(inode)
	if !ok || !slices.ContainsFunc(r.All(), func(n NetNS) bool { return n.Inode == inode }) {
		t.Fatalf("own namespace %d not found", inode)
	}
	for _, spec := range []string{"/proc/self/ns/net", own.Path, unknownName(inode)} {
		if got, err := r.Find(spec); err != nil || got.Inode != inode {
			t.Errorf("Find(%q) = %d, %v; want %d", spec, got.Inode, err, inode)
		}
	}
	for _, path := range []string{"/proc/self/ns/mnt", "/proc/self/comm"} {
		if _, err := r.Find(path); !errorIs(err, ErrNotNetNS) {
			t.Errorf("Find(%q): error %v, want ErrNotNetNS", path, err)
		}
	}
}

func BenchmarkRefresh(b *testing.B) {
	r := New(Options{})
	for b.Loop() {
		if err := r.Refresh(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(r.Stats().Processes), "processes")
	b.ReportMetric(float64(r.Stats().Live), "netns")
}
