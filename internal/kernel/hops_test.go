package kernel

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/gen"
)

// TestHopsCoverPrograms holds that the table and the compiled object have the
// same programs, each attached as the table says.
func TestHopsCoverPrograms(t *testing.T) {
	spec, err := gen.LoadDnspath()
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for name := range spec.Programs {
		want = append(want, name)
	}
	for _, h := range hops {
		if h.Kind != KindFunction {
			got = append(got, h.Program)
		}
	}
	got = slices.AppendSeq(got, maps.Values(trials))
	for name := range functionPrograms() {
		if name != "called_br_handle_frame" && !strings.Contains(name, "_request") { // by kprobe alone
			got = append(got, name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("programs (-object +table):\n%s", diff)
	}
	for _, h := range hops {
		if h.Kind == KindFunction {
			checkFunction(t, spec, h)
			continue
		}
		p := spec.Programs[h.Program]
		if p == nil {
			continue
		}
		types := map[Kind]ebpf.ProgramType{KindTracepoint: ebpf.Tracing, KindNetfilter: ebpf.Netfilter, KindTCX: ebpf.SchedCLS}
		if p.Type != types[h.Kind] {
			t.Errorf("%s is a %s program, its kind is %s", h.Program, p.Type, h.Kind)
		}
		if h.Kind == KindTracepoint && p.AttachTo != h.Target {
			t.Errorf("%s attaches to %s, its target is %s", h.Program, p.AttachTo, h.Target)
		}
		if (h.Kind == KindTCX) != (h.attach != 0) || h.attach != 0 && p.AttachType != h.attach {
			t.Errorf("%s attaches as %s, the table says %s", h.Program, p.AttachType, h.attach)
		}
	}
}

// checkFunction holds that the programs of a function's fentry and fexit are
// attached to it.
func checkFunction(t *testing.T, spec *ebpf.CollectionSpec, h Hop) {
	t.Helper()
	call, ret := h.programs(BackendFentry)
	for name, attach := range map[string]ebpf.AttachType{call: ebpf.AttachTraceFEntry, ret: ebpf.AttachTraceFExit} {
		if p := spec.Programs[name]; p != nil && (p.AttachTo != h.Target || p.AttachType != attach) {
			t.Errorf("%s attaches to %s as %s, the table says %s as %s", name, p.AttachTo, p.AttachType, h.Target, attach)
		}
	}
}

// TestHopsCoverProbes holds that each probe has exactly one row, in the order
// of enum probe, which is that of a packet's way.
func TestHopsCoverProbes(t *testing.T) {
	var want, got []gen.DnspathProbe
	for p := gen.DnspathProbePROBE_UNKNOWN + 1; p < gen.DnspathProbePROBE_MAX; p++ {
		want = append(want, p)
		if h, ok := HopOf(p); !ok || h.Probe != p {
			t.Errorf("HopOf(%d) = %+v, %t", p, h, ok)
		}
	}
	for _, h := range hops {
		got = append(got, h.Probe)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("probes (-enum +table):\n%s", diff)
	}
	for _, p := range []gen.DnspathProbe{gen.DnspathProbePROBE_UNKNOWN, gen.DnspathProbePROBE_MAX} {
		if h, ok := HopOf(p); ok {
			t.Errorf("HopOf(%d) = %+v", p, h)
		}
	}
}

// TestHopsWords holds the words of the table, which are in exports.
func TestHopsWords(t *testing.T) {
	layers := []string{"socket", "bridge", "ip", "netfilter", "ipvs", "tunnel", "device", "tc", "end"}
	for _, h := range hops {
		if h.Name == "" || h.Target == "" || h.Sees == "" || !slices.Contains(layers, h.Layer) {
			t.Errorf("%s: name %q, target %q, sees %q, layer %q", h.Program, h.Name, h.Target, h.Sees, h.Layer)
		}
	}
	for name := range required {
		if !slices.ContainsFunc(hops, func(h Hop) bool { return h.Program == name && h.Kind == KindTracepoint }) {
			t.Errorf("required program %s is no tracepoint of the table", name)
		}
	}
}

// TestConfigureVariables holds that the object has the variables and maps that
// configure sets.
func TestConfigureVariables(t *testing.T) {
	spec, err := gen.LoadDnspath()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"filter_netns", "wakeup_bytes", "dns_ports", "vxlan_ports", "kfree_skb_args", "consume_skb_args", "udp_fail_args",
	} {
		if spec.Variables[name] == nil {
			t.Errorf("the object has no variable %s", name)
		}
	}
	for _, name := range []string{gen.DnspathMapEvents, gen.DnspathMapLost, gen.DnspathMapNetnsWanted} {
		if spec.Maps[name] == nil {
			t.Errorf("the object has no map %s", name)
		}
	}
}

func TestMatches(t *testing.T) {
	tests := []struct {
		name     string
		patterns []string
		device   string
		want     bool
	}{
		{"none", nil, "eth0", false},
		{"name", []string{"eth0"}, "eth0", true},
		{"pattern", []string{"cni*", "veth*"}, "veth12ab", true},
		{"other", []string{"cni*", "veth*"}, "eth0", false},
		{"bad pattern before a good one", []string{"[", "eth?"}, "eth0", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := matches(tt.patterns, tt.device); got != tt.want {
				t.Errorf("matches(%q, %q) is %t", tt.patterns, tt.device, got)
			}
		})
	}
}
