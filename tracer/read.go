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
// packet from the socket that it was sent to. That is inferred where the
// kernel tells only that the packet was freed by way of a socket: drivers free
// so too, but what they have sent. And a packet that somebody copies may be
// one that a packet socket was given on the way.
func readAt(events []*Event, i int) (read, inferred bool) {
	e := events[i]
	switch {
	case e.Probe == ProbeRead || e.Probe == ProbeConsumeSkb && deferred[e.Freed.Function]:
		delivered, sure := deliveredBefore(events, i)
		return delivered, e.Probe != ProbeRead || !sure
	case e.Probe == ProbeUDPConsume:
		return true, false
	case e.Probe == ProbeConsumeSkb:
		return readers[e.Freed.Function], false
	}
	return false, false
}

// deliveredBefore reports whether the last that was seen of a packet before
// the event at i is that it was on its way to a socket of this host; surely, if
// it was seen at the socket or at netfilter's INPUT.
func deliveredBefore(events []*Event, i int) (delivered, sure bool) {
	for i--; i >= 0; i-- {
		switch events[i].Probe {
		case ProbeSkDataReady, ProbeDeliver, ProbeDeliver6:
			return true, true
		case ProbeUDPEnqueue:
			return events[i].Verdict == VerdictOK, true
		case ProbeNFEnter, ProbeNFLeave:
			return events[i].Hook == HookInput, true
		case ProbeConsumeSkb, ProbeRead: // of a copy
		default:
			if events[i].Step {
				continue
			}
			return events[i].Probe == ProbeNetifRx || events[i].Probe == ProbeNetifReceiveSkb, false
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
