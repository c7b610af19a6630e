package names

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cgroups are whole /proc/<pid>/cgroup files and the pod UID that they name.
var cgroups = []struct{ name, file, want string }{
	{"empty", "", ""},
	{"root", "0::/\n", ""},
	{"service", "0::/system.slice/sshd.service\n", ""},
	{"cgroupfs burstable", "0::/kubepods/burstable/pod" + uidA + "/0123abcd\n", uidA},
	{"cgroupfs guaranteed", "0::/kubepods/pod" + uidA + "/0123abcd\n", uidA},
	{"cgroupfs besteffort, cri-o", "0::/kubepods/besteffort/pod" + uidA + "/crio-0123abcd\n", uidA},
	{"cgroupfs static pod", "0::/kubepods/burstable/pod" + uidS + "/0123abcd", uidS},
	{"systemd burstable", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under(uidA) + ".slice/cri-containerd-0123.scope\n", uidA},
	{"systemd guaranteed", "0::/kubepods.slice/kubepods-pod" + under(uidA) + ".slice/crio-0123.scope/container\n", uidA},
	{"systemd static pod", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidS + ".slice/x.scope\n", uidS},
	{"kind, inside", "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" + under(uidA) + ".slice/cri-containerd-0123.scope\n", uidA},
	{"kind, from the host", "0::/system.slice/docker-99.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + under(uidA) + ".slice/cri-containerd-0123.scope\n", uidA},
	{"kind, cgroupfs", "0::/docker/99/kubelet/kubepods/burstable/pod" + uidA + "/0123\n", uidA},
	{"minikube", "0::/docker/99/kubepods/besteffort/pod" + uidA + "/0123\n", uidA},
	{"containerd with the other driver", "0::/system.slice/containerd.service/kubepods-burstable-pod" + under(uidA) + ".slice:cri-containerd:0123\n", uidA},
	{"v1", "12:cpu,cpuacct:/kubepods/burstable/pod" + uidA + "/0123\n1:name=systemd:/kubepods/burstable/pod" + uidA + "/0123\n", uidA},
	{"v1, first hierarchies at the root", "9:name=systemd:/\n8:pids:/\n7:memory:/kubepods/pod" + uidA + "/0123\n0::/\n", uidA},
	{"innermost pod", "0::" + podPath(uidA) + "/docker/99" + podPath(uidB) + "\n", uidB},
	{"seen from another cgroup namespace, systemd", "0::/../../kubepods-burstable-pod" + under(uidA) + ".slice/cri-containerd-0123.scope\n", uidA},
	{"seen from another cgroup namespace, cgroupfs", "0::/../../pod" + uidA + "/0123\n", uidA},
	{"container's own cgroup", podlike + "/podman-1\n", uidA},
	{"podman pod", "0::/machine.slice/machine-libpod_pod_" + uidS + ".slice/libpod-0123.scope\n", ""},
	{"pod without kubepods", "0::/pod" + uidA + "/0123\n", ""},
	{"slice without kubepods", "0::/x-pod" + under(uidA) + ".slice\n", ""},
	{"not a UID", "0::/kubepods/podinfo/0123\n", ""},
	{"no path", "0:\n::\n:::\n", ""},
}

const podlike = "0::/kubepods/pod" + uidA + "/0123"

func under(uid string) string { return strings.ReplaceAll(uid, "-", "_") }

func TestPodUID(t *testing.T) {
	for _, tt := range cgroups {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, podUID([]byte(tt.file))); diff != "" {
				t.Errorf("podUID(%q) (-want +got):\n%s", tt.file, diff)
			}
		})
	}
}

func TestMachineMade(t *testing.T) {
	tests := map[string]bool{
		cniA: true, uidA: true, "cni-x": false, "lab": false, "": false,
		"cni-" + uidS: false, strings.ToUpper(uidB): false,
		"0a1b2c3d_0000-4111-8222-333344445555": false,
	}
	for name, want := range tests {
		if got := machineMade(name); got != want {
			t.Errorf("machineMade(%q) = %v, want %v", name, got, want)
		}
	}
}

func FuzzPodUIDOfLine(f *testing.F) {
	for _, tt := range cgroups {
		for line := range strings.Lines(tt.file) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, line string) {
		uid := podUIDOfLine(line)
		if uid == "" {
			return
		}
		if validUID(uid) != uid {
			t.Errorf("%q gives %q, which is no UID", line, uid)
		}
		if !strings.Contains(line, uid) && !strings.Contains(strings.ReplaceAll(line, "_", "-"), uid) {
			t.Errorf("%q gives %q, which it does not hold", line, uid)
		}
	})
}

func FuzzNetLinkInode(f *testing.F) {
	for _, s := range []string{"net:[4026531840]", "net:[4294967296]", "net:[]", "mnt:[1]", "net:[0]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := netLinkInode([]byte(s)); ok != (n != 0) {
			if ok {
				t.Errorf("netLinkInode(%q) = 0, true", s)
			}
		}
	})
}
