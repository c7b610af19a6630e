package nodestate

import (
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// peers knows which namespaces the other ends of devices are in. The kernel gives
// a number for each that holds in this namespace alone (IFLA_LINK_NETNSID), and
// tells the number of one that it is asked about, but not the other way round.
type peers struct {
	space *space
	known map[int]uint32 // inodes by numbers; nil: not asked yet
}

func (s *space) peers() *peers { return &peers{space: s} }

// of returns the inode of the namespace that the other end of a device is in; 0
// unknown, or there is none.
func (p *peers) of(l netlink.Link) uint32 {
	a := l.Attrs()
	switch {
	case a.ParentIndex == 0:
		return 0
	case a.NetNsID < 0:
		return p.space.Inode
	}
	if p.known == nil {
		p.ask()
	}
	return p.known[a.NetNsID]
}

// ask asks for the number of each namespace that there is.
func (p *peers) ask() {
	p.known = map[int]uint32{}
	if p.space.reader.opts.All == nil {
		return
	}
	for _, n := range p.space.reader.opts.All() {
		if id, ok := numberOf(n.Path, n.Inode); ok {
			p.known[id] = n.Inode
		}
	}
}

// numberOf returns the number of a namespace, if this one has one for it.
func numberOf(path string, inode uint32) (int, bool) {
	handle, err := netns.GetFromPath(path)
	if err != nil {
		return 0, false
	}
	defer handle.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(handle), &st); err != nil || uint32(st.Ino) != inode {
		return 0, false
	}
	id, err := netlink.GetNetNsIdByFd(int(handle))
	return id, err == nil && id >= 0
}
