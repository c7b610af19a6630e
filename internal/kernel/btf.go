package kernel

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// tracepointArgs counts the arguments of a tracepoint in the kernel's BTF: the
// parameters of the function that the typedef btf_trace_NAME points to, less
// its first, a void pointer of the tracepoint's own
// (include/trace/bpf_probe.h). The error wraps btf.ErrNotFound if there is no
// such tracepoint.
func tracepointArgs(types *btf.Spec, name string) (int, error) {
	var def *btf.Typedef
	if err := types.TypeByName("btf_trace_"+name, &def); err != nil {
		return 0, err
	}
	ptr, ok := def.Type.(*btf.Pointer)
	if !ok {
		return 0, fmt.Errorf("btf_trace_%s is a %T, not a pointer", name, def.Type)
	}
	proto, ok := ptr.Target.(*btf.FuncProto)
	if !ok {
		return 0, fmt.Errorf("btf_trace_%s points to a %T, not a function", name, ptr.Target)
	}
	return len(proto.Params) - 1, nil
}

// subsystemShift is where a drop reason holds its subsystem
// (SKB_DROP_REASON_SUBSYS_MASK, include/net/dropreason-core.h, 6.4).
const subsystemShift = 16

// subsystemEnums gives for the subsystems of enum skb_drop_reason_subsys the
// enum of their reasons and the prefix that its names share. Those of modules
// are looked up in their own BTF.
var subsystemEnums = []struct{ subsystem, module, enum, prefix string }{
	{"SKB_DROP_REASON_SUBSYS_OPENVSWITCH", "openvswitch", "ovs_drop_reason", "OVS_DROP_"},
	{"SKB_DROP_REASON_SUBSYS_MAC80211_UNUSABLE", "mac80211", "mac80211_drop_reason", ""},
	{"SKB_DROP_REASON_SUBSYS_QDISC", "", "qdisc_drop_reason", "QDISC_DROP_"},
}

// dropReasons names drop reasons: enum skb_drop_reason, and those of the
// subsystems that this kernel has. Their numbers differ even within one stable
// series, so all come from the running kernel's BTF.
func dropReasons(m *moduleTypes) map[uint32]string {
	types := m.kernel
	names := map[uint32]string{}
	for name, value := range enumValues(types, "skb_drop_reason") {
		names[value] = strings.TrimPrefix(name, "SKB_DROP_REASON_")
	}
	subsystems := enumValues(types, "skb_drop_reason_subsys")
	for _, sub := range subsystemEnums {
		number, ok := subsystems[sub.subsystem]
		if !ok {
			continue
		}
		from := types
		if sub.module != "" {
			if module, err := m.cache.Module(sub.module); err == nil {
				from = module
			}
		}
		for name, value := range enumValues(from, sub.enum) {
			if value>>subsystemShift == 0 { // some enums start at their subsystem's base, some at 0
				value |= number << subsystemShift
			}
			if value>>subsystemShift == number {
				names[value] = strings.TrimPrefix(name, sub.prefix)
			}
		}
	}
	return names
}

// enumValues returns the values of an enum by name, or nil if there is none.
func enumValues(types *btf.Spec, name string) map[string]uint32 {
	var enum *btf.Enum
	if err := types.TypeByName(name, &enum); err != nil {
		return nil
	}
	values := make(map[string]uint32, len(enum.Values))
	for _, v := range enum.Values {
		values[v.Name] = uint32(v.Value)
	}
	return values
}
