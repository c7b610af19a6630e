package nodestate

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

type socketsKey struct{}

// maxSockets is how many sockets are returned.
const maxSockets = 1000

// Sockets returns the servers' sockets: those of UDP that have no peer, and those
// of TCP that listen.
func (s *space) Sockets() ([]diagnose.Socket, error) {
	return once(s, socketsKey{}, func() ([]diagnose.Socket, error) {
		found, err := readSockets(s.reader.opts.Ports)
		if err != nil {
			return nil, err
		}
		owners := findOwners(s.Inode, found)
		out := make([]diagnose.Socket, 0, len(found))
		for _, f := range found {
			owner := owners[f.inode]
			f.PID, f.Process = owner.pid, owner.process
			out = append(out, f.Socket)
		}
		return out, nil
	})
}

// socket is a socket with the inode by which its process has it.
type socket struct {
	diagnose.Socket
	inode uint32
}

// States of sockets (include/net/tcp_states.h): of UDP, TCP_CLOSE is one that is
// not connected.
const (
	stateClose  = 7
	stateListen = 10
)

func readSockets(ports []uint16) ([]socket, error) {
	var found []socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for _, of := range []struct {
			transport       tracer.Transport
			protocol, state uint8
		}{
			{tracer.TransportUDP, unix.IPPROTO_UDP, stateClose},
			{tracer.TransportTCP, unix.IPPROTO_TCP, stateListen},
		} {
			req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
			req.AddData(diagRequest{family: family, protocol: of.protocol, states: 1 << of.state})
			err := req.ExecuteIter(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(message []byte) bool {
				s, ok := parseSocket(message)
				if ok && slices.Contains(ports, s.Addr.Port()) {
					s.Transport = of.transport
					found = append(found, s)
				}
				return len(found) < maxSockets
			})
			if err != nil {
				return nil, fmt.Errorf("list sockets of %s: %w", of.transport, err)
			}
		}
	}
	return found, nil
}

// diagRequest is struct inet_diag_req_v2 (include/uapi/linux/inet_diag.h).
type diagRequest struct {
	family, protocol uint8
	states           uint32
}

// diagMemory is INET_DIAG_SKMEMINFO, an attribute and, less one, a bit of what is
// asked for.
const diagMemory = 7

// Len is its length.
func (r diagRequest) Len() int { return 56 }

// Serialize returns its bytes.
func (r diagRequest) Serialize() []byte {
	b := make([]byte, r.Len())
	b[0], b[1], b[2] = r.family, r.protocol, 1<<(diagMemory-1)
	binary.NativeEndian.PutUint32(b[4:], r.states)
	return b
}

// Where the fields of struct inet_diag_msg are, and how long it is.
const (
	diagFamily  = 0
	diagState   = 1
	diagPort    = 4
	diagSource  = 8
	diagReceive = 56
	diagSend    = 60
	diagInode   = 68
	diagLen     = 72
)

// Numbers of an INET_DIAG_SKMEMINFO (enum in include/uapi/linux/sock_diag.h).
const (
	memoryBuffer = 1 // SK_MEMINFO_RCVBUF
	memoryDrops  = 8 // SK_MEMINFO_DROPS; since Linux 4.7
)

func parseSocket(m []byte) (s socket, ok bool) {
	if len(m) < diagLen {
		return s, false
	}
	size := 4
	if m[diagFamily] == unix.AF_INET6 {
		size = 16
	}
	addr, _ := netip.AddrFromSlice(m[diagSource : diagSource+size])
	s.Addr = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(m[diagPort:]))
	s.Queue = int(binary.NativeEndian.Uint32(m[diagReceive:]))
	s.inode = binary.NativeEndian.Uint32(m[diagInode:])
	if m[diagState] == stateListen { // tcp_diag_get_info: how many wait, and may
		s.Buffer = int(binary.NativeEndian.Uint32(m[diagSend:]))
		return s, true
	}
	for attr, value := range attributes(m, diagLen) {
		number := func(i int) uint32 {
			if attr != diagMemory || len(value) < 4*(i+1) {
				return 0
			}
			return binary.NativeEndian.Uint32(value[4*i:])
		}
		if attr == diagMemory {
			s.Buffer, s.Drops = int(number(memoryBuffer)), uint64(number(memoryDrops))
		}
	}
	return s, true
}
