package diagnose

import (
	"errors"
	"net/netip"
	"time"

	"github.com/dnspath/dnspath/tracer"
)

// ErrNotRead is returned for what can't be known here, as of a recorded lookup.
var ErrNotRead = errors.New("it was not read")

// Node is what a node's configuration says, as it is now. What a method returns
// was read at most a moment ago, however often it is asked.
type Node interface {
	// NetNS returns a network namespace by its inode. It is never nil: of one that
	// has gone each method returns an error.
	NetNS(inode uint32) NetNS

	// Wall turns an event's time (ns, CLOCK_MONOTONIC) into the wall clock, in the
	// time zone in which people are to read it.
	Wall(ns uint64) time.Time
}

// NetNS is the configuration of a network namespace. An error says why a part is
// not known; it is fs.ErrNotExist where the kernel has no such thing.
type NetNS interface {
	Name() string // what people call it: any bytes
	Pod() string  // namespace/name; empty if it is none
	Host() bool   // it is the node's own

	Links() ([]Link, error)
	Neighbours() ([]Neighbour, error)
	Route(RouteQuery) (*Route, error)   // as the kernel decides now; Errno says that it leads nowhere
	Sysctl(name string) (string, error) // by its path under /proc/sys, as "net/ipv4/ip_forward"
	Conntrack() (*ConntrackStats, error)
	ConntrackEntries(client netip.Addr) ([]ConntrackEntry, error)      // whose first packet it sent, or got
	Service(tracer.Transport, netip.AddrPort) (*Service, error)        // nil: neither rules nor IPVS have one
	Masquerades(flow tracer.Flow, out string) (rule string, err error) // of UDP, without a mark, that leaves by a device; "": no rule does so for sure
	Sockets() ([]Socket, error)                                        // bound to ports of DNS
	Unobserved() ([]Socket, error)                                     // connected to what may be servers of DNS at ports that are not observed
	Resolver() (*Resolver, error)

	// Counters returns by how much the counters of /proc/net/snmp, snmp6 and
	// netstat rose between two times (ns, CLOCK_MONOTONIC), by the names that
	// nstat gives them: UdpInCsumErrors, Udp6InErrors, TcpExtIPReversePathFilter.
	// Those that did not rise are 0; those that the kernel does not have are absent.
	Counters(from, to uint64) (*Counters, error)
}

// Counters is by how much counters rose while they were watched.
type Counters struct {
	From, To uint64 // ns, CLOCK_MONOTONIC: the samples, around what was asked for where From is no later
	Rose     map[string]uint64
}

// Link is a network device.
type Link struct {
	Index     int
	Name      string
	Kind      string // veth, bridge, vxlan, ipip, geneve, dummy, …; empty: hardware, or loopback
	MTU       int
	Up        bool   // administratively
	State     string // operstate: up, down, lowerlayerdown, unknown, …
	MAC       string
	Addrs     []netip.Prefix
	Master    int    // index of the bridge that it is a port of; 0 none
	Peer      int    // index of a veth's other end, in PeerNetNS, or of the device that a tunnel is bound to; 0 none
	PeerNetNS uint32 // inode; 0 unknown
	XDP       bool
	NFCall    *bool           // of a bridge: nf_call_iptables of its own
	Features  map[string]bool // of ethtool -k, by its names; nil: not read
	Tunnel    *TunnelLink     // of a tunnel's device
	Qdiscs    []Qdisc         // those that have a queue
}

// Qdisc is what queues, shapes or drops a device's packets.
type Qdisc struct {
	Kind           string // fq_codel, pfifo_fast, tbf, netem, …
	Handle, Parent uint32 // MAJOR:MINOR, 16 bits each; a parent of all bits is the root
	Packets, Bytes int    // in the queue now
	Drops          uint64 // since it was made
	Overlimits     uint64
}

// TunnelLink is how a tunnel's device is configured.
type TunnelLink struct {
	VNI         uint32
	Port        uint16       // of UDP
	Local       netip.Addr   // invalid: any
	Remote      netip.Addr   // invalid: many
	UDPChecksum bool         // outer checksum over IPv4; true of those without UDP
	FDB         []netip.Addr // peers that its forwarding table knows
}

// Neighbour is an entry of the neighbour table.
type Neighbour struct {
	Addr  netip.Addr
	Dev   string
	MAC   string
	State string // as ip neigh shows it
}

// RouteQuery asks for a route as a packet would meet it.
type RouteQuery struct {
	Dst, Src netip.Addr // Src may be invalid
	Iif      string     // the device that it came by; empty: it is sent from here
	Mark     uint32
}

// Route is what the kernel would do with a packet.
type Route struct {
	Dev     string
	Gateway netip.Addr // invalid: the destination itself is the next hop
	Src     netip.Addr // that the kernel would choose
	Local   bool       // it is for this namespace
	Default bool       // no more than a default route matched
	MTU     int        // 0: the device's
	Table   int
	Errno   int // positive: it leads nowhere
}

// ConntrackStats is how full conntrack's table is, and what it counted.
type ConntrackStats struct {
	Count, Max int
	Stats      map[string]uint64 // insert_failed, drop, early_drop, …: since the namespace was made, of all CPUs
}

// ConntrackEntry is an entry of conntrack's table.
type ConntrackEntry struct {
	Transport   tracer.Transport
	Orig, Reply tracer.Flow
	Unreplied   bool
	Timeout     time.Duration
}

// Service is how a namespace translates a service's address.
type Service struct {
	By        string           // iptables, nftables, IPVS
	Endpoints []netip.AddrPort // none: it has none, or they are not known
	Rejects   bool             // a rule rejects it, as kube-proxy does where there are no endpoints
	NoTrack   bool             // a rule exempts it from conntrack, and so from translation
	Known     bool             // Endpoints are all that there are
}

// Socket is that of a server, bound to a port of DNS. Of one that listens, Queue
// and Buffer are connections that wait to be accepted, and that may.
type Socket struct {
	Transport tracer.Transport
	Addr      netip.AddrPort // the address may be unspecified: any
	Peer      netip.AddrPort // of one that is connected
	Queue     int            // bytes that wait to be read; of TCP connections that wait to be accepted
	Buffer    int            // bytes that may; 0 unknown
	Drops     uint64         // of datagrams, since it was opened
	PID       int            // 0 unknown
	Process   string
}

// Resolver is a resolv.conf.
type Resolver struct {
	Path        string
	Nameservers []netip.Addr
	Search      []string
	NDots       int
}
