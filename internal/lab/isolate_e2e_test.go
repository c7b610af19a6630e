//go:build e2e

package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNothingLeft kills a process that holds a lab with a dnsmasq in it, and
// waits until nothing on the machine refers to its namespaces.
func TestNothingLeft(t *testing.T) {
	for _, victim := range []string{"outer", "inner"} {
		t.Run(victim, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), raiseEnv+"=1")
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatalf("read the child's namespaces: %v", err)
			}
			fields := strings.Fields(line)
			inner, namespaces := fields[0], fields[1:]
			if users := usersOf(t, namespaces); len(users) < 2 {
				t.Fatalf("lab in use by %v: the search can't see it", users)
			}
			process := cmd.Process
			if victim == "inner" {
				var pid int
				if _, err := fmt.Sscan(inner, &pid); err != nil {
					t.Fatal(err)
				}
				if process, err = os.FindProcess(pid); err != nil {
					t.Fatal(err)
				}
			}
			if err := process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // killed
			awaitNoUsers(t, namespaces)
		})
	}
}

func awaitNoUsers(t *testing.T, namespaces []string) {
	t.Helper()
	deadline := time.After(Patience(5 * time.Second))
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		users := usersOf(t, namespaces)
		if len(users) == 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("namespaces %v are still held by %v", namespaces, users)
		case <-again.C:
		}
	}
}

// usersOf returns the files in /proc through which a thread, descriptor or
// mount holds one of the namespaces.
func usersOf(t *testing.T, namespaces []string) []string {
	t.Helper()
	wanted := make(map[string]bool)
	for _, n := range namespaces {
		wanted["net:["+n+"]"] = true
	}
	var users []string
	for _, pattern := range []string{"/proc/[0-9]*/task/*/ns/net", "/proc/[0-9]*/fd/*"} {
		links, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			// Processes end while we look: an unreadable link holds nothing.
			if target, err := os.Readlink(link); err == nil && wanted[target] {
				users = append(users, link)
			}
		}
	}
	mounts, err := fs.Glob(os.DirFS("/proc"), "[0-9]*/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		text, err := os.ReadFile(filepath.Join("/proc", m))
		if err != nil {
			continue
		}
		for name := range wanted {
			if strings.Contains(string(text), " "+name+" ") {
				users = append(users, m)
				break
			}
		}
	}
	return users
}

// TestIsolateStatus holds what the outer process returns.
func TestIsolateStatus(t *testing.T) {
	hidden, err := os.ReadDir(runDir)
	if err != nil || len(hidden) != 2 {
		t.Errorf("%s holds %v (%v), want the seal and the namespaces", runDir, hidden, err)
	}
	// The inner process of this one fails on an unknown test flag.
	err = exec.Command("/proc/self/exe", "-test.nosuchflag").Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("unknown flag gave %v, want exit status 2", err)
	}
}

// TestNotIsolated raises a lab where Isolate did not prepare for one: in the
// mounts of the outer process.
func TestNotIsolated(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", os.Getppid()), self)
	cmd.Env = append(os.Environ(), outsideEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
