//go:build e2e

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"      //nolint:depguard // the kernel is asked what is left, not the tool
	"github.com/cilium/ebpf/link" //nolint:depguard // see above
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/lab"
)

// traffic keeps lookups going until the test ends.
func traffic(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := lab.Load(ctx, l.Client, lab.LoadOptions{Server: lab.Service(), Count: 1 << 20, Rate: lab.Share(500)})
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("traffic: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// held returns what a process holds of the kernel's BPF objects of one kind
// ("prog", "map", "link"), by their ids.
func held(t *testing.T, pid int, kind string) []uint32 {
	t.Helper()
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	var ids []uint32
	for _, path := range infos {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		if kind != "link" && strings.Contains(string(text), "link_id:") {
			continue // it names its program too
		}
		for line := range strings.Lines(string(text)) {
			var id uint32
			if n, _ := fmt.Sscanf(line, kind+"_id:\t%d", &id); n == 1 {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// programNames returns the names of those programs that exist.
func programNames(t *testing.T, ids []uint32) []string {
	t.Helper()
	var names []string
	for _, id := range ids {
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := p.Info()
		p.Close()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, info.Name)
	}
	slices.Sort(names)
	return names
}

// left returns those of the ids that still exist.
func left(t *testing.T, ids []uint32, next func(uint32) (uint32, error)) []uint32 {
	t.Helper()
	var found []uint32
	for id, err := next(0); ; id, err = next(id) {
		if errors.Is(err, os.ErrNotExist) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(ids, id) {
			found = append(found, id)
		}
	}
}

func nextProgram(id uint32) (uint32, error) {
	next, err := ebpf.ProgramGetNextID(ebpf.ProgramID(id))
	return uint32(next), err
}

func nextMap(id uint32) (uint32, error) {
	next, err := ebpf.MapGetNextID(ebpf.MapID(id))
	return uint32(next), err
}

// tcState returns what is on the tc hooks of the lab's devices: tcx programs,
// and what tc shows.
func tcState(t *testing.T, l *lab.Lab) []string {
	t.Helper()
	var state []string
	for _, ns := range l.Namespaces() {
		out, err := ns.Command(t.Context(), "tc", "qdisc", "show").CombinedOutput()
		if err != nil {
			t.Fatalf("tc: %v: %s", err, out)
		}
		state = append(state, ns.Name+": "+string(out))
		devices, err := ns.Command(t.Context(), "ip", "-o", "link").Output()
		if err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(strings.NewReader(string(devices))); s.Scan(); {
			var index int
			if _, err := fmt.Sscanf(s.Text(), "%d:", &index); err != nil {
				t.Fatal(err)
			}
			for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
				err := ns.Do(func() error {
					found, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: at})
					if errors.Is(err, unix.EINVAL) {
						return nil // before 6.6 there is no such hook
					}
					if err == nil && len(found.Programs) > 0 {
						state = append(state, fmt.Sprintf("%s: %s %d programs", ns.Name, at, len(found.Programs)))
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return state
}

func pinned(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/sys/fs/bpf")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Whatever ends the tool, the kernel lets go of all that it attached: nothing
// is pinned.
func TestNothingStays(t *testing.T) {
	sameEverywhere(t, "the kernel takes back what a process held, by file descriptor")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}, BridgeNF: true})
	tcBefore, pinnedBefore := tcState(t, l), pinned(t)
	traffic(t, l)
	for _, c := range []struct {
		name string
		end  func(*lab.Observer) error
	}{
		{"SIGKILL", func(o *lab.Observer) error { o.Kill(); return nil }},
		{"SIGINT", (*lab.Observer).Stop},
	} {
		t.Run(c.name, func(t *testing.T) {
			tool := observeLive(t, append(labOnly(l), "--tc")...)
			if _, ok := <-tool.records; !ok {
				t.Fatalf("the tool ended: %s", tool.Stderr())
			}
			programs, maps, links := held(t, tool.PID(), "prog"), held(t, tool.PID(), "map"), held(t, tool.PID(), "link")
			names := programNames(t, programs)
			wantLinks := 0
			for _, want := range []string{"net_dev_queue", "kfree_skb", "nf_enter", "nf_leave", "tc_ingress", "tc_egress"} {
				if !attached(t, want) {
					continue
				}
				wantLinks++
				if !slices.Contains(names, want) {
					t.Errorf("the tool holds programs %q, want %s among them", names, want)
				}
			}
			if attached(t, "nf_enter") {
				wantLinks += 100 // 5 namespaces have 20 hooks each
			}
			if len(links) < wantLinks || len(maps) < 4 {
				t.Errorf("the tool holds %d links and %d maps; is this test looking at the right process?", len(links), len(maps))
			}
			if err := c.end(tool.Observer); err != nil {
				t.Fatalf("tool: %v: %s", err, tool.Stderr())
			}
			awaitNothing(t, "programs", func() []string { return programNames(t, left(t, programs, nextProgram)) })
			awaitNothing(t, "maps", func() []string { return strings.Fields(strings.Trim(fmt.Sprint(left(t, maps, nextMap)), "[]")) })
			if diff := cmp.Diff(tcBefore, tcState(t, l)); diff != "" {
				t.Errorf("tc (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(pinnedBefore, pinned(t)); diff != "" {
				t.Errorf("/sys/fs/bpf (-before +after):\n%s", diff)
			}
		})
	}
}

// awaitNothing waits until what is empty: the kernel frees BPF objects a little
// after their last user has gone.
func awaitNothing(t *testing.T, what string, look func() []string) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	patience := lab.Patience(10 * time.Second)
	late := time.After(patience)
	for {
		rest := look()
		if len(rest) == 0 {
			return
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("%s later there still are %s of the tool's: %q", patience, what, rest)
		}
	}
}

// A reader that goes away (| head) ends the tool, without a word.
func TestReaderGoesAway(t *testing.T) {
	sameEverywhere(t, "the end of a pipe")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	traffic(t, l)
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			o, err := lab.ObserveTo(t.Context(), w, bin, append(labOnly(l), "-o", format)...)
			w.Close() // the tool has its own
			if err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(r).ReadString('\n'); err != nil {
				t.Fatalf("first line %q: %v", line, err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			awaitEnd(t, o)
			for line := range strings.Lines(string(o.Stderr())) {
				if !strings.HasPrefix(line, "dnspath: observing ") && !strings.HasPrefix(line, "dnspath: can't see: ") {
					t.Errorf("stderr has more than what was said at the start: %q", line)
				}
			}
		})
	}
}

// Signals end the tool well; what it had seen by then is written.
func TestSignalDuringTraffic(t *testing.T) {
	sameEverywhere(t, "how a trace ends is decided in user space")
	l := raise(t, lab.Config{Service: lab.ServiceIPTables, Endpoints: []string{lab.DNSB}})
	traffic(t, l)
	tool := observe(t, labOnly(l)...)
	ask(t, l.Client, lab.Service(), "before-the-signal.example.test.", nil)
	x := end(t, tool)
	r := x.only(t, "before-the-signal.example.test.")
	checkVerdict(t, r, "answered")
	for _, r := range x.lookups {
		if r.Outcome != "answered" && r.Outcome != "incomplete" {
			t.Errorf("%s: outcome %s, %s; want answered, or incomplete of those that were under way", r.Name, r.Outcome, r.Detail)
		}
	}
}
