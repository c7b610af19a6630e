package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/gen"
)

// fakeResolver names numbers by themselves.
type fakeResolver struct{}

func (fakeResolver) DropReason(reason uint32) string { return fmt.Sprintf("REASON_%d", reason) }
func (fakeResolver) Symbol(addr uint64) string       { return fmt.Sprintf("function_%x", addr) }

// record is what the kernel writes for w and the captured bytes.
func record(w gen.DnspathEvent, captured string) []byte {
	w.CapLen = uint16(len(captured))
	return rawRecord(w, captured)
}

func rawRecord(w gen.DnspathEvent, rest string) []byte {
	return append(slices.Clone((*[eventSize]byte)(unsafe.Pointer(&w))[:]), rest...)
}

func tuple4(src, dst string) gen.DnspathTuple {
	var t gen.DnspathTuple
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	copy(t.Saddr[:], s.Addr().AsSlice())
	copy(t.Daddr[:], d.Addr().AsSlice())
	t.Sport, t.Dport = s.Port(), d.Port()
	return t
}

// chars is text as the kernel has it, cut off at 16 bytes.
func chars(text string) (c [16]int8) {
	for i := range min(len(text), len(c)) {
		c[i] = int8(text[i])
	}
	return c
}

func TestDecode(t *testing.T) {
	v4 := tuple4("10.244.1.10:41522", "10.96.0.10:53")
	src, dst := netip.MustParseAddrPort("10.244.1.10:41522"), netip.MustParseAddrPort("10.96.0.10:53")
	router := [16]uint8{192, 0, 2, 9}
	tests := []struct {
		name     string
		wire     gen.DnspathEvent
		captured string
		want     *Event
	}{
		{"query", gen.DnspathEvent{
			H:   gen.DnspathHead{Time: 7, Packet: 8, Netns: 9, Ifindex: 10, Pid: 11, Cpu: 3, IpSummed: 3, Probe: uint8(gen.DnspathProbePROBE_NET_DEV_QUEUE), Dev: chars("eth0"), Comm: chars("dig"), Flags: uint16(gen.DnspathEventFlagFLAG_NEW)},
			Len: 60, Mark: 12, DnsId: 13, DnsFlags: 0x100, DnsLen: 32, DnsOff: 28, IpId: 14, Check: 15, CsumStart: 16, CsumOffset: 6, L4Off: 17, Flow: v4, Family: 4, Ttl: 64, CsumLevel: 1, Encapsulation: 1, GsoSize: 1448, GsoType: 1 << 18,
		}, "packet", &Event{
			Time: 7, Packet: 8, Probe: ProbeNetDevQueue, CPU: 3, NetNS: 9, Ifindex: 10, Dev: "eth0", Src: src, Dst: dst,
			Len: 60, TTL: 64, IPID: 14, Mark: 12, PID: 11, Comm: "dig",
			Checksum: Checksum{Field: 15, Summed: 3, Level: 1, Start: 16, Offset: 6, L4: 17, Encap: true, GSOSize: 1448, GSOType: 1 << 18},
			DNSID:    13, DNSFlags: 0x100, DNSLen: 32, DNSOffset: 28, Captured: []byte("packet"),
		}},
		{"IPv6", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NETIF_RX)},
			Family: 6, Flow: tuple4("[2001:db8::1]:1024", "[2001:db8::53]:53"),
		}, "", &Event{
			Probe: ProbeNetifRx, Src: netip.MustParseAddrPort("[2001:db8::1]:1024"), Dst: netip.MustParseAddrPort("[2001:db8::53]:53"),
		}},
		{"tunnel of another family", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NETIF_RECEIVE_SKB)},
			Family: 4, Flow: v4, Tunnel: uint8(gen.DnspathTunnelTUNNEL_VXLAN), Vni: 4096, OuterFamily: 6, Outer: tuple4("[2001:db8::1]:50741", "[2001:db8::2]:4789"), OuterTtl: 63, OuterCheck: 5,
		}, "", &Event{
			Probe: ProbeNetifReceiveSkb, Src: src, Dst: dst, Checksum: Checksum{Outer: 5},
			Tunnel: &Tunnel{
				Kind: "vxlan", VNI: 4096, TTL: 63,
				Src: netip.MustParseAddrPort("[2001:db8::1]:50741"), Dst: netip.MustParseAddrPort("[2001:db8::2]:4789"),
			},
		}},
		{"conntrack", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NET_DEV_START_XMIT), Flags: uint16(gen.DnspathEventFlagFLAG_CONNTRACK)},
			Family: 4, Flow: v4, CtFamily: 4, CtInfo: 2, CtStatus: 0x30, CtOrig: v4, CtReply: tuple4("10.244.2.53:53", "10.244.1.10:41522"),
		}, "", &Event{
			Probe: ProbeNetDevStartXmit, Src: src, Dst: dst,
			CT: &Conntrack{Info: 2, Status: 0x30, Orig: Flow{src, dst}, Reply: Flow{backend, src}},
		}},
		{"conntrack without its flag", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NET_DEV_START_XMIT)},
			Family: 4, Flow: v4, CtFamily: 4, CtOrig: v4,
		}, "", &Event{Probe: ProbeNetDevStartXmit, Src: src, Dst: dst}},
		{"all flags", gen.DnspathEvent{
			H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_TC_INGRESS), Flags: uint16(gen.DnspathEventFlagFLAG_QR | gen.DnspathEventFlagFLAG_SHORT_DNS | gen.DnspathEventFlagFLAG_NONLINEAR |
				gen.DnspathEventFlagFLAG_FRAGMENT | gen.DnspathEventFlagFLAG_UNTRACKED | gen.DnspathEventFlagFLAG_LOCAL)},
			Family: 4, Flow: v4,
		}, "", &Event{Probe: ProbeTCIngress, Src: src, Dst: dst, Response: true, Local: true, Short: true, Nonlinear: true, Fragment: true, NoTrack: true}},
		{"TCP", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_ENTER)},
			Family: 4, Flow: v4, Proto: protoTCP, TcpSeq: 0xfffffff0, TcpAck: 7, TcpFlags: 0x19, DnsLen: 5, DnsOff: 2,
		}, "ip\x00\x03dns", &Event{
			Probe: ProbeNFEnter, Src: src, Dst: dst, DNSLen: 5, DNSOffset: 2, Captured: []byte("ip\x00\x03dns"),
			TCP: &TCP{Seq: 0xfffffff0, Ack: 7, Len: 5, ACK: true, FIN: true},
		}},
		{"TCP that opens", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_ENTER)},
			Family: 4, Flow: v4, Proto: protoTCP, TcpSeq: 1, TcpFlags: 0x02,
		}, "", &Event{Probe: ProbeNFEnter, Src: src, Dst: dst, TCP: &TCP{Seq: 1, SYN: true}}},
		{"TCP that is refused", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_ENTER)},
			Family: 4, Flow: v4, Proto: protoTCP, TcpFlags: 0x14,
		}, "", &Event{Probe: ProbeNFEnter, Src: src, Dst: dst, TCP: &TCP{ACK: true, RST: true}}},
		{"fragment, the first", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_ENTER), Flags: uint16(gen.DnspathEventFlagFLAG_FRAGMENT)},
			Family: 4, Flow: v4, IpId: 9,
		}, "", &Event{Probe: ProbeNFEnter, Src: src, Dst: dst, IPID: 9, Fragment: true}},
		{"fragment, the last", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_ENTER), Flags: uint16(gen.DnspathEventFlagFLAG_FRAGMENT | gen.DnspathEventFlagFLAG_FRAG_LAST)},
			Family: 4, Flow: v4, IpId: 9, FragOff: 1480,
		}, "", &Event{Probe: ProbeNFEnter, Src: src, Dst: dst, IPID: 9, Fragment: true, FragOffset: 1480, FragLast: true}},
		{"ICMP error on its way", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NETIF_RX), Flags: uint16(gen.DnspathEventFlagFLAG_QUOTE)},
			Family: 4, Flow: v4, IcmpType: 3, IcmpCode: 4, Mtu: 1400, From: router, To: [16]uint8{10, 244, 1, 10},
		}, "", &Event{Probe: ProbeNetifRx, Src: src, Dst: dst, Quote: &Quote{
			Type: 3, Code: 4, MTU: 1400, From: netip.MustParseAddr("192.0.2.9"), To: src.Addr(),
		}}},
		{"ICMPv6 error on its way", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NETIF_RX), Flags: uint16(gen.DnspathEventFlagFLAG_QUOTE)},
			Family: 6, Flow: tuple4("[2001:db8::1]:1024", "[2001:db8::53]:53"), Proto: protoTCP, TcpSeq: 5, IcmpType: 1,
			From: netip.MustParseAddr("2001:db8::9").As16(), To: netip.MustParseAddr("2001:db8::1").As16(),
		}, "", &Event{
			Probe: ProbeNetifRx, Src: netip.MustParseAddrPort("[2001:db8::1]:1024"), Dst: netip.MustParseAddrPort("[2001:db8::53]:53"), TCP: &TCP{Seq: 5},
			Quote: &Quote{Type: 1, V6: true, From: netip.MustParseAddr("2001:db8::9"), To: netip.MustParseAddr("2001:db8::1")},
		}},
		{"tunnel in a tunnel", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NETIF_RX)},
			Family: 6, Flow: tuple4("[2001:db8::1]:1024", "[2001:db8::53]:53"),
			Tunnel: uint8(gen.DnspathTunnelTUNNEL_IP), OuterFamily: 4, Outer: tuple4("10.0.0.1:0", "10.0.0.2:0"), OuterTtl: 63,
			Tunnel2: uint8(gen.DnspathTunnelTUNNEL_VXLAN), Outer2Family: 6, Outer2: tuple4("[2001:db8:f::1]:50741", "[2001:db8:f::2]:4789"), Outer2Vni: 7,
		}, "", &Event{
			Probe: ProbeNetifRx, Src: netip.MustParseAddrPort("[2001:db8::1]:1024"), Dst: netip.MustParseAddrPort("[2001:db8::53]:53"),
			Tunnel: &Tunnel{
				Kind: "sit", TTL: 63, Src: netip.MustParseAddrPort("10.0.0.1:0"), Dst: netip.MustParseAddrPort("10.0.0.2:0"),
				In: &Tunnel{Kind: "vxlan", VNI: 7, Src: netip.MustParseAddrPort("[2001:db8:f::1]:50741"), Dst: netip.MustParseAddrPort("[2001:db8:f::2]:4789")},
			},
		}},
		{"in a hook", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_ENTER), Hook: 2, Flags: uint16(gen.DnspathEventFlagFLAG_IN_HOOK)},
			Family: 4, Flow: v4,
		}, "", &Event{Probe: ProbeNFEnter, Src: src, Dst: dst, Hook: HookForward}},
		{"out of a hook", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_LEAVE), Hook: 4, Flags: uint16(gen.DnspathEventFlagFLAG_IN_HOOK | gen.DnspathEventFlagFLAG_HOOK_LEFT)},
			Family: 4, Flow: v4,
		}, "", &Event{Probe: ProbeNFLeave, Src: src, Dst: dst, Hook: HookPostrouting, HookLeft: true}},
		{"hook without its flag", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NET_DEV_QUEUE), Hook: 2, Flags: uint16(gen.DnspathEventFlagFLAG_HOOK_LEFT)},
			Family: 4, Flow: v4,
		}, "", &Event{Probe: ProbeNetDevQueue, Src: src, Dst: dst}},
		{"hook that does not exist", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NF_ENTER), Hook: 200, Flags: uint16(gen.DnspathEventFlagFLAG_IN_HOOK)},
			Family: 4, Flow: v4,
		}, "", &Event{Probe: ProbeNFEnter, Src: src, Dst: dst}},
		{"dropped", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_KFREE_SKB)},
			Family: 4, Flow: v4, Location: 0xabc, Reason: 8,
		}, "", &Event{Probe: ProbeKfreeSkb, Src: src, Dst: dst, Freed: &Freed{Reason: "REASON_8", Function: "function_abc", Location: 0xabc}}},
		{"dropped without a reason", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_KFREE_SKB)},
			Family: 4, Flow: v4, Location: 0xabc,
		}, "", &Event{Probe: ProbeKfreeSkb, Src: src, Dst: dst, Freed: &Freed{Function: "function_abc", Location: 0xabc}}},
		{"consumed", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_CONSUME_SKB)},
			Family: 4, Flow: v4, Location: 0xabc, Reason: 8,
		}, "", &Event{Probe: ProbeConsumeSkb, Src: src, Dst: dst, Freed: &Freed{Function: "function_abc", Location: 0xabc}}},
		{"ICMP", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_ICMP_SEND)},
			Family: 4, Flow: v4, IcmpType: 3, IcmpCode: 1,
		}, "", &Event{Probe: ProbeICMPSend, Src: src, Dst: dst, ICMP: &ICMP{3, 1}}},
		{"socket full", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_UDP_FAIL_QUEUE_RCV_SKB), Ret: -12},
			Family: 4, Flow: v4,
		}, "", &Event{Probe: ProbeUDPFail, Src: src, Dst: dst, Errno: 12}},
		{"names without an end", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NETIF_RX), Dev: chars("abcdefghijklmnop"), Comm: chars("\xff\x1b[31m\nredredredred")},
			Family: 4, Flow: v4,
		}, "", &Event{Probe: ProbeNetifRx, Src: src, Dst: dst, Dev: "abcdefghijklmnop", Comm: "\xff\x1b[31m\nredredred"}},
		{"names with rubbish after their end", gen.DnspathEvent{
			H:      gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NETIF_RX), Dev: chars("lo\x00th0"), Comm: chars("\x00dig")},
			Family: 4, Flow: v4,
		}, "", &Event{Probe: ProbeNetifRx, Src: src, Dst: dst, Dev: "lo"}},
	}
	d := NewDecoder(fakeResolver{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // the second time, names are known
				got, err := d.Decode(record(tt.wire, tt.captured))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got, compareAddrs); diff != "" {
					t.Errorf("event (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestDecodeMalformed(t *testing.T) {
	good := gen.DnspathEvent{H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NETIF_RX)}, Family: 4, CapLen: 4}
	unknown, newer := good, good
	unknown.H.Probe, newer.H.Probe = 0, uint8(gen.DnspathProbePROBE_MAX)
	tests := []struct {
		name   string
		record []byte
		says   string
	}{
		{"empty", nil, "0 bytes"},
		{"too short", rawRecord(good, "")[:eventSize-1], fmt.Sprintf("want %d at least", eventSize)},
		{"nothing captured", rawRecord(good, ""), "4 captured bytes announced, 0 there"},
		{"less captured than announced", rawRecord(good, "abc"), "4 captured bytes announced, 3 there"},
		{"unknown probe", rawRecord(unknown, "abcd"), "unknown probe 0"},
		{"probe of a later version", rawRecord(newer, "abcd"), "unknown probe"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := NewDecoder(fakeResolver{}).Decode(tt.record)
			if e != nil || !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %+v, error %v, want ErrMalformed that says %q", e, err, tt.says)
			}
		})
	}
}

// TestDecodeCopies holds that an event outlives its record.
func TestDecodeCopies(t *testing.T) {
	r := record(gen.DnspathEvent{H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NETIF_RX), Dev: chars("eth0")}}, "packet")
	r = append(r, "beyond"...) // room that the kernel reserved and did not use
	e, err := NewDecoder(fakeResolver{}).Decode(r)
	if err != nil {
		t.Fatal(err)
	}
	clear(r)
	if string(e.Captured) != "packet" || e.Dev != "eth0" {
		t.Errorf("captured %q on %q, want %q on %q", e.Captured, e.Dev, "packet", "eth0")
	}
}

// TestDecodeForgets holds that the names of many processes do not fill the memory.
func TestDecodeForgets(t *testing.T) {
	d := NewDecoder(fakeResolver{})
	for i := range 2*maxStrings + 1 {
		name := fmt.Sprintf("p%d", i)
		e, err := d.Decode(record(gen.DnspathEvent{H: gen.DnspathHead{Probe: uint8(gen.DnspathProbePROBE_NETIF_RX), Comm: chars(name)}}, ""))
		if err != nil || e.Comm != name {
			t.Fatalf("name %q, error %v, want %q", e.Comm, err, name)
		}
	}
	if len(d.strings) > maxStrings {
		t.Errorf("%d names are kept, want %d at most", len(d.strings), maxStrings)
	}
}

func FuzzDecode(f *testing.F) {
	for probe := range uint8(gen.DnspathProbePROBE_MAX) + 1 {
		f.Add(record(gen.DnspathEvent{H: gen.DnspathHead{Probe: probe, Flags: 0xffff, Ret: -12}, Family: 4, DnsOff: 2, DnsLen: 40, Tunnel: 1}, "captured"))
	}
	f.Add(record(gen.DnspathEvent{H: gen.DnspathHead{Probe: 1}, Proto: protoTCP, TcpFlags: 0x18, DnsOff: 2, DnsLen: 6}, "ip\x00\x04dnsd"))
	f.Add(record(gen.DnspathEvent{H: gen.DnspathHead{Probe: 1, Flags: 0xffff}, Family: 6, FragOff: 8, Mtu: 1280, IcmpType: 2, Tunnel: 4, Tunnel2: 4, OuterFamily: 4, Outer2Family: 6}, ""))
	f.Add(rawRecord(gen.DnspathEvent{H: gen.DnspathHead{Probe: 1}, CapLen: 0xffff}, ""))
	f.Add(record(gen.DnspathEvent{H: gen.DnspathHead{Probe: 1, Time: 1<<64 - 1}}, ""))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := NewDecoder(fakeResolver{}).Decode(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || e != nil {
				t.Errorf("event %+v, error %v is not ErrMalformed", e, err)
			}
			return
		}
		if e.Time != binary.NativeEndian.Uint64(data) || len(e.Captured) > len(data)-eventSize {
			t.Errorf("time %d, %d bytes captured of a record of %d", e.Time, len(e.Captured), len(data))
		}
		if len(e.Dev) > 16 || len(e.Comm) > 16 || strings.ContainsRune(e.Dev+e.Comm, 0) {
			t.Errorf("device %q, process %q", e.Dev, e.Comm)
		}
		if freed := e.Probe == ProbeKfreeSkb || e.Probe == ProbeConsumeSkb; freed != (e.Freed != nil) {
			t.Errorf("%s, freed %v", e.Probe, e.Freed)
		}
		// Whatever was decoded can be correlated.
		c := NewCorrelator(CorrelatorOptions{}, func(*Lookup) {})
		c.Add(e)
		c.Advance(e.Time)
		c.Flush()
		wantEmpty(t, c)
	})
}
