package main

import (
	"context"
	"fmt"
	"runtime"
)

// version is set by the build (-ldflags -X).
var version = "unknown"

const versionUsage = `Print the version of dnspath, of the Go that built it and the platform.

Usage:
  dnspath version

Example:
  dnspath version
`

func runVersion(_ context.Context, e *env, args []string) error {
	if err := parse(flags(e, "version", versionUsage), args); err != nil {
		return err
	}
	_, err := fmt.Fprintf(e.stdout, "dnspath %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
