package kernel

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/dnspath/dnspath/gen"
)

// choose removes from spec what this kernel or the options rule out, and fills s.status.
func (s *Session) choose(spec *ebpf.CollectionSpec, types *moduleTypes, symbols map[string]uint64) error {
	absent := map[string]string{} // functions, by name: why they are not probed, or ""
	unused := functionPrograms()
	for _, h := range hops {
		if h.Kind != KindFunction {
			continue
		}
		if absent[h.Program] = s.absent(h, symbols, spec, types); absent[h.Program] == "" {
			call, ret := h.programs(s.backend)
			delete(unused, call)
			delete(unused, ret)
		}
	}
	for _, h := range hops {
		why, err := s.unavailable(types.kernel, h, absent)
		if err != nil {
			return err
		}
		st := ProbeStatus{Hop: h, Why: why}
		if h.Kind == KindFunction {
			st.Kind = s.backend.kindOf()
		}
		s.status = append(s.status, st)
		if why != "" && required[h.Program] {
			return &FeatureError{Feature: string(h.Kind) + " " + h.Target, Needs: "a kernel whose BTF describes it"}
		}
		switch {
		case h.Kind == KindFunction:
		case why != "":
			delete(spec.Programs, h.Program)
		case h.Kind == KindTracepoint && s.opts.BTF != "":
			raw(spec.Programs[h.Program])
		}
	}
	for name := range unused {
		delete(spec.Programs, name)
	}
	s.seen = map[string]bool{}
	for name, why := range absent {
		s.seen[name] = why == ""
	}
	return nil
}

// raw makes of a program for a BTF-typed tracepoint one for a raw tracepoint, which
// gets the same arguments and needs no types in the kernel.
func raw(p *ebpf.ProgramSpec) {
	p.Type, p.AttachType, p.AttachTo = ebpf.RawTracepoint, ebpf.AttachNone, ""
}

// unavailable says why a hop can't be observed, or need not be, or ""; absent
// says it of functions.
func (s *Session) unavailable(types *btf.Spec, h Hop, absent map[string]string) (string, error) {
	if h.unless != "" && absent[h.unless] == "" && !(h.Kind == KindNetfilter && s.opts.Netfilter == NetfilterOn) {
		return "not asked for: " + h.unless + " sees it", nil
	}
	if s.opts.BTF != "" && (h.Kind == KindNetfilter || h.Kind == KindTCX) {
		return "needs types that the kernel itself has", nil
	}
	switch h.Kind {
	case KindTracepoint:
		if _, err := tracepointArgs(types, h.Target); errors.Is(err, btf.ErrNotFound) {
			return "this kernel has no such tracepoint", nil
		} else if err != nil {
			return "", fmt.Errorf("look up tracepoint %s: %w", h.Target, err)
		}
	case KindNetfilter:
		if s.opts.Netfilter == NetfilterOff {
			return "not asked for (--nf-hooks)", nil
		}
		return haveNetfilter(), nil
	case KindTCX:
		if !s.opts.TCX {
			return "not asked for (--tc)", nil
		}
		return haveTCX(types), nil
	case KindFunction:
		return absent[h.Program], nil
	}
	return "", nil
}

// configure sets what the programs read as constants.
func (s *Session) configure(spec *ebpf.CollectionSpec, types *moduleTypes) error {
	size := s.opts.RingSize
	if size == 0 {
		size = DefaultRingSize
	}
	spec.Maps[gen.DnspathMapEvents].MaxEntries = uint32(size)
	values := map[string]any{
		"filter_netns": s.opts.NetNS != nil,
		"wakeup_bytes": uint32(size / 8),
		"have_cookies": haveCookies(),
		"page_shift":   uint32(bits.TrailingZeros(uint(os.Getpagesize()))),

		"udp_queued_by_function": s.seen["__udp_enqueue_schedule_skb"],
		"udp_read_by_function":   s.seen["skb_consume_udp"],
	}
	if s.reached == nil {
		s.reached = s.reach(spec, types)
	}
	maps.Copy(values, s.reached)
	for name, list := range map[string][]uint16{
		"dns_ports": s.opts.Ports, "vxlan_ports": s.opts.VXLANPorts, "geneve_ports": s.opts.GenevePorts,
	} {
		if list != nil {
			values[name] = ports(list)
		}
	}
	for name, tracepoint := range map[string]string{
		"kfree_skb_args":   "kfree_skb",
		"consume_skb_args": "consume_skb",
		"udp_fail_args":    "udp_fail_queue_rcv_skb",
	} {
		n, err := tracepointArgs(types.kernel, tracepoint)
		if err != nil && !errors.Is(err, btf.ErrNotFound) {
			return fmt.Errorf("count arguments of %s: %w", tracepoint, err)
		}
		values[name] = uint32(n)
	}
	var fn *btf.Func
	if err := types.kernel.TypeByName("__neigh_event_send", &fn); err == nil {
		if proto, ok := fn.Type.(*btf.FuncProto); ok {
			values["neigh_event_send_args"] = uint32(len(proto.Params))
		}
	}
	if s.backend != BackendTracepoint {
		for name, offset := range types.layout() {
			values[name] = offset
		}
		values["functions"] = types.calls()
	}
	for name, value := range values {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

func ports(list []uint16) (p [MaxPorts]uint16) {
	copy(p[:], list)
	return p
}
