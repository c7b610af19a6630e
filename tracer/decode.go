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

const wireSize = int(unsafe.Sizeof(gen.DnspathEvent{}))

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
// bytes captured. The record may be reused afterwards. The error, which wraps
// ErrMalformed, says what does not fit.
func (d *Decoder) Decode(record []byte) (*Event, error) {
	if len(record) < wireSize {
		return nil, fmt.Errorf("%w: %d bytes, want %d at least", ErrMalformed, len(record), wireSize)
	}
	var w gen.DnspathEvent
	copy((*[wireSize]byte)(unsafe.Pointer(&w))[:], record)
	if int(w.CapLen) > len(record)-wireSize {
		return nil, fmt.Errorf("%w: %d captured bytes announced, %d there", ErrMalformed, w.CapLen, len(record)-wireSize)
	}
	row, ok := kernel.HopOf(gen.DnspathProbe(w.Probe))
	if !ok {
		return nil, fmt.Errorf("%w: unknown probe %d", ErrMalformed, w.Probe)
	}
	flags := gen.DnspathEventFlag(w.Flags)
	e := &Event{
		Time: w.Time, Packet: w.Packet, Probe: Probe(row.Program), CPU: w.Cpu,
		NetNS: w.Netns, Ifindex: w.Ifindex, Dev: d.str(w.Dev),
		Src: endpoint(w.Flow.Saddr, w.Flow.Sport, w.Family), Dst: endpoint(w.Flow.Daddr, w.Flow.Dport, w.Family),
		Len: w.Len, TTL: w.Ttl, IPID: w.IpId, Mark: w.Mark,
		NoTrack: flags&gen.DnspathEventFlagFLAG_UNTRACKED != 0,
		PID:     w.Pid, Comm: d.str(w.Comm),
		DNSID: w.DnsId, DNSFlags: w.DnsFlags, DNSLen: w.DnsLen, DNSOffset: w.DnsOff,
		Response:  flags&gen.DnspathEventFlagFLAG_QR != 0,
		Local:     flags&gen.DnspathEventFlagFLAG_LOCAL != 0,
		Short:     flags&gen.DnspathEventFlagFLAG_SHORT_DNS != 0,
		Nonlinear: flags&gen.DnspathEventFlagFLAG_NONLINEAR != 0,
		Fragment:  flags&gen.DnspathEventFlagFLAG_FRAGMENT != 0,
		Checksum: Checksum{
			Field: w.Check, Outer: w.OuterCheck, Summed: w.IpSummed, Level: w.CsumLevel,
			Start: w.CsumStart, Offset: w.CsumOffset, L4: w.L4Off, Encap: w.Encapsulation != 0,
		},
	}
	d.decodeOptional(e, &w, flags)
	if w.CapLen > 0 {
		e.Captured = bytes.Clone(record[wireSize : wireSize+int(w.CapLen)])
	}
	return e, nil
}

// decodeOptional fills in what only some events have.
func (d *Decoder) decodeOptional(e *Event, w *gen.DnspathEvent, flags gen.DnspathEventFlag) {
	if gen.DnspathTunnel(w.Tunnel) == gen.DnspathTunnelTUNNEL_VXLAN {
		e.Tunnel = &Tunnel{
			Kind: "vxlan", VNI: w.Vni, TTL: w.OuterTtl,
			Src: endpoint(w.Outer.Saddr, w.Outer.Sport, w.OuterFamily), Dst: endpoint(w.Outer.Daddr, w.Outer.Dport, w.OuterFamily),
		}
	}
	if flags&gen.DnspathEventFlagFLAG_CONNTRACK != 0 {
		e.CT = &Conntrack{
			Info: w.CtInfo, Status: w.CtStatus,
			Orig:  flow(w.CtOrig, w.CtFamily),
			Reply: flow(w.CtReply, w.CtFamily),
		}
	}
	if flags&gen.DnspathEventFlagFLAG_IN_HOOK != 0 && int(w.Hook) < len(hookNames) {
		e.Hook = hookNames[w.Hook]
		e.HookLeft = flags&gen.DnspathEventFlagFLAG_HOOK_LEFT != 0
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
		e.Errno = -int(w.Rc)
	}
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
