package nodestate

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

type conntrackKey struct{}

// Conntrack returns how full the table is, and conntrack's statistics. Nothing
// asks for them where conntrack is not loaded: asking would load it.
func (s *space) Conntrack() (*diagnose.ConntrackStats, error) {
	return once(s, conntrackKey{}, readConntrack)
}

func readConntrack() (*diagnose.ConntrackStats, error) {
	count, err := readNumber("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return nil, err
	}
	limit, err := readNumber("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		return nil, err
	}
	messages, err := conntrackRequest(ctGetStats, unix.AF_UNSPEC).Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return nil, fmt.Errorf("ask for conntrack's statistics: %w", err)
	}
	stats := &diagnose.ConntrackStats{Count: count, Max: limit, Stats: map[string]uint64{}}
	for _, m := range messages {
		addConntrackStats(stats.Stats, m)
	}
	return stats, nil
}

func readNumber(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// Messages of ctnetlink (include/uapi/linux/netfilter/nfnetlink_conntrack.h,
// enum cntl_msg_types).
const (
	ctGet      = 1
	ctGetStats = 4
)

// nfgenLen is the length of struct nfgenmsg, with which each message begins.
const nfgenLen = 4

func conntrackRequest(message int, family uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|message, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}

// conntrackStats are the numbers of enum ctattr_stats_cpu, by the names that
// conntrack -S gives them.
var conntrackStats = map[uint16]string{
	2: "found", 4: "invalid", 8: "insert", 9: "insert_failed", 10: "drop", 11: "early_drop", 12: "error", 13: "search_restart",
	14: "clash_resolve", 15: "chaintoolong",
}

// addConntrackStats adds those of one processor.
func addConntrackStats(stats map[string]uint64, message []byte) {
	for attr, value := range attributes(message, nfgenLen) {
		if name := conntrackStats[attr]; name != "" && len(value) == 4 {
			stats[name] += uint64(binary.BigEndian.Uint32(value))
		}
	}
}

// How many entries of one address are returned, how many of all are looked at
// where the kernel can't select them itself, and of how many it is not asked to:
// each time, it goes through a table that is the larger the more memory there is
// (nf_conntrack_htable_size), which takes some 10 ms.
const (
	maxEntries = 1000
	maxLooked  = 300_000
	fewEntries = 10_000
)

type entriesKey netip.Addr

// ConntrackEntries returns the entries of UDP and TCP of an address.
func (s *space) ConntrackEntries(client netip.Addr) ([]diagnose.ConntrackEntry, error) {
	client = client.Unmap()
	return once(s, entriesKey(client), func() ([]diagnose.ConntrackEntry, error) {
		count, err := readNumber("/proc/sys/net/netfilter/nf_conntrack_count")
		if err != nil {
			return nil, err
		}
		if count <= fewEntries || client.Is6() {
			return readEntries(client, 0)
		}
		from, err := readEntries(client, ctIPSource)
		if err != nil {
			return nil, err
		}
		to, err := readEntries(client, ctIPDestination)
		return append(from, to...), err
	})
}

// Which address of an entry's first packet is asked for: its number among the
// attributes of IPv4 (enum ctattr_ip; those of IPv6 follow, by two higher), which
// is also its bit in a filter (CTA_FILTER_F_CTA_IP_SRC and _DST in
// net/netfilter/nf_conntrack_netlink.c).
const (
	ctIPSource      = 1
	ctIPDestination = 2
)

// readEntries lists the entries whose first packet had an address as its source,
// or as its destination; with 0 as either. The kernel selects those of one.
func readEntries(addr netip.Addr, which uint16) (list []diagnose.ConntrackEntry, err error) {
	req := conntrackRequest(ctGet, familyOf(addr))
	if which != 0 {
		addFilter(req, addr, which)
	}
	looked := 0
	err = req.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(message []byte) bool {
		if looked++; looked > maxLooked || len(list) >= maxEntries {
			return false
		}
		e, ok := parseEntry(message)
		if !ok {
			return true
		}
		from, to := e.Orig.Src.Addr() == addr, e.Orig.Dst.Addr() == addr
		if from && which != ctIPDestination || to && !from && which != ctIPSource {
			list = append(list, e)
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("list conntrack's entries: %w", err)
	}
	if looked > maxLooked {
		return nil, fmt.Errorf("conntrack has more than %d entries", maxLooked)
	}
	return list, nil
}

// Attributes of ctnetlink's messages (enum ctattr_type, ctattr_tuple,
// ctattr_l4proto, ctattr_filter).
const (
	ctTupleOrig  = 1
	ctTupleReply = 2
	ctStatus     = 3
	ctTimeout    = 7
	ctFilter     = 25

	ctTupleIP    = 1
	ctTupleProto = 2

	ctProtoNum     = 1
	ctProtoSrcPort = 2
	ctProtoDstPort = 3

	ctFilterOrig  = 1
	ctFilterReply = 2
)

// addFilter has the kernel select the entries of an IPv4 address, which Linux can
// since 5.8; before, it ignores the filter. It is not for IPv6: by a bug
// (!ipv6_addr_cmp in ctnetlink_filter_match_tuple) those are left out that match.
func addFilter(req *nl.NetlinkRequest, addr netip.Addr, which uint16) {
	tuple := nl.NewRtAttr(unix.NLA_F_NESTED|ctTupleOrig, nil)
	ip := tuple.AddRtAttr(unix.NLA_F_NESTED|ctTupleIP, nil)
	ip.AddRtAttr(int(which), addr.AsSlice())
	filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctFilter, nil)
	filter.AddRtAttr(ctFilterOrig, nl.Uint32Attr(1<<(which-1)))
	filter.AddRtAttr(ctFilterReply, nl.Uint32Attr(0))
	req.AddData(tuple)
	req.AddData(filter)
}

func familyOf(addr netip.Addr) uint8 {
	if addr.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// seenReply is IPS_SEEN_REPLY (include/uapi/linux/netfilter/nf_conntrack_common.h).
const seenReply = 1 << 1

// parseEntry reads an entry, if it is one of UDP or TCP.
func parseEntry(message []byte) (e diagnose.ConntrackEntry, ok bool) {
	var protocol byte
	for attr, value := range attributes(message, nfgenLen) {
		switch {
		case attr == ctTupleOrig:
			e.Orig, protocol = parseTuple(value)
		case attr == ctTupleReply:
			e.Reply, _ = parseTuple(value)
		case attr == ctStatus && len(value) == 4:
			e.Unreplied = binary.BigEndian.Uint32(value)&seenReply == 0
		case attr == ctTimeout && len(value) == 4:
			e.Timeout = time.Duration(binary.BigEndian.Uint32(value)) * time.Second
		}
	}
	switch protocol {
	case unix.IPPROTO_UDP:
		e.Transport = tracer.TransportUDP
	case unix.IPPROTO_TCP:
		e.Transport = tracer.TransportTCP
	default:
		return e, false
	}
	return e, true
}

func parseTuple(nested []byte) (flow tracer.Flow, protocol byte) {
	var src, dst netip.Addr
	var ports [2]uint16
	for part, value := range attributes(nested, 0) {
		for attr, v := range attributes(value, 0) {
			switch {
			case part == ctTupleIP && (attr == ctIPSource || attr == ctIPSource+2):
				src, _ = netip.AddrFromSlice(v)
			case part == ctTupleIP && (attr == ctIPDestination || attr == ctIPDestination+2):
				dst, _ = netip.AddrFromSlice(v)
			case part == ctTupleProto && attr == ctProtoNum && len(v) == 1:
				protocol = v[0]
			case part == ctTupleProto && (attr == ctProtoSrcPort || attr == ctProtoDstPort) && len(v) == 2:
				ports[attr-ctProtoSrcPort] = binary.BigEndian.Uint16(v)
			}
		}
	}
	return tracer.Flow{Src: netip.AddrPortFrom(src, ports[0]), Dst: netip.AddrPortFrom(dst, ports[1])}, protocol
}
