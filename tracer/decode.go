package tracer

import (
	"bytes"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/dnspath/dnspath/gen"
	"github.com/dnspath/dnspath/internal/kernel"
)

// Resolver names the kernel's numbers; *kernel.Session is one.
type Resolver interface {
	DropReason(reason uint32) string
	Symbol(addr uint64) string
}

const (
	headSize  = int(unsafe.Sizeof(gen.DnspathHead{}))
	eventSize = int(unsafe.Sizeof(gen.DnspathEvent{}))
	stepSize  = int(unsafe.Sizeof(gen.DnspathStep{}))
)

// Decoder makes Events of records. It keeps the strings that recur, so that an
// event does not allocate them; it is not safe for concurrent use.
type Decoder struct {
	resolver Resolver
	strings  map[[16]int8]string
}

// NewDecoder returns a Decoder that names drops by r.
func NewDecoder(r Resolver) *Decoder {
	return &Decoder{resolver: r, strings: map[[16]int8]string{}}
}

// maxStrings bounds the device and process names kept.
const maxStrings = 4096

// Decode makes an Event of a record: a struct event (bpf/event.h) and the
// bytes captured, or a struct step. The record may be reused afterwards. The
// error, which wraps ErrMalformed, says what does not fit.
func (d *Decoder) Decode(record []byte) (*Event, error) {
	var h gen.DnspathHead
	if err := take(record, (*[headSize]byte)(unsafe.Pointer(&h))[:]); err != nil {
		return nil, err
	}
	row, ok := kernel.HopOf(gen.DnspathProbe(h.Probe))
	if !ok {
		return nil, fmt.Errorf("%w: unknown probe %d", ErrMalformed, h.Probe)
	}
	e := &Event{
		Time: h.Time, Packet: h.Packet, Probe: Probe(row.Program), CPU: h.Cpu,
		NetNS: h.Netns, Ifindex: h.Ifindex, Dev: d.str(h.Dev), PID: h.Pid, Comm: d.str(h.Comm),
	}
	flags := gen.DnspathEventFlag(h.Flags)
	if flags&gen.DnspathEventFlagFLAG_IN_HOOK != 0 && int(h.Hook) < len(hookNames) {
		e.Hook = hookNames[h.Hook]
		e.HookLeft = flags&gen.DnspathEventFlagFLAG_HOOK_LEFT != 0
	}
	var err error
	switch gen.DnspathRecord(h.Record) {
	case gen.DnspathRecordRECORD_PACKET:
		err = d.decodePacket(e, record)
	case gen.DnspathRecordRECORD_STEP:
		err = d.decodeStep(e, record)
	default:
		err = fmt.Errorf("%w: unknown kind of record %d", ErrMalformed, h.Record)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// take copies the beginning of a record.
func take(record, to []byte) error {
	if len(record) < len(to) {
		return fmt.Errorf("%w: %d bytes, want %d at least", ErrMalformed, len(record), len(to))
	}
	copy(to, record)
	return nil
}

func (d *Decoder) decodePacket(e *Event, record []byte) error {
	var w gen.DnspathEvent
	if err := take(record, (*[eventSize]byte)(unsafe.Pointer(&w))[:]); err != nil {
		return err
	}
	if int(w.CapLen) > len(record)-eventSize {
		return fmt.Errorf("%w: %d captured bytes announced, %d there", ErrMalformed, w.CapLen, len(record)-eventSize)
	}
	flags := gen.DnspathEventFlag(w.H.Flags)
	e.Src, e.Dst = endpoint(w.Flow.Saddr, w.Flow.Sport, w.Family), endpoint(w.Flow.Daddr, w.Flow.Dport, w.Family)
	e.Len, e.TTL, e.IPID, e.Mark = w.Len, w.Ttl, w.IpId, w.Mark
	e.DNSID, e.DNSFlags, e.DNSLen, e.DNSOffset = w.DnsId, w.DnsFlags, w.DnsLen, w.DnsOff
	e.NoTrack = flags&gen.DnspathEventFlagFLAG_UNTRACKED != 0
	e.Response = flags&gen.DnspathEventFlagFLAG_QR != 0
	e.Local = flags&gen.DnspathEventFlagFLAG_LOCAL != 0
	e.Short = flags&gen.DnspathEventFlagFLAG_SHORT_DNS != 0
	e.Nonlinear = flags&gen.DnspathEventFlagFLAG_NONLINEAR != 0
	e.Fragment = flags&gen.DnspathEventFlagFLAG_FRAGMENT != 0
	e.FragOffset, e.FragLast = w.FragOff, flags&gen.DnspathEventFlagFLAG_FRAG_LAST != 0
	e.Checksum = Checksum{
		Field: w.Check, Outer: w.OuterCheck, Summed: w.H.IpSummed, Level: w.CsumLevel,
		Start: w.CsumStart, Offset: w.CsumOffset, L4: w.L4Off, Encap: w.Encapsulation != 0,
		GSOSize: w.GsoSize, GSOType: w.GsoType,
	}
	if w.Proto == protoTCP {
		e.TCP = segmentOf(&w)
	}
	d.decodeOptional(e, &w, flags)
	if w.CapLen > 0 {
		e.Captured = bytes.Clone(record[eventSize : eventSize+int(w.CapLen)])
	}
	return nil
}

// protoTCP is IPPROTO_TCP.
const protoTCP = 6

func segmentOf(w *gen.DnspathEvent) *TCP {
	return &TCP{
		Seq: w.TcpSeq, Ack: w.TcpAck, Len: w.DnsLen,
		FIN: w.TcpFlags&0x01 != 0, SYN: w.TcpFlags&0x02 != 0, RST: w.TcpFlags&0x04 != 0, ACK: w.TcpFlags&0x10 != 0,
	}
}

func (d *Decoder) decodeStep(e *Event, record []byte) error {
	var w gen.DnspathStep
	if err := take(record, (*[stepSize]byte)(unsafe.Pointer(&w))[:]); err != nil {
		return err
	}
	e.Step = true
	e.Checksum.Summed = w.H.IpSummed
	if gen.DnspathEventFlag(w.H.Flags)&gen.DnspathEventFlagFLAG_RETURNED != 0 {
		e.Verdict = meaningOf(e.Probe, w.H.Ret)
	}
	if e.Verdict == VerdictFailed && w.H.Ret < 0 {
		e.Errno = -int(w.H.Ret)
	}
	switch e.Probe {
	case ProbeIPTDoTable, ProbeIP6TDoTable, ProbeNFTDoChain:
		e.Table = d.table(e.Probe, &w)
	case ProbeConntrackIn:
		e.State = conntrackState(gen.DnspathEventFlag(w.H.Flags), w.CtInfo, e.Verdict)
	case ProbeNeighbour:
		e.Waits = &Neighbour{Addr: address(w.Route.Gw, w.Route.GwFamily), Dev: d.str(w.Route.Out), State: neighbourState(w.Neigh)}
	default:
		e.Route = d.route(&w.Route)
	}
	return nil
}

// meaningOf says what a function's return value means.
func meaningOf(p Probe, ret int32) Verdict {
	switch p {
	case ProbeIPVSSchedule:
		return pick(ret != 0, VerdictOK, VerdictFailed)
	case ProbeUDPEnqueue:
		return pick(ret == 0, VerdictOK, VerdictFailed)
	case ProbeNeighbour:
		return VerdictQueue
	case ProbeNFHookSlow: // its own return value: net/netfilter/core.c
		return pick(ret < 0, VerdictDrop, VerdictStolen)
	}
	return netfilterVerdict(ret)
}

func pick(first bool, a, b Verdict) Verdict {
	if first {
		return a
	}
	return b
}

// netfilterVerdict decodes a hook function's return value (uapi/linux/netfilter.h).
// Since 6.7 nftables frees what it drops itself, and returns NF_STOLEN with
// the errno in the upper half (NF_DROP_REASON, include/linux/netfilter.h).
func netfilterVerdict(ret int32) Verdict {
	switch v := uint32(ret); {
	case v&0xff == 0, v&0xff == 2 && v>>16 != 0:
		return VerdictDrop
	case v&0xff == 2:
		return VerdictStolen
	case v&0xff == 3:
		return VerdictQueue
	case v&0xff == 4:
		return VerdictRepeat
	}
	return VerdictAccept
}

// xtTables are the tables that there are (net/ipv4/netfilter/iptable_*.c).
// A name that is none of them was read from the wrong place.
var xtTables = map[string]bool{"raw": true, "mangle": true, "nat": true, "filter": true, "security": true}

// nfFamilies are the families of nftables, by NFPROTO_* (uapi/linux/netfilter.h).
var nfFamilies = map[uint8]string{1: "inet", 2: "ip", 5: "netdev", 7: "bridge", 10: "ip6"}

func (d *Decoder) table(p Probe, w *gen.DnspathStep) *Table {
	t := &Table{Tool: "nftables", Family: nfFamilies[w.Family], Name: d.str32(w.Table), Chain: d.str32(w.Chain)}
	switch p {
	case ProbeIPTDoTable:
		t.Tool = "iptables"
	case ProbeIP6TDoTable:
		t.Tool = "ip6tables"
	default:
		return t
	}
	if t.Family = ""; !xtTables[t.Name] {
		t.Name = ""
	}
	return t
}

// conntrackStates are enum ip_conntrack_info (uapi/linux/netfilter/nf_conntrack_common.h).
var conntrackStates = []string{"established", "related", "new", "reply", "related reply"}

func conntrackState(flags gen.DnspathEventFlag, info uint8, v Verdict) string {
	switch {
	case v != VerdictAccept: // nothing was looked at
		return ""
	case flags&gen.DnspathEventFlagFLAG_UNTRACKED != 0:
		return "untracked"
	case flags&gen.DnspathEventFlagFLAG_CONNTRACK == 0:
		return "invalid"
	case int(info) < len(conntrackStates):
		return conntrackStates[info]
	}
	return ""
}

// neighbourState names NUD_* as ip neigh does (uapi/linux/neighbour.h).
func neighbourState(nud uint8) string {
	names := map[uint8]string{0: "NONE", 0x01: "INCOMPLETE", 0x02: "REACHABLE", 0x04: "STALE", 0x08: "DELAY", 0x10: "PROBE", 0x20: "FAILED"}
	if name, ok := names[nud]; ok {
		return name
	}
	return fmt.Sprintf("%#x", nud)
}

// route returns nil if the packet holds none.
func (d *Decoder) route(r *gen.DnspathRoute) *Route {
	if r.Oif == 0 {
		return nil
	}
	out := &Route{Dev: d.str(r.Out), Ifindex: r.Oif, Errno: -int(r.Error)}
	if gw := address(r.Gw, r.GwFamily); gw.IsValid() && !gw.IsUnspecified() {
		out.Gateway = gw
	}
	return out
}

func address(a [16]uint8, family uint8) netip.Addr {
	switch family {
	case 4:
		return netip.AddrFrom4([4]byte(a[:4]))
	case 6:
		return netip.AddrFrom16(a)
	}
	return netip.Addr{}
}

// decodeOptional fills in what only some events have.
func (d *Decoder) decodeOptional(e *Event, w *gen.DnspathEvent, flags gen.DnspathEventFlag) {
	e.Tunnel = tunnels(w)
	if flags&gen.DnspathEventFlagFLAG_QUOTE != 0 {
		e.Quote = &Quote{
			Type: w.IcmpType, Code: w.IcmpCode, V6: w.Family == 6, MTU: w.Mtu,
			From: address(w.From, w.Family), To: address(w.To, w.Family),
		}
	}
	e.Route = d.route(&w.Route)
	if flags&gen.DnspathEventFlagFLAG_CONNTRACK != 0 {
		e.CT = &Conntrack{
			Info: w.CtInfo, Status: w.CtStatus,
			Orig:  flow(w.CtOrig, w.CtFamily),
			Reply: flow(w.CtReply, w.CtFamily),
		}
	}
	switch e.Probe {
	case ProbeKfreeSkb:
		e.Freed = &Freed{Function: d.resolver.Symbol(w.Location), Location: w.Location}
		if w.Reason != 0 {
			e.Freed.Reason = d.resolver.DropReason(w.Reason)
		}
	case ProbeConsumeSkb:
		e.Freed = &Freed{Function: d.resolver.Symbol(w.Location), Location: w.Location}
	case ProbeICMPSend:
		e.ICMP = &ICMP{Type: w.IcmpType, Code: w.IcmpCode}
	case ProbeUDPFail:
		e.Errno = -int(w.H.Ret)
	}
}

// tunnels returns the innermost tunnel around the packet, or nil.
func tunnels(w *gen.DnspathEvent) *Tunnel {
	kind := tunnelKind(w.Tunnel, w.OuterFamily, w.Family)
	if kind == "" {
		return nil
	}
	t := &Tunnel{
		Kind: kind, VNI: w.Vni, TTL: w.OuterTtl,
		Src: endpoint(w.Outer.Saddr, w.Outer.Sport, w.OuterFamily), Dst: endpoint(w.Outer.Daddr, w.Outer.Dport, w.OuterFamily),
	}
	if kind := tunnelKind(w.Tunnel2, w.Outer2Family, w.OuterFamily); kind != "" {
		t.In = &Tunnel{
			Kind: kind, VNI: w.Outer2Vni,
			Src: endpoint(w.Outer2.Saddr, w.Outer2.Sport, w.Outer2Family), Dst: endpoint(w.Outer2.Daddr, w.Outer2.Dport, w.Outer2Family),
		}
	}
	return t
}

// tunnelKind names a tunnel as ip link does, "" if there is none; outer and
// inner are the IP versions of its packet and of the one in it.
func tunnelKind(kind, outer, inner uint8) string {
	switch gen.DnspathTunnel(kind) {
	case gen.DnspathTunnelTUNNEL_VXLAN:
		return "vxlan"
	case gen.DnspathTunnelTUNNEL_GENEVE:
		return "geneve"
	case gen.DnspathTunnelTUNNEL_GRE:
		return "gre"
	case gen.DnspathTunnelTUNNEL_IP:
		switch {
		case outer == 6:
			return "ip6tnl"
		case inner == 6:
			return "sit"
		}
		return "ipip"
	}
	return ""
}

func flow(t gen.DnspathTuple, family uint8) Flow {
	return Flow{Src: endpoint(t.Saddr, t.Sport, family), Dst: endpoint(t.Daddr, t.Dport, family)}
}

func endpoint(addr [16]byte, port uint16, family uint8) netip.AddrPort {
	if family == 4 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(addr), port)
}

// str32 is str for longer names, which are rare enough not to be kept.
func (d *Decoder) str32(b [32]int8) string {
	raw := make([]byte, 0, len(b))
	for _, c := range b {
		if c == 0 {
			break
		}
		raw = append(raw, byte(c))
	}
	return string(raw)
}

// str returns the bytes up to the first NUL.
func (d *Decoder) str(b [16]int8) string {
	if b[0] == 0 {
		return ""
	}
	if s, ok := d.strings[b]; ok {
		return s
	}
	raw := make([]byte, 0, len(b))
	for _, c := range b {
		if c == 0 {
			break
		}
		raw = append(raw, byte(c))
	}
	if len(d.strings) >= maxStrings {
		clear(d.strings)
	}
	s := string(raw)
	d.strings[b] = s
	return s
}
