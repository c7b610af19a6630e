package nodestate

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// owner is the process that a socket belongs to.
type owner struct {
	pid     int
	process string
}

// How long processes are searched for the owners of sockets, and how many
// descriptors of each.
const (
	searchLimit = 100 * time.Millisecond
	maxFiles    = 4096
)

// findOwners returns the processes of a namespace that have the sockets, by the
// sockets' inodes. It finds what it can in a short time.
func findOwners(netns uint32, sockets []socket) map[uint32]owner {
	left := map[uint32]bool{}
	for _, s := range sockets {
		left[s.inode] = true
	}
	owners := map[uint32]owner{}
	proc, err := os.Open("/proc")
	if err != nil || len(left) == 0 {
		return owners
	}
	defer proc.Close()
	pids, err := proc.Readdirnames(-1)
	if err != nil {
		return owners
	}
	deadline := time.Now().Add(searchLimit)
	here := "net:[" + strconv.FormatUint(uint64(netns), 10) + "]"
	for _, name := range pids {
		if time.Now().After(deadline) || len(left) == 0 {
			break
		}
		pid, err := strconv.Atoi(name)
		if err != nil || readLink(filepath.Join("/proc", name, "ns", "net")) != here {
			continue
		}
		for _, inode := range socketsOf(name) {
			if left[inode] {
				delete(left, inode)
				owners[inode] = owner{pid, comm(name)}
			}
		}
	}
	return owners
}

// socketsOf returns the inodes of a process's sockets.
func socketsOf(pid string) (inodes []uint32) {
	dir, err := os.Open(filepath.Join("/proc", pid, "fd"))
	if err != nil {
		return nil
	}
	defer dir.Close()
	files, _ := dir.Readdirnames(maxFiles) // those that were read before an error
	for _, f := range files {
		if inode, ok := socketInode(readLink(filepath.Join(dir.Name(), f))); ok {
			inodes = append(inodes, inode)
		}
	}
	return inodes
}

// socketInode reads "socket:[12345]".
func socketInode(link string) (uint32, bool) {
	number, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
	return uint32(n), err == nil
}

// readLink returns what a link says, or nothing.
func readLink(path string) string {
	var buf [64]byte
	n, err := unix.Readlink(path, buf[:])
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// comm is the name of a process: any bytes.
func comm(pid string) string {
	raw, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSuffix(raw, []byte("\n")))
}
