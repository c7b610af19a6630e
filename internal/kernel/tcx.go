package kernel

import (
	"errors"
	"fmt"
	"path"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/dnspath/dnspath/gen"
)

// device is a device of a namespace.
type device struct {
	netns uint32
	index int
}

// SyncTCX attaches to the tc hooks of every device of the given namespaces
// whose name matches one of patterns (as path.Match has them), and forgets
// devices that went away; a tcx link does not keep a device alive. It does
// nothing in a session without TCX. Errors of single devices are joined.
func (s *Session) SyncTCX(live []Namespace, patterns []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.coll.Programs[gen.DnspathProgTcIngress] == nil {
		return nil
	}
	var errs []error
	seen := map[device]bool{}
	for _, n := range live {
		err := Inside(n.Path, func() error { return s.attachDevices(n.Inode, patterns, seen) })
		if err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("tc hooks of %s: %w", n.Path, err))
		}
	}
	for dev, links := range s.tcx {
		if !seen[dev] {
			errs = append(errs, closeLinks(links))
			delete(s.tcx, dev)
		}
	}
	if len(s.tcx) > 0 {
		s.setAttached(KindTCX, true, fmt.Sprintf("on %d devices", len(s.tcx)))
	} else {
		s.setAttached(KindTCX, false, "no device matches --tc")
	}
	return errors.Join(errs...)
}

// attachDevices attaches to the matching devices of the current namespace.
func (s *Session) attachDevices(netns uint32, patterns []string, seen map[device]bool) error {
	devices, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	var errs []error
	for _, d := range devices {
		if !matches(patterns, d.Attrs().Name) {
			continue
		}
		dev := device{netns, d.Attrs().Index}
		seen[dev] = true
		if _, ok := s.tcx[dev]; ok {
			continue
		}
		links, err := s.attachTCX(dev.index)
		if err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("%s: %w", d.Attrs().Name, err))
		}
		if err == nil {
			s.tcx[dev] = links
		}
	}
	return errors.Join(errs...)
}

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); ok && err == nil {
			return true
		}
	}
	return false
}

func (s *Session) attachTCX(index int) ([]link.Link, error) {
	var links []link.Link
	for _, h := range hops {
		if h.Kind != KindTCX {
			continue
		}
		l, err := link.AttachTCX(link.TCXOptions{
			Interface: index,
			Program:   s.coll.Programs[h.Program],
			Attach:    h.attach,
			Anchor:    link.Head(),
		})
		if err != nil {
			return nil, errors.Join(err, closeLinks(links))
		}
		links = append(links, l)
	}
	return links, nil
}
