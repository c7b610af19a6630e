package nodestate

import (
	"fmt"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer/diagnose"
)

type neighboursKey struct{}

// Neighbours returns the entries of ARP's and of neighbour discovery's table.
func (s *space) Neighbours() ([]diagnose.Neighbour, error) {
	return once(s, neighboursKey{}, readNeighbours)
}

func readNeighbours() ([]diagnose.Neighbour, error) {
	devices, err := deviceNames()
	if err != nil {
		return nil, err
	}
	var out []diagnose.Neighbour
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := netlink.NeighList(0, family)
		if err != nil {
			return nil, fmt.Errorf("list neighbours: %w", err)
		}
		for i := range list {
			n := &list[i]
			out = append(out, diagnose.Neighbour{Addr: addrOf(n.IP), Dev: devices[n.LinkIndex], MAC: n.HardwareAddr.String(), State: neighbourState(n.State)})
		}
	}
	return out, nil
}

// neighbourStates are those of include/uapi/linux/neighbour.h, by the names that
// ip neigh gives them.
var neighbourStates = map[int]string{
	unix.NUD_NONE: "NONE", unix.NUD_INCOMPLETE: "INCOMPLETE", unix.NUD_REACHABLE: "REACHABLE", unix.NUD_STALE: "STALE",
	unix.NUD_DELAY: "DELAY", unix.NUD_PROBE: "PROBE", unix.NUD_FAILED: "FAILED", unix.NUD_NOARP: "NOARP", unix.NUD_PERMANENT: "PERMANENT",
}

func neighbourState(state int) string {
	if name, ok := neighbourStates[state]; ok {
		return name
	}
	return strconv.Itoa(state)
}

// deviceNames returns the names of devices by their indexes.
func deviceNames() (map[int]string, error) {
	list, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	names := make(map[int]string, len(list))
	for _, l := range list {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	return names, nil
}
