package diagnose

import (
	"net/netip"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestServerBufferFull(t *testing.T) {
	node := fakeNode{nsServer: {name: "dns-b", sockets: []Socket{{
		Transport: tracer.TransportUDP, Addr: netip.MustParseAddrPort("0.0.0.0:53"), Queue: 212992, Buffer: 212992, Drops: 7, PID: 7, Process: "coredns",
	}}}}
	for _, tt := range []struct {
		name     string
		drop     tracer.Drop
		response bool
		want     string
	}{
		{"full", tracer.Drop{Reason: "SOCKET_RCVBUFF", Function: "udp_queue_rcv_one_skb"}, false, "server-buffer-full"},
		{"no reasons", tracer.Drop{Function: "udp_queue_rcv_one_skb", Errno: 12}, false, "server-buffer-full"},
		{"no memory", tracer.Drop{Reason: "PROTO_MEM"}, false, "server-buffer-full"},
		{"another function", tracer.Drop{Function: "udp_recvmsg"}, false, Unexplained},
		{"the client's", tracer.Drop{Reason: "SOCKET_RCVBUFF"}, true, Unexplained},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := fakeLookup(tracer.OutcomeDropped, tracer.Hop{Name: "drop", NetNS: nsServer, Drop: &tt.drop})
			l.Legs[0].Response = tt.response
			checkDiagnosis(t, node, l, tt.want)
			checkDiagnosis(t, fakeNode{}, l, tt.want)
		})
	}
	// Kernels without reasons leave it open; a socket without room tells.
	open := fakeLookup(tracer.OutcomeDropped, tracer.Hop{Name: "drop", NetNS: nsServer, Drop: &tracer.Drop{Function: "udp_queue_rcv_one_skb"}})
	checkDiagnosis(t, fakeNode{}, open, Unexplained)
	checkDiagnosis(t, node, open, "server-buffer-full")
	checkFinding(t, open, tracer.ConfidenceConfirmed, "10.244.2.53:53 in dns-b is full", "rmem_default")
	node[nsServer].sockets[0].Queue = 768
	checkDiagnosis(t, node, open, Unexplained)
}

func TestQdiscDrop(t *testing.T) {
	node := fakeNode{nsNodeA: {name: "node-a", links: []Link{{Name: "eth0", Qdiscs: []Qdisc{{Kind: "tbf", Drops: 3}}}}}}
	queued := tracer.Hop{Name: "tx", Layer: "device", Dev: "eth0", NetNS: nsNodeA, Queued: true}
	sent := queued
	sent.Queued = false
	for _, tt := range []struct {
		name   string
		before tracer.Hop
		drop   tracer.Drop
		want   string
	}{
		{"dropped", queued, tracer.Drop{Reason: "QDISC_DROP", Function: "__dev_queue_xmit"}, "qdisc-drop"},
		{"no reasons", queued, tracer.Drop{Function: "kfree_skb_list"}, "qdisc-drop"},
		{"no reasons, the driver had it", sent, tracer.Drop{Function: "kfree_skb_list"}, Unexplained},
		{"by a program", queued, tracer.Drop{Reason: "TC_EGRESS", Function: "__dev_queue_xmit"}, "bpf-program-drop"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := fakeLookup(tracer.OutcomeDropped, tt.before, tracer.Hop{Name: "drop", Dev: "eth0", NetNS: nsNodeA, Drop: &tt.drop})
			checkDiagnosis(t, node, l, tt.want)
			checkDiagnosis(t, fakeNode{}, l, tt.want)
		})
	}
}
