package names

import (
	"fmt"
	"strconv"
	"strings"
)

// NetNS is what is known of one network namespace.
//
// Name, Pod, RunNames, Process and Path are bytes as the system gave them: a
// process may put any byte but NUL into its comm, a file name may hold any but
// NUL and '/'. Whoever prints them escapes them.
//
// The slice is shared between copies: do not modify it.
type NetNS struct {
	// Inode is the namespace's nsfs inode number, which is net->ns.inum in the
	// kernel and the N of "net:[N]". The kernel gives the number of a namespace
	// that has gone to the next new one (ida_alloc in proc_alloc_inum), so it
	// identifies a namespace only while that lives.
	Inode uint32

	// Name is what to show, the first of these that is known: Pod;
	// "pod <PodUID>"; a file name of RunNames that a person chose; "host";
	// "Process[PID]"; a file name that a container runtime made up;
	// "netns:<Inode>". It is never empty.
	Name string

	// Pod is "namespace/name", or empty if no pod was recognised.
	Pod string

	// PodUID is the pod's UID as in the API, for a static pod the 32
	// hexadecimal digits that the kubelet uses; or empty. It can be set while
	// Pod is empty: then the kubelet's log directory for it was not there.
	PodUID string

	// RunNames are the file names under Options.RunNetns, sorted, each once.
	RunNames []string

	// Process is the comm of PID, or empty.
	Process string

	// PID is the lowest PID with its main thread in the namespace, or 0. It
	// stands for "the oldest", which would cost one more file for each process
	// of the node; the two differ only after PIDs have wrapped around.
	PID int

	// Path can be opened and given to setns(2): a file of Options.RunNetns, or
	// ns/net of PID. It is empty once the namespace has gone.
	Path string

	// Host is true for the namespace of PID 1, or of the kernel's threads if
	// that of PID 1 can't be read.
	Host bool

	// Gone is true if the last Refresh no longer found the namespace; the other
	// fields but Path are then the last that were known.
	Gone bool
}

// unknownName is the name of a namespace of which only the number is known.
func unknownName(inode uint32) string {
	return "netns:" + strconv.FormatUint(uint64(inode), 10)
}

// displayName applies the order that NetNS.Name documents.
func displayName(n NetNS) string {
	switch chosen := chosenName(n.RunNames); {
	case n.Pod != "":
		return n.Pod
	case n.PodUID != "":
		return "pod " + n.PodUID
	case chosen != "":
		return chosen
	case n.Host:
		return "host"
	case n.Process != "":
		return fmt.Sprintf("%s[%d]", n.Process, n.PID)
	case len(n.RunNames) > 0:
		return n.RunNames[0]
	}
	return unknownName(n.Inode)
}

// chosenName is the first name that no runtime made up, or "".
func chosenName(runNames []string) string {
	for _, name := range runNames {
		if !machineMade(name) {
			return name
		}
	}
	return ""
}

// machineMade tells a file name that a container runtime made up: containerd
// pins a sandbox's namespace as cni-<uuid> (go-cni, netns_linux.go), CRI-O as a
// bare <uuid>. Such a name is never given twice.
func machineMade(name string) bool {
	return isUUID(strings.TrimPrefix(name, "cni-"))
}

// isUUID tells the 8-4-4-4-12 form in lower-case hexadecimal.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !isHex(s[i]) {
				return false
			}
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f'
}
