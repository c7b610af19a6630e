package names

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// pidMax is PID_MAX_LIMIT of 64-bit kernels (include/linux/threads.h). Every
// namespace's inode number is far above it: 0xEFFFFFF9 for the initial one since
// Linux 6.18 (include/uapi/linux/nsfs.h), all others from 0xF0000000
// (PROC_DYNAMIC_FIRST in fs/proc/generic.c).
const pidMax = 1 << 22

// Process returns a process's comm and the inode of its main thread's network
// namespace, read now. comm is raw: any bytes but NUL, with a newline possible
// too, so escape it before it reaches a terminal.
//
// The error is ErrNoProcess if there is no such process, and matches
// fs.ErrPermission if the namespace may not be read (it takes the right to
// ptrace the process): comm is then still set.
//
// It is safe for concurrent use.
func (r *Resolver) Process(pid int) (comm string, netnsInode uint32, err error) {
	if pid <= 0 {
		return "", 0, fmt.Errorf("pid %d: %w", pid, ErrNoProcess)
	}
	comm, err = readComm(r.opts.Proc, pid)
	if err != nil {
		return "", 0, processError(pid, "comm", err)
	}
	inode, err := parseNetLink(os.Readlink(r.netPath(pid)))
	if err != nil {
		return comm, 0, processError(pid, "network namespace", err)
	}
	return comm, inode, nil
}

// netPath is the file of a process's network namespace.
func (r *Resolver) netPath(pid int) string {
	return filepath.Join(r.opts.Proc, strconv.Itoa(pid), "ns", "net")
}

// readComm reads a process's comm, less the newline that the kernel adds.
func readComm(proc string, pid int) (string, error) {
	raw, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "comm"))
	return string(bytes.TrimSuffix(raw, []byte("\n"))), err
}

// parseNetLink reads "net:[4026531840]", what the link of a namespace says.
func parseNetLink(link string, err error) (uint32, error) {
	if err != nil {
		return 0, err
	}
	inode, ok := netLinkInode([]byte(link))
	if !ok {
		return 0, fmt.Errorf("link %q: %w", link, ErrNotNetNS)
	}
	return inode, nil
}

// netLinkInode is parseNetLink without allocation, for the scan.
func netLinkInode(link []byte) (uint32, bool) {
	number, ok := bytes.CutPrefix(link, []byte("net:["))
	if !ok {
		return 0, false
	}
	number, ok = bytes.CutSuffix(number, []byte("]"))
	if !ok || len(number) == 0 || len(number) > 10 {
		return 0, false
	}
	n := uint64(0)
	for _, c := range number {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), n != 0 && n <= 1<<32-1
}

// vanished tells that a process went away: its directory is gone, or was still
// open and has nothing behind it.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

func processError(pid int, what string, err error) error {
	if vanished(err) {
		return fmt.Errorf("pid %d: %w", pid, ErrNoProcess)
	}
	return fmt.Errorf("read %s of pid %d: %w", what, pid, err)
}

// parsePID reads a PID as /proc spells it.
func parsePID(s string) (int, bool) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n <= pidMax
}
