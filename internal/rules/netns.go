package rules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/kernel"
)

// errGone is returned for a namespace that is not there any more.
var errGone = fmt.Errorf("the network namespace has gone: %w", fs.ErrNotExist)

// namespace is a network namespace: its inode, and a path that may belong to
// another one by now.
type namespace struct {
	inode uint32
	path  string
}

// open opens the namespace; the caller closes it.
func (n namespace) open() (netns.NsHandle, error) {
	handle, err := netns.GetFromPath(n.path)
	if errors.Is(err, fs.ErrNotExist) {
		return handle, errGone
	}
	if err != nil {
		return handle, fmt.Errorf("open namespace: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(handle), &st); err != nil || uint32(st.Ino) != n.inode {
		handle.Close()
		return handle, errGone
	}
	return handle, nil
}

// inside calls do in the namespace, as kernel.Enter does.
func (n namespace) inside(do func() error) error {
	handle, err := n.open()
	if err != nil {
		return err
	}
	defer handle.Close()
	return kernel.Enter(handle, do)
}

// readFile reads a file of /proc/net, which is the namespace's; one that is
// missing is empty.
func (n namespace) readFile(name string) (data []byte, err error) {
	err = n.inside(func() (err error) {
		// Not /proc/net: that is the namespace of the process's first thread.
		data, err = readWhole("/proc/thread-self/net/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return data, err
}

// readWhole is os.ReadFile with few reads. Where one ends and the next goes on,
// ip_vs loses its place: it counts the services of other namespaces in the one
// case and not in the other (net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_info_seq_next and
// ip_vs_info_array; seen on 6.1). A read returns a page at most: in longer
// tables services may still be missing, and are then not named.
func readWhole(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all bytes.Buffer
	all.Grow(1 << 16) // what is free in it is the size of each read
	_, err = all.ReadFrom(f)
	return all.Bytes(), err
}

// commandLimit is how long a program may take: a rule set that is larger than
// what can be printed in this time stays unread. iptables-nft-save takes 0.6 s
// for the rules of 5,000 services.
const commandLimit = 2 * time.Second

// run runs a program in the namespace and returns what it prints.
func (n namespace) run(program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = commandLimit
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not meant for it
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := n.inside(cmd.Start); err != nil {
		return nil, err
	}
	err := cmd.Wait()
	name := filepath.Base(program)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s took longer than %v", name, commandLimit)
	case err != nil:
		first, _, _ := bytes.Cut(bytes.TrimSpace(complaint.Bytes()), []byte("\n"))
		return nil, fmt.Errorf("%s: %w: %q", name, err, first)
	}
	return out.Bytes(), nil
}

// findProgram returns the first of several programs that is installed, or "".
// Service managers and ordinary users may leave sbin out of PATH.
func findProgram(names ...string) string {
	for _, name := range names {
		for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name, "/usr/local/sbin/" + name} {
			if path, err := exec.LookPath(candidate); err == nil {
				return path
			}
		}
	}
	return ""
}
