package kernel

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/gen"
)

// Namespace is a network namespace to attach to: its inode, and a path that
// setns accepts.
type Namespace struct {
	Inode uint32
	Path  string
}

// Priorities of the links in a hook: before and after everything else that is
// registered there. The kernel keeps the outermost two for itself
// (net/netfilter/nf_bpf_link.c), and refuses a link where another function has
// the same priority: another tracer's, or conntrack's confirmation of IPv6 at
// INPUT, which is at NF_IP6_PRI_LAST - 1. So a few more inward are tried. What
// is confirmed is confirmed behind the last link: a packet that is dropped
// after it was dropped at confirmation.
const (
	nfFirst = math.MinInt32 + 1
	nfLast  = math.MaxInt32 - 2
	nfTries = 8
)

var nfFamilies = []link.NetfilterProtocolFamily{link.NetfilterProtoIPv4, link.NetfilterProtoIPv6}

var nfHooks = []link.NetfilterInetHook{
	link.NetfilterInetPreRouting,
	link.NetfilterInetLocalIn,
	link.NetfilterInetForward,
	link.NetfilterInetLocalOut,
	link.NetfilterInetPostRouting,
}

// SyncNetfilter attaches to the netfilter hooks of every given namespace that
// is not attached yet, and detaches from those that are not given any more: a
// netfilter link keeps its namespace alive, so a pod that went away must be let
// go. It does nothing in a session without netfilter. Namespaces that can't be
// entered are skipped; their errors are joined.
func (s *Session) SyncNetfilter(live []Namespace) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.coll.Programs[gen.DnspathProgNfEnter] == nil {
		return nil
	}
	var errs []error
	for inode, links := range s.nf {
		if !slices.ContainsFunc(live, func(n Namespace) bool { return n.Inode == inode }) {
			errs = append(errs, closeLinks(links))
			delete(s.nf, inode)
		}
	}
	for _, n := range live {
		if _, ok := s.nf[n.Inode]; ok {
			continue
		}
		var links []link.Link
		err := Inside(n.Path, func() (err error) {
			links, err = s.attachNetfilter()
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("netfilter hooks of %s: %w", n.Path, err))
			continue
		}
		s.nf[n.Inode] = links
	}
	if len(s.nf) > 0 {
		s.setAttached(KindNetfilter, true, fmt.Sprintf("in %d network namespaces", len(s.nf)))
	} else if err := errors.Join(errs...); err != nil {
		s.setAttached(KindNetfilter, false, err.Error())
	}
	return errors.Join(errs...)
}

// attachNetfilter attaches to all hooks of the current namespace, or to none.
func (s *Session) attachNetfilter() ([]link.Link, error) {
	var links []link.Link
	for _, family := range nfFamilies {
		for _, hook := range nfHooks {
			for _, end := range []struct {
				program          string
				priority, inward int32
			}{
				{gen.DnspathProgNfEnter, nfFirst, 1},
				{gen.DnspathProgNfLeave, nfLast, -1},
			} {
				l, err := attachHook(link.NetfilterOptions{
					Program: s.coll.Programs[end.program], ProtocolFamily: family, Hook: hook, Priority: end.priority,
				}, end.inward)
				if err != nil {
					return nil, errors.Join(err, closeLinks(links))
				}
				links = append(links, l)
			}
		}
	}
	return links, nil
}

// attachHook attaches at the priority of opts or, where that is taken, at one
// of the next inward.
func attachHook(opts link.NetfilterOptions, inward int32) (link.Link, error) {
	for try := 1; ; try++ {
		l, err := link.AttachNetfilter(opts)
		if err == nil || !errors.Is(err, unix.EBUSY) || try == nfTries {
			return l, err
		}
		opts.Priority += inward
	}
}

// Inside is Enter for the network namespace at path.
func Inside(path string, do func() error) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer ns.Close()
	return Enter(ns, do)
}

// Enter calls do in a network namespace, on a thread of its own that is thrown
// away afterwards, so that no other code can ever run in the wrong namespace.
func Enter(ns netns.NsHandle, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter: %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}

// gone reports whether err says that a namespace or device vanished meanwhile.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH)
}
