package diagnose

import (
	"errors"
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

func TestBPFProgramDrop(t *testing.T) {
	attached := func(name string) *tracer.By { return &tracer.By{Name: name, How: tracer.HowInferred} }
	deny := attached("tc BPF program deny_dns on eth0")
	unread := &fakeNS{name: "node-b", err: errors.New("no permission")}
	served := &fakeNS{name: "node-b", sockets: []Socket{{Transport: tracer.TransportUDP, Addr: backend, PID: 7, Process: "coredns"}}}
	for _, c := range []struct {
		name       string
		drop       tracer.Drop
		node       *fakeNS
		want       string
		confidence tracer.Confidence
		summary    string
		mend       string
	}{
		{
			"at ingress", tracer.Drop{Reason: "TC_INGRESS", By: deny}, nil, "bpf-program-drop", tracer.ConfidenceConfirmed,
			"the BPF program deny_dns at tc ingress on eth0 in node-b drops the query",
			"in node-b: bpftool net show dev eth0, to see whose it is: that has to let port 53 pass, UDP and TCP",
		},
		{
			"state unreadable", tracer.Drop{Reason: "TC_EGRESS"}, unread, "bpf-program-drop", tracer.ConfidenceSeen,
			"a BPF program or filter at tc egress on eth0 in node-b drops the query", "",
		},
		{
			"one of two", tracer.Drop{Reason: "TC_INGRESS", By: attached("one of: tc BPF program a on eth0, tc BPF program b on eth0")}, nil,
			"bpf-program-drop", tracer.ConfidenceSeen, "a BPF program or filter at tc ingress on eth0 in node-b drops the query", "",
		},
		{
			"no BPF", tracer.Drop{Reason: "TC_EGRESS", By: attached("tc flower filter on eth0")}, nil, "bpf-program-drop", tracer.ConfidenceConfirmed,
			"a flower filter at tc egress on eth0 in node-b drops the query", "",
		},
		{
			"of Cilium", tracer.Drop{Reason: "TC_INGRESS", By: attached("tc BPF program cil_from_container on eth0")}, nil, "bpf-program-drop", tracer.ConfidenceConfirmed,
			"the BPF program cil_from_container at tc ingress on eth0 in node-b drops the query",
			"allow DNS in the network policy: egress from 10.244.1.10 and ingress to 10.244.2.53, port 53, UDP and TCP",
		},
		{
			"a kernel without reasons", tracer.Drop{Function: "__dev_queue_xmit", By: deny}, nil, "bpf-program-drop", tracer.ConfidenceLikely,
			"the BPF program deny_dns at tc egress on eth0 in node-b drops the query", "",
		},
		{
			"XDP", tracer.Drop{Reason: "NOT_SPECIFIED", Function: "veth_xdp_rcv_skb", By: attached("XDP program guard on eth0")}, nil, "bpf-program-drop", tracer.ConfidenceSeen,
			"the XDP program guard on eth0 in node-b drops the query", "",
		},
		{
			"a program of the cgroup", tracer.Drop{Reason: "BPF_CGROUP_EGRESS", Function: "ip_finish_output"}, nil, "bpf-program-drop", tracer.ConfidenceSeen,
			"a BPF program of the cgroup of its sender refuses what it sends in node-b: the query to 10.244.2.53:53", "",
		},
		{
			"that, by where it was freed", tracer.Drop{Function: "ip_finish_output"}, nil, "bpf-program-drop", tracer.ConfidenceSeen,
			"a BPF program of the cgroup of its sender refuses what it sends in node-b: the query to 10.244.2.53:53", "",
		},
		{
			"the socket's filter", tracer.Drop{Reason: "SOCKET_FILTER", Function: "udp_queue_rcv_one_skb"}, served, "bpf-program-drop", tracer.ConfidenceSeen,
			"the filter of the socket 10.244.2.53:53 in node-b, or a BPF program of its cgroup, refuses the query", "",
		},

		{"another socket's copy", tracer.Drop{Reason: "SOCKET_FILTER", Function: "raw_rcv_skb"}, nil, Unexplained, "seen", "", ""},
		{"XDP, or no memory", tracer.Drop{Reason: "NOT_SPECIFIED", Function: "veth_xdp_rcv_skb"}, nil, Unexplained, "seen", "", ""},
		{"a queue, or tc", tracer.Drop{Function: "__dev_queue_xmit"}, nil, Unexplained, "seen", "", ""},
		{"a queue", tracer.Drop{Reason: "QDISC_DROP", Function: "__dev_queue_xmit"}, nil, "qdisc-drop", "seen", "", ""},
		{"a firewall", tracer.Drop{Reason: "NETFILTER_DROP", Function: "nft_do_chain"}, nil, "policy-drop", "seen", "", ""},
		{"a full socket", tracer.Drop{Reason: "PROTO_MEM", Function: "udp_queue_rcv_one_skb"}, nil, "server-buffer-full", "seen", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.node == nil {
				c.node = &fakeNS{name: "node-b"}
			}
			l := fakeLookup(tracer.OutcomeDropped, tracer.Hop{Name: "rx", NetNS: nsNodeB, Dev: "eth0"},
				tracer.Hop{Name: "drop", NetNS: nsNodeB, Dev: "eth0", Drop: &c.drop})
			checkDiagnosis(t, fakeNode{nsNodeB: c.node}, l, c.want)
			f := &l.Findings[0]
			if f.Confidence != c.confidence || c.summary != "" && f.Summary != c.summary || c.mend != "" && f.Mend[0] != c.mend {
				t.Errorf("finding %+v, want %q (%s), mend %q", f, c.summary, c.confidence, c.mend)
			}
		})
	}
	// The second attempt came through.
	hop := tracer.Hop{Name: "drop", NetNS: nsNodeB, Dev: "eth0", Drop: &tracer.Drop{Reason: "TC_INGRESS"}}
	checkDiagnosis(t, fakeNode{}, fakeLookup(tracer.OutcomeAnswered, hop))
}
