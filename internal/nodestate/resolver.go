package nodestate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer/diagnose"
)

// maxResolvConf is how much of a resolv.conf is read: it belongs to whoever runs
// the pod.
const maxResolvConf = 64 << 10

type resolverKey struct{}

// Resolver returns the resolv.conf that processes in the namespace read: that of
// "ip netns exec" where there is one, else that of the namespace's first process.
func (s *space) Resolver() (*diagnose.Resolver, error) {
	return once(s, resolverKey{}, func() (*diagnose.Resolver, error) {
		for _, name := range s.RunNames {
			r, err := readResolver("/", filepath.Join("etc/netns", name, "resolv.conf"))
			if !errors.Is(err, fs.ErrNotExist) {
				return r, err
			}
		}
		if s.PID == 0 {
			return nil, fmt.Errorf("no process has it: %w", fs.ErrNotExist)
		}
		return readResolver(filepath.Join("/proc", strconv.Itoa(s.PID), "root"), "etc/resolv.conf")
	})
}

// readResolver reads a resolv.conf below a process's root. Links in a container
// mean files of the container.
func readResolver(root, name string) (*diagnose.Resolver, error) {
	f, err := openBelow(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := parseResolver(io.LimitReader(f, maxResolvConf))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	r.Path = f.Name()
	return r, nil
}

// openBelow opens a regular file below a directory, which no link leads out of.
func openBelow(root, name string) (*os.File, error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	path := filepath.Join(root, name)
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func parseResolver(text io.Reader) (*diagnose.Resolver, error) {
	conf, err := dns.ClientConfigFromReader(text)
	if err != nil {
		return nil, err
	}
	r := &diagnose.Resolver{Search: conf.Search, NDots: conf.Ndots}
	for _, server := range conf.Servers {
		if addr, err := netip.ParseAddr(server); err == nil {
			r.Nameservers = append(r.Nameservers, addr)
		}
	}
	return r, nil
}
