package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
)

// toolFlag adds the flag that says where dnspath is.
func toolFlag(fs *pflag.FlagSet) *string {
	return fs.String("dnspath", "", "the dnspath to run (default: the one beside dnslab)")
}

// findTool returns the path of dnspath.
func findTool(path string) (string, error) {
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find own path: %w", err)
		}
		path = filepath.Join(filepath.Dir(self), "dnspath")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find dnspath: %w; `make build` makes it", err)
	}
	return path, nil
}

// createExport makes the file that gets what dnspath exports, too. If it has no
// name, there is none: w is nil.
func createExport(path string) (w io.Writer, done func(), err error) {
	if path == "" {
		return nil, func() {}, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, nil, err
	}
	return file, func() { _ = file.Close() }, nil
}
