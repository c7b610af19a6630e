package names

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// podNames maps pod UID to "namespace/name" by the log directories that the
// kubelet makes for every pod, "<namespace>_<name>_<uid>" (BuildPodLogsDirectory
// in pkg/kubelet/kuberuntime/helpers.go). A node without pods has none.
func podNames(dir string) (map[string]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pod log directories: %w", err)
	}
	defer f.Close()
	entries, err := f.Readdirnames(-1)
	pods := make(map[string]string, len(entries))
	for _, entry := range entries {
		if uid, pod, ok := splitPodLog(entry); ok {
			pods[uid] = pod
		}
	}
	if err != nil {
		return pods, fmt.Errorf("list pod log directories: %w", err)
	}
	return pods, nil
}

// splitPodLog takes a log directory's name apart. Neither a namespace nor a
// pod's name nor a UID can hold '_' (RFC 1123 names).
func splitPodLog(entry string) (uid, pod string, ok bool) {
	parts := strings.Split(entry, "_")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return "", "", false
	}
	return parts[2], parts[0] + "/" + parts[1], true
}
