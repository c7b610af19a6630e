package names

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// inodeOf is the default of Options.Inode: it asks the kernel which network
// namespace a file is. Its errors leave the path for the caller to quote.
func inodeOf(path string) (uint32, error) {
	// First without opening: an open of a FIFO that someone left in /run/netns
	// would never return.
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, fmt.Errorf("statfs: %w", err)
	}
	if fs.Type != unix.NSFS_MAGIC {
		return 0, ErrNotNetNS
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("open: %w", err)
	}
	defer unix.Close(fd)
	// nsfs holds mount, PID and the other namespaces too. NS_GET_NSTYPE came in
	// Linux 4.11 (e5ff5ce6e20e); before that the magic has to do.
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err == nil && kind != unix.CLONE_NEWNET || err != nil && !errors.Is(err, unix.ENOTTY) {
		return 0, ErrNotNetNS
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("fstat: %w", err)
	}
	return uint32(st.Ino), nil
}
