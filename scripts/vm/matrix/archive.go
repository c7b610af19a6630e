package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// archive is an initramfs: files at its root, and guest.json.
type archive struct {
	files  map[string]string // where each comes from
	config []byte
}

// write writes it in cpio's "newc" format
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func (a archive) write(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	// The kernel opens /dev/console for process 1: 0020600 is a character device.
	entry(w, "dev", 0o040755, nil)
	entry(w, "guest.json", 0o100644, a.config)
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		data, err := os.ReadFile(a.files[name])
		if err != nil {
			return err
		}
		entry(w, name, 0o100755, data)
	}
	entry(w, "TRAILER!!!", 0, nil)
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// entry writes one file; the writer keeps its first error.
func entry(w *bufio.Writer, name string, mode int, data []byte) {
	// magic, inode, mode, uid, gid, nlink, mtime, size, device (2), its own device (2), length of name, checksum
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	padded(w, header+name+"\x00")
	padded(w, string(data))
}

// padded writes a text with zeros up to a multiple of four bytes.
func padded(w *bufio.Writer, text string) {
	_, _ = io.WriteString(w, text)
	_, _ = io.WriteString(w, "\x00\x00\x00"[:-len(text)&3])
}
