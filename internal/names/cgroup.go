package names

import (
	"bytes"
	"strings"
)

// podUID returns the UID of the pod that the contents of a /proc/<pid>/cgroup
// file name, or "". A v1 file has one line a hierarchy, and some of them may
// be at the root: the first line that names a pod decides.
func podUID(cgroup []byte) string {
	for line := range bytes.Lines(cgroup) {
		if uid := podUIDOfLine(string(line)); uid != "" {
			return uid
		}
	}
	return ""
}

// podUIDOfLine returns the pod UID in one line "hierarchy:controllers:path",
// or "". Whatever stands before the kubelet's part of the path is skipped
// (docker/<id>/kubelet.slice under kind, --cgroup-root). Where a pod runs pods,
// the innermost is the process's own.
func podUIDOfLine(line string) string {
	fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
	if len(fields) != 3 {
		return ""
	}
	uid, parent := "", ""
	for part := range strings.SplitSeq(fields[2], "/") {
		if found := podUIDOfPart(parent, part); found != "" {
			uid = found
		}
		parent = part
	}
	return uid
}

// podUIDOfPart reads one path component, in the form of either of the
// kubelet's cgroup drivers (pkg/kubelet/cm, cgroup_manager_linux.go).
func podUIDOfPart(parent, part string) string {
	// containerd with the cgroupfs driver under a kubelet with the systemd one
	// makes one component of it all: <slice>:cri-containerd:<id>.
	part, _, _ = strings.Cut(part, ":")

	if slice, ok := strings.CutSuffix(part, ".slice"); ok {
		i := strings.LastIndex(slice, "-pod")
		if i < 0 || !strings.Contains(slice[:i], "kubepods") {
			return ""
		}
		// '-' separates the levels of a slice's name, so the driver writes the
		// UID's as '_' (escapeSystemdCgroupName).
		return validUID(strings.ReplaceAll(slice[i+len("-pod"):], "_", "-"))
	}
	switch parent {
	case "kubepods", "burstable", "besteffort",
		"..": // our own cgroup namespace hides the levels above
		if uid, ok := strings.CutPrefix(part, "pod"); ok {
			return validUID(uid)
		}
	}
	return ""
}

// validUID returns s if it has the form of a pod UID, else "": a UUID, or the
// 32 hexadecimal digits that the kubelet makes for a static pod. The strictness
// keeps a container's own cgroups ("podman-…") from being taken for pods.
func validUID(s string) string {
	if isUUID(s) {
		return s
	}
	if len(s) != 32 {
		return ""
	}
	for i := range len(s) {
		if !isHex(s[i]) {
			return ""
		}
	}
	return s
}
