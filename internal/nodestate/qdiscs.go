package nodestate

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer/diagnose"
)

// Attributes of a qdisc (include/uapi/linux/rtnetlink.h), and of its statistics
// (include/uapi/linux/gen_stats.h).
const (
	tcaKind    = 1
	tcaStats2  = 7
	statsQueue = 3
)

// tcMsgLen is the length of struct tcmsg, with which each message begins.
const tcMsgLen = 20

// addQdiscs fills in the qdiscs of devices.
func addQdiscs(links []diagnose.Link) error {
	req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{})
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	if err != nil {
		return fmt.Errorf("list qdiscs: %w", err)
	}
	for _, m := range messages {
		q, ifindex := parseQdisc(m)
		for i := range links {
			if links[i].Index == ifindex {
				links[i].Qdiscs = append(links[i].Qdiscs, q)
			}
		}
	}
	return nil
}

func parseQdisc(m []byte) (q diagnose.Qdisc, ifindex int) {
	if len(m) < tcMsgLen {
		return q, 0
	}
	ifindex = int(int32(binary.NativeEndian.Uint32(m[4:])))
	q.Handle, q.Parent = binary.NativeEndian.Uint32(m[8:]), binary.NativeEndian.Uint32(m[12:])
	for attr, value := range attributes(m, tcMsgLen) {
		switch attr {
		case tcaKind:
			q.Kind = unix.ByteSliceToString(value)
		case tcaStats2:
			addQueue(&q, value)
		}
	}
	return q, ifindex
}

// addQueue reads struct gnet_stats_queue.
func addQueue(q *diagnose.Qdisc, stats []byte) {
	for attr, value := range attributes(stats, 0) {
		if attr == statsQueue && len(value) >= 20 {
			number := func(i int) uint64 { return uint64(binary.NativeEndian.Uint32(value[4*i:])) }
			q.Packets, q.Bytes, q.Drops, q.Overlimits = int(number(0)), int(number(1)), number(2), number(4)
		}
	}
}
