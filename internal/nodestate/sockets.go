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
		return s.owned([]kind{{tracer.TransportUDP, stateClose}, {tracer.TransportTCP, stateListen}}, func(k *socket) bool {
			return slices.Contains(s.reader.opts.Ports, k.Addr.Port())
		})
	})
}

type unobservedKey struct{}

// portTLS is that of DNS over TLS (RFC 7858 section 3.1).
const portTLS = 853

// Unobserved returns the sockets by which servers may ask others without its being
// observed: those of UDP with a peer at another port than those of DNS, and those of
// TCP to that of DNS over TLS.
func (s *space) Unobserved() ([]diagnose.Socket, error) {
	return once(s, unobservedKey{}, func() ([]diagnose.Socket, error) {
		return s.owned([]kind{{tracer.TransportUDP, stateEstablished}, {tracer.TransportTCP, stateEstablished}}, func(k *socket) bool {
			observed := slices.Contains(s.reader.opts.Ports, k.Peer.Port()) || slices.Contains(s.reader.opts.Ports, k.Addr.Port())
			return !observed && (k.Transport == tracer.TransportUDP || k.Peer.Port() == portTLS)
		})
	})
}

// owned returns the sockets of some kinds that are wanted, with their processes.
func (s *space) owned(kinds []kind, wanted func(*socket) bool) ([]diagnose.Socket, error) {
	found, err := readSockets(kinds, wanted)
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
}

// socket is a socket with the inode by which its process has it.
type socket struct {
	diagnose.Socket
	inode uint32
}

// States of sockets (include/net/tcp_states.h): of UDP, TCP_CLOSE is one that is
// not connected, TCP_ESTABLISHED one that is.
const (
	stateEstablished = 1
	stateClose       = 7
	stateListen      = 10
)

// kind is the sockets of a transport in one state.
type kind struct {
	transport tracer.Transport
	state     uint8
}

// protocols are the numbers of the transports.
var protocols = map[tracer.Transport]uint8{tracer.TransportUDP: unix.IPPROTO_UDP, tracer.TransportTCP: unix.IPPROTO_TCP}

func readSockets(kinds []kind, wanted func(*socket) bool) ([]socket, error) {
	var found []socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for _, of := range kinds {
			req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
			req.AddData(diagRequest{family: family, protocol: protocols[of.transport], states: 1 << of.state})
			err := req.ExecuteIter(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(message []byte) bool {
				s, ok := parseSocket(message)
				if s.Transport = of.transport; ok && wanted(&s) {
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
	diagPeer    = 6 // its port
	diagSource  = 8
	diagDest    = 24
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
	if peer, _ := netip.AddrFromSlice(m[diagDest : diagDest+size]); m[diagState] == stateEstablished {
		s.Peer = netip.AddrPortFrom(peer, binary.BigEndian.Uint16(m[diagPeer:]))
	}
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
