package tracer

// readers are the functions in which a process that reads from a socket frees
// the datagram (net/ipv4/udp.c skb_consume_udp, net/core/datagram.c).
var readers = map[string]bool{
	"skb_consume_udp": true, "consume_stateless_skb": true, "udp_recvmsg": true, "udpv6_recvmsg": true,
	"skb_free_datagram": true, "__skb_free_datagram_locked": true,
}

// deferred are the functions that free, a little later, what a reader on
// another CPU was done with (skb_attempt_defer_free, which UDP uses since 6.19
// and stable kernels of that time).
var deferred = map[string]bool{"skb_attempt_defer_free": true, "skb_defer_free_flush": true}

// readAt reports whether the event at i shows that a process has read the
// packet. That is inferred where the kernel tells only that the packet was
// freed by way of a socket: drivers free so too, but what they have sent.
func readAt(events []*Event, i int) (read, inferred bool) {
	e := events[i]
	switch {
	case e.Probe == ProbeRead:
		return true, false
	case e.Probe != ProbeConsumeSkb:
		return false, false
	case readers[e.Freed.Function]:
		return true, false
	case !deferred[e.Freed.Function]:
		return false, false
	}
	for i--; i >= 0; i-- {
		switch events[i].Probe {
		case ProbeSkDataReady:
			return true, true
		case ProbeConsumeSkb: // of a copy
		case ProbeNFEnter, ProbeNFLeave:
			return events[i].Hook == HookInput, true
		default:
			return events[i].Probe == ProbeNetifRx || events[i].Probe == ProbeNetifReceiveSkb, true
		}
	}
	return false, false
}

// freedSilently reports whether e is a drop that the kernel does not call one.
func freedSilently(e *Event) bool {
	return e.Probe == ProbeConsumeSkb && freesSilently[e.Freed.Function]
}

// freesSilently are functions that let go of a packet they could not send by
// dev_kfree_skb(), which is consume_skb(): the only trace of that drop is
// where it happened (drivers/net/vxlan/vxlan_core.c, drivers/net/geneve.c).
var freesSilently = map[string]bool{"vxlan_xmit_one": true, "vxlan_xmit": true, "geneve_xmit": true}
