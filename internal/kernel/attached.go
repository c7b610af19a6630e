package kernel

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/dnspath/dnspath/gen"
)

// Place is where a device hands packets to programs.
type Place string

// The places.
const (
	PlaceXDP     Place = "XDP"
	PlaceIngress Place = "tc ingress"
	PlaceEgress  Place = "tc egress"
)

// Attached returns what is attached to a device of a namespace, in words:
// "tc BPF program NAME", "XDP program NAME", "tc flower filter". The programs
// of dnspath itself, which pass every packet on, are left out. A device or
// namespace that is not there has none.
func Attached(ns Namespace, ifindex int, at Place) (names []string, err error) {
	err = Inside(ns.Path, func() (err error) {
		if at == PlaceXDP {
			names, err = attachedXDP(ifindex)
			return err
		}
		tcx, err := attachedTCX(ifindex, at)
		if err != nil {
			return err
		}
		filters, err := attachedFilters(ifindex, at)
		names = append(tcx, filters...)
		return err
	})
	if gone(err) {
		return nil, nil
	}
	return names, err
}

func attachedXDP(ifindex int) ([]string, error) {
	dev, err := netlink.LinkByIndex(ifindex)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for device %d: %w", ifindex, err)
	}
	if xdp := dev.Attrs().Xdp; xdp != nil && xdp.Attached {
		return programNames("XDP program ", ebpf.ProgramID(xdp.ProgId))
	}
	return nil, nil
}

func attachedTCX(ifindex int, at Place) ([]string, error) {
	hook := ebpf.AttachTCXIngress
	if at == PlaceEgress {
		hook = ebpf.AttachTCXEgress
	}
	result, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: hook})
	if err != nil {
		return nil, nil //nolint:nilerr // a kernel without tcx (before 6.6), or a device that has gone
	}
	var ids []ebpf.ProgramID
	for _, p := range result.Programs {
		ids = append(ids, p.ID)
	}
	return programNames("tc BPF program ", ids...)
}

// attachedFilters asks for the filters of clsact.
func attachedFilters(ifindex int, at Place) (names []string, err error) {
	parent := uint32(netlink.HANDLE_MIN_INGRESS)
	if at == PlaceEgress {
		parent = netlink.HANDLE_MIN_EGRESS
	}
	dev := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}
	filters, err := netlink.FilterList(dev, parent)
	if err != nil {
		return nil, nil //nolint:nilerr // without a clsact qdisc the kernel calls the request invalid
	}
	for _, f := range filters {
		bpf, ok := f.(*netlink.BpfFilter)
		if !ok {
			names = append(names, "tc "+f.Type()+" filter")
			continue
		}
		programs, err := programNames("tc BPF program ", ebpf.ProgramID(bpf.Id))
		if err != nil {
			return nil, err
		}
		names = append(names, programs...)
	}
	return names, nil
}

// programNames names programs, except our own.
func programNames(kind string, ids ...ebpf.ProgramID) (names []string, err error) {
	for _, id := range ids {
		name, err := programName(id)
		switch {
		case gone(err):
		case err != nil:
			return nil, fmt.Errorf("ask for program %d: %w", id, err)
		case name != gen.DnspathProgTcIngress && name != gen.DnspathProgTcEgress:
			names = append(names, kind+name)
		}
	}
	return names, nil
}

func programName(id ebpf.ProgramID) (string, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", err
	}
	if info.Name == "" {
		return fmt.Sprintf("with ID %d", id), nil
	}
	return info.Name, nil
}
