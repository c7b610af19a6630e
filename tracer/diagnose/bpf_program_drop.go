package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dnspath/dnspath/tracer"
)

// bpfProgramDrop finds a BPF program that dropped a packet: at a device's tc or
// XDP, of the sender's cgroup, or of the receiver's socket.
func bpfProgramDrop(c *Case) *tracer.Finding {
	if !c.Failed() {
		return nil
	}
	for leg, h := range c.Drops() {
		if refused(h) { // by netfilter, whose programs are told as its rules are
			continue
		}
		var f *tracer.Finding
		switch {
		case atDevice(h):
			f = c.programOfDevice(leg, h)
		case c.byCgroup(h):
			f = c.programOfCgroup(leg, h)
		case reason(h) == "SOCKET_FILTER" && !copied(h):
			f = c.programOfSocket(leg, h)
		default:
			continue
		}
		f.Evidence = slices.Insert(f.Evidence, 0, fmt.Sprintf("%s dropped the %s %v → %v at %s: %s", c.NetNS(h.NetNS).Name(), legName(leg), h.Src, h.Dst, h.Dev, dropText(h)))
		return f
	}
	return nil
}

// atDevice reports whether it was a program of a device: the kernel says so, or
// freed the packet where it does that, and there is a program.
func atDevice(h *tracer.Hop) bool {
	switch reason(h) {
	case "TC_INGRESS", "TC_EGRESS", "XDP":
		return true
	}
	return attachedTo(h.Drop.By)
}

// attachedTo reports whether By is a program or filter of a device, or one of
// several.
func attachedTo(by *tracer.By) bool {
	if by == nil {
		return false
	}
	name := strings.TrimPrefix(by.Name, "one of: ")
	return strings.HasPrefix(name, "tc ") || strings.HasPrefix(name, "XDP program ")
}

// byCgroup reports whether a program of the sender's cgroup did it. Kernels before
// 5.18 give no reason; there ip_finish_output frees nothing else, but for what is to
// be cut into segments (net/ipv4/ip_output.c), which datagrams of DNS are not.
func (c *Case) byCgroup(h *tracer.Hop) bool {
	if reason(h) != "" {
		return reason(h) == "BPF_CGROUP_EGRESS"
	}
	alone := h.Drop.Function == "ip_finish_output" || h.Drop.Function == "ip6_finish_output"
	return alone && c.Transport == tracer.TransportUDP && h.Tunnel == nil
}

// copied reports whether what a filter refused was a copy for a socket that sees
// all packets: raw_rcv_skb (net/ipv4/raw.c) and its like.
func copied(h *tracer.Hop) bool { return strings.Contains(h.Drop.Function, "raw") }

// programOfDevice tells of a program at tc or XDP.
func (c *Case) programOfDevice(leg *tracer.Leg, h *tracer.Hop) *tracer.Finding {
	ns, by := c.NetNS(h.NetNS), h.Drop.By
	f := &tracer.Finding{Confidence: tracer.ConfidenceSeen}
	p := parseProgram(h)
	f.Summary = fmt.Sprintf("%s on %s in %s drops the %s", p, p.dev, ns.Name(), legName(leg))
	switch {
	case by == nil:
		f.Evidence = append(f.Evidence, "there is no program now, or it is not known which it was")
	case strings.HasPrefix(by.Name, "one of"):
		f.Evidence = append(f.Evidence, by.Name)
	case p.place == "tc" && reason(h) == "": // the function has other causes to free a packet, if rare ones
		f.Confidence = tracer.ConfidenceLikely
		f.Evidence = append(f.Evidence, "attached there: "+by.Name)
	case unsaid(h):
		f.Evidence = append(f.Evidence, "attached there: "+by.Name)
	default:
		f.Confidence = tracer.ConfidenceConfirmed
		f.Evidence = append(f.Evidence, "attached there: "+by.Name)
	}
	f.Mend = c.programMend(ns, p)
	return f
}

// program is what is attached to a device.
type program struct {
	place string // tc, XDP
	way   string // of tc: ingress, egress
	kind  string // of what has no name: "flower filter"
	name  string // empty: not known, or it is no program
	dev   string

	generic bool // of XDP: not in the driver
}

func (p program) String() string {
	switch {
	case p.place == "XDP" && p.name != "":
		return "the XDP program " + p.name
	case p.place == "XDP":
		return "an XDP program"
	case p.name != "":
		return fmt.Sprintf("the BPF program %s at tc %s", p.name, p.way)
	}
	return fmt.Sprintf("a %s at tc %s", p.kind, p.way)
}

// parseProgram says what dropped a packet at a device.
func parseProgram(h *tracer.Hop) program {
	p := program{place: "tc", kind: "BPF program or filter", dev: h.Dev}
	why, by := reason(h), h.Drop.By
	switch {
	case why == "XDP" || by != nil && strings.Contains(by.Name, "XDP program "):
		p.place, p.generic = "XDP", h.Drop.Function == "do_xdp_generic"
	case why == "TC_EGRESS" || h.Drop.Function == "__dev_queue_xmit":
		p.way = "egress"
	default:
		p.way = "ingress"
	}
	if by == nil || strings.HasPrefix(by.Name, "one of") {
		return p
	}
	name, _ := strings.CutSuffix(by.Name, " on "+h.Dev)
	if bpf, ok := strings.CutPrefix(name, "tc BPF program "); ok {
		p.name = bpf
	} else if xdp, ok := strings.CutPrefix(name, "XDP program "); ok {
		p.name = xdp
	} else {
		p.kind = strings.TrimPrefix(name, "tc ")
	}
	return p
}

// programMend says whom to ask, and how to take a program off that nobody owns.
func (c *Case) programMend(ns NetNS, p program) (mend []string) {
	policy := fmt.Sprintf("allow DNS in the network policy: egress from %s and ingress to %s, port 53, UDP and TCP", c.Client.Addr(), c.server().Addr())
	switch {
	case strings.HasPrefix(p.name, "cil_"):
		return []string{policy, "in the Cilium pod of this node: cilium-dbg monitor --type drop, to see why"}
	case strings.HasPrefix(p.name, "cali"):
		return []string{policy, "in the calico-node pod of this node: calico-node -bpf counters dump, to see why"}
	}
	mend = append(mend, inNS(ns, "bpftool net show dev "+p.dev+", to see whose it is: that has to let port 53 pass, UDP and TCP"))
	switch {
	case p.place == "XDP" && p.generic:
		return append(mend, inNS(ns, "ip link set dev "+p.dev+" xdpgeneric off")+", if nobody owns it")
	case p.place == "XDP":
		return append(mend, inNS(ns, "ip link set dev "+p.dev+" xdp off")+", if nobody owns it")
	}
	return append(mend, inNS(ns, fmt.Sprintf("tc filter del dev %s %s", p.dev, p.way))+", if nobody owns it: it deletes all filters there (not programs of tcx)")
}

// programOfCgroup tells of a program that watches over what processes send.
func (c *Case) programOfCgroup(leg *tracer.Leg, h *tracer.Hop) *tracer.Finding {
	ns := c.NetNS(h.NetNS)
	f := &tracer.Finding{Confidence: tracer.ConfidenceSeen}
	who, find := "its sender", "bpftool cgroup tree"
	if name, pid := c.sendingProcess(leg, h); pid != 0 {
		who = fmt.Sprintf("%s[%d]", name, pid)
		find = fmt.Sprintf("cat /proc/%d/cgroup; bpftool cgroup tree", pid)
	}
	f.Summary = fmt.Sprintf("a BPF program of the cgroup of %s refuses what it sends in %s: the %s to %v", who, ns.Name(), legName(leg), h.Dst)
	f.Mend = []string{
		"on the node: " + find + ", to find the egress program of that cgroup, or of one above it: whose it is has to let DNS pass",
		"of a unit of systemd: IPAddressDeny=, IPAddressAllow= and IPEgressFilterPath= make such programs (systemctl cat UNIT)",
	}
	return f
}

// sendingProcess returns the process that sent the packet; 0 if it is not known.
func (c *Case) sendingProcess(leg *tracer.Leg, h *tracer.Hop) (name string, pid uint32) {
	if first := &leg.Hops[0]; first.PID != 0 {
		return first.Comm, first.PID
	}
	if !leg.Response {
		return c.Comm, c.PID
	}
	if _, from, ok := c.sockets(&tracer.Hop{NetNS: h.NetNS, Dst: h.Src}); ok && from != nil {
		return from.Process, uint32(from.PID)
	}
	return "", 0
}

// programOfSocket tells of a filter where a packet was to be queued to its socket.
// The programs of the receiver's cgroup are asked at the same place
// (sk_filter_trim_cap in net/core/filter.c), before 6.16 security modules too.
func (c *Case) programOfSocket(leg *tracer.Leg, h *tracer.Hop) *tracer.Finding {
	ns := c.NetNS(h.NetNS)
	f := &tracer.Finding{
		Confidence: tracer.ConfidenceSeen,
		Summary:    fmt.Sprintf("the filter of the socket %v in %s, or a BPF program of its cgroup, refuses the %s", h.Dst, ns.Name(), legName(leg)),
		Mend: []string{
			"on the node: bpftool cgroup tree, to find a program (ingress) of the receiver's cgroup, or of one above it: whose it is has to let DNS pass",
		},
	}
	if leg.Response {
		return f
	}
	if _, takes, ok := c.sockets(h); ok && takes != nil {
		f.Evidence = append(f.Evidence, takes.String())
		f.Mend = append(f.Mend, fmt.Sprintf("if there is none, the process that listens has attached a filter (SO_ATTACH_FILTER, SO_ATTACH_BPF): %s", logs(ns, takes)))
	}
	return f
}
