package diagnose

import (
	"testing"

	"github.com/dnspath/dnspath/tracer"
)

// large makes a hop's packet one of several segments.
func large(h tracer.Hop) tracer.Hop {
	h.Checksum.GSOSize, h.Len = 1398, 4252
	return h
}

func TestGSODrop(t *testing.T) {
	const id = "gso-drop"
	sent := large(routed("tx", nsServer, "eth0"))
	single := routed("tx", nsServer, "eth0")
	merged := large(routed("rx", nsNodeB, "eth0"))
	named := large(dropped(nsNodeB, "eth0", "SKB_GSO_SEG", "ip_finish_output"))
	other := large(dropped(nsNodeB, "eth0", "NOT_SPECIFIED", "validate_xmit_skb"))
	old := large(dropped(nsNodeB, "eth0", "", "validate_xmit_skb"))
	tunnel := &tracer.Tunnel{Kind: "vxlan", VNI: 4096}
	inside := other
	inside.Tunnel = tunnel
	device := podTunnel
	device.Features = map[string]bool{"tx-tcp-segmentation": true}
	node := fakeNode{nsServer: {name: "dns-b"}, nsNodeB: {name: "node-b", host: true, links: []Link{device}}}
	cannot := fakeNode{nsNodeB: {name: "node-b", links: []Link{{Name: "eth0", Features: map[string]bool{"tx-checksum-ip-generic": true}}}}}
	can := fakeNode{nsNodeB: {name: "node-b", links: []Link{{Name: "eth0", Features: map[string]bool{"tx-tcp-segmentation": true}}}}}
	for _, c := range []struct {
		name       string
		node       fakeNode
		hops       []tracer.Hop
		want       string
		confidence tracer.Confidence
		mend       string
	}{
		{"named", node, []tracer.Hop{sent, named}, id, tracer.ConfidenceSeen, "in dns-b: ip link set eth0 gso_max_segs 1"},
		{"at the device", node, []tracer.Hop{sent, other}, id, tracer.ConfidenceLikely, "in dns-b: ip link set eth0 gso_max_segs 1"},
		{"without reasons", node, []tracer.Hop{sent, old}, id, tracer.ConfidenceLikely, "in dns-b: ip link set eth0 gso_max_segs 1"},
		{"the device can't", cannot, []tracer.Hop{sent, other}, id, tracer.ConfidenceConfirmed, ""},
		{"the device can", can, []tracer.Hop{sent, other}, id, tracer.ConfidenceLikely, ""},
		{"put together", node, []tracer.Hop{single, merged, named}, id, tracer.ConfidenceSeen, "ethtool -K eth0 gro off"},
		{"in a tunnel", node, []tracer.Hop{sent, inside}, id, tracer.ConfidenceLikely, "ethtool -K vxlan.calico tso off"},
		{"state that can't be read", fakeNode{}, []tracer.Hop{sent, inside}, id, tracer.ConfidenceLikely, "ethtool -K DEV tso off"},

		{"one segment", node, []tracer.Hop{single, dropped(nsNodeB, "eth0", "NOT_SPECIFIED", "validate_xmit_skb")}, Unexplained, tracer.ConfidenceSeen, ""},
		{"elsewhere", node, []tracer.Hop{sent, large(dropped(nsNodeB, "eth0", "NOT_SPECIFIED", "ip_finish_output"))}, Unexplained, tracer.ConfidenceSeen, ""},
		{"another reason", node, []tracer.Hop{sent, large(dropped(nsNodeB, "eth0", "QDISC_DROP", "validate_xmit_skb"))}, "qdisc-drop", tracer.ConfidenceSeen, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := fakeLookup(tracer.OutcomeDropped, c.hops...)
			l.Transport, l.Legs[0].Response, l.Legs[0].Segment = tracer.TransportTCP, true, "data"
			checkDiagnosis(t, c.node, l, c.want)
			checkFinding(t, l, c.confidence, "", c.mend)
		})
	}
	l := fakeLookup(tracer.OutcomeAnswered, sent, named)
	l.Transport = tracer.TransportTCP
	checkDiagnosis(t, node, l)
}
